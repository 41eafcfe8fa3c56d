//! What every HTTP request passes: who may speak gRPC here, and statuses that tonic makes itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tonic::{Code, Status};

use crate::status;

/// Puts the services behind the door, and `/healthz` beside them.
pub(super) fn mount(services: Router, draining: Arc<AtomicBool>) -> Router {
    let healthz = move || async move {
        if draining.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else {
            (StatusCode::OK, "ok\n")
        }
    };
    services.layer(middleware::from_fn(grpc_only)).route("/healthz", get(healthz))
}

/// Lets only gRPC in.
///
/// A web page can make its reader's browser send requests to loopback addresses, and here nobody
/// asks for a token. But no browser speaks HTTP/2 without TLS, nor sends this content type to
/// another origin without asking first.
async fn grpc_only(request: Request, next: Next) -> Response {
    if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
        let hint = "this port speaks gRPC over HTTP/2, and answers GET /healthz\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, hint).into_response();
    }
    retyped(next.run(request).await)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc")) && !headers.contains_key(header::ORIGIN)
}

/// tonic refuses an oversize message before a service sees it, with a status of its own.
fn retyped(response: Response) -> Response {
    let refused = Status::from_header_map(response.headers()).filter(|status| status.code() == Code::OutOfRange);
    match refused {
        Some(refused) => status::typed(refused).into_http::<axum::body::Body>(),
        None => response,
    }
}
