//! Typed errors as gRPC statuses, and back.
//!
//! A status carries `google.rpc.Status` in its details: ErrorInfo (reason, domain `cmdop.dev`),
//! BadRequest for violations, RetryInfo where a delay is known, and `cmdop.v1.Error` itself.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use cmdop_contract::reason;
use cmdop_contract::v1::{self, Reason, remedy};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb::{self, bad_request::FieldViolation};

use crate::error::{Error, deepest};

/// Domain of the reasons in ErrorInfo.
pub const DOMAIN: &str = "cmdop.dev";

const ERROR_TYPE: &str = "type.googleapis.com/cmdop.v1.Error";

/// Bytes of details that fit: grpcio takes 8 KiB of metadata in all, and base64 adds a third.
const DETAILS_BYTES: usize = 4_608;

/// Bytes of the message repeated in `grpc-message`, which percent-encoding may triple.
const MESSAGE_BYTES: usize = 512;

/// How tonic says that a message is over the limit. Held to by a test with a real message.
const TOO_LARGE: &str = "decoded message length too large: found ";

/// The status that tells this error. What does not fit into metadata is left out, and the message says
/// so and which call keeps the whole; a session stream carries all of it. The limit is the clients':
/// grpcio refuses a response whose metadata is over 8 KiB, and the caller would get no reason at all.
#[must_use]
pub fn from_error(error: &v1::Error) -> Status {
    let reason = Reason::try_from(error.reason).unwrap_or(Reason::Unspecified);
    let code = Code::from_i32(i32::try_from(reason::spec(reason).grpc_code).unwrap_or(Code::Unknown as i32));
    let details = fitting(error, code, reason::spec(reason).name);
    Status::with_details(code, shortened(&error.message, MESSAGE_BYTES), details)
}

/// The error that a status tells. A status without our details becomes the nearest reason.
#[must_use]
pub fn to_error(status: &Status) -> v1::Error {
    if let Some(error) = carried(status) {
        return error;
    }
    let message = status.message();
    if let Some((found, limit)) = too_large(status) {
        // Had it been the request, the server would have said so in its own words.
        return Error::AnswerTooLarge { found, limit }.into();
    }
    let untyped = || Error::Untyped { code: format!("{:?}", status.code()), message: message.into() }.into();
    match status.code() {
        Code::Unimplemented => Error::UnknownMethod(message.into()).into(),
        Code::Unavailable => Error::Unreachable(cause(status)).into(),
        Code::ResourceExhausted => Error::TooMany(message.into()).into(),
        Code::InvalidArgument => Error::Violation(message.into()).into(),
        // A broken connection comes as whatever code its last HTTP/2 frame maps to.
        _ if status.source().is_some() => Error::Unreachable(cause(status)).into(),
        _ => untyped(),
    }
}

/// Why the connection ended, if the request may have been sent by then: it was made, and the status is not the
/// server's own.
pub(crate) fn to_lost(status: &Status) -> Option<String> {
    let broken = status.source().filter(|_| carried(status).is_none())?;
    let mut cause = Some(broken);
    while let Some(error) = cause {
        // What never was connected carried nothing.
        if error.is::<tonic::ConnectError>() {
            return None;
        }
        cause = error.source();
    }
    Some(deepest(broken))
}

/// Gives a status of tonic's own about what was received a reason, if it is one of those that need it.
pub(crate) fn typed(status: Status) -> Status {
    too_large(&status).map_or(status, |(found, limit)| from_error(&Error::RequestTooLarge { found, limit }.into()))
}

fn carried(status: &Status) -> Option<v1::Error> {
    let rich = pb::Status::decode(status.details()).ok()?;
    let any = rich.details.iter().find(|any| any.type_url == ERROR_TYPE)?;
    v1::Error::decode(&*any.value).ok()
}

/// Size and limit of a message that tonic did not take.
fn too_large(status: &Status) -> Option<(usize, usize)> {
    if status.code() != Code::OutOfRange {
        return None;
    }
    let (_, numbers) = status.message().split_once(TOO_LARGE)?;
    let (found, limit) = numbers.split_once(", the limit is: ")?;
    let number = |text: &str| text.trim_end_matches(" bytes").parse().ok();
    Some((number(found)?, number(limit)?))
}

fn cause(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), deepest)
}

fn fitting(error: &v1::Error, code: Code, reason: &str) -> Bytes {
    let full = details(error, code, reason);
    if full.len() <= DETAILS_BYTES {
        return full.into();
    }
    let all = error.violations.len();
    let mut short = error.clone();
    while !short.violations.is_empty() {
        short.violations.truncate(short.violations.len() / 2);
        let kept = short.violations.len();
        short.message = format!("{} ({kept} of {all} violations are shown here{})", error.message, where_all(error));
        let bytes = details(&short, code, reason);
        if bytes.len() <= DETAILS_BYTES {
            return bytes.into();
        }
    }
    // What remains is an endless message, remedy or list of policies.
    short.policies.truncate(1);
    short.message = format!("{} (cut to fit here{})", shortened(&error.message, MESSAGE_BYTES), where_all(error));
    let bytes = details(&short, code, reason);
    if bytes.len() <= DETAILS_BYTES {
        return bytes.into();
    }
    let bare = v1::Error { policies: Vec::new(), remedy: None, ..short };
    details(&bare, code, reason).into()
}

/// Where the whole error is: its call, if it has one, keeps it.
fn where_all(error: &v1::Error) -> String {
    if error.call_id.is_empty() { String::new() } else { format!("; call {} has all of it", error.call_id) }
}

fn details(error: &v1::Error, code: Code, reason: &str) -> Vec<u8> {
    let info = pb::ErrorInfo { reason: reason.into(), domain: DOMAIN.into(), ..pb::ErrorInfo::default() };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if !error.violations.is_empty() {
        let field_violations = error.violations.iter().map(field_violation).collect();
        details.push(any("google.rpc.BadRequest", &pb::BadRequest { field_violations }));
    }
    if let Some(delay) = retry_delay(error) {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
    }
    details.push(Any { type_url: ERROR_TYPE.into(), value: error.encode_to_vec() });
    let message = shortened(&error.message, MESSAGE_BYTES);
    pb::Status { code: code as i32, message, details }.encode_to_vec()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn field_violation(violation: &v1::Violation) -> FieldViolation {
    let reason = Reason::try_from(violation.reason).unwrap_or(Reason::Unspecified);
    FieldViolation {
        field: violation.pointer.clone(),
        description: format!("expected {}, found {}", violation.expected, violation.found),
        reason: reason::spec(reason).name.into(),
        ..FieldViolation::default()
    }
}

fn retry_delay(error: &v1::Error) -> Option<Duration> {
    match error.remedy.as_ref()?.kind.as_ref()? {
        remedy::Kind::RetryAfter(after) => Some(Duration::from_millis(after.ms)),
        _ => None,
    }
}

fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(reason: Reason) -> v1::Error {
        v1::Error { reason: reason.into(), message: format!("because of {reason:?}"), ..v1::Error::default() }
    }

    fn detail<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
        let rich = pb::Status::decode(status.details()).expect("google.rpc.Status");
        assert_eq!(rich.code, status.code() as i32);
        let any = rich.details.iter().find(|any| any.type_url == format!("type.googleapis.com/{name}"))?;
        Some(M::decode(&*any.value).expect("detail decodes"))
    }

    #[test]
    fn every_reason_survives_the_way_through_a_status() {
        for number in 0..100 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let status = from_error(&error(reason));
            assert_eq!(status.code() as i32, i32::try_from(reason::spec(reason).grpc_code).expect("small"));
            assert_eq!(to_error(&status), error(reason));
            let info: pb::ErrorInfo = detail(&status, "google.rpc.ErrorInfo").expect("ErrorInfo");
            assert_eq!((&*info.reason, &*info.domain), (reason::spec(reason).name, DOMAIN));
        }
    }

    #[test]
    fn violations_and_delays_have_their_standard_details_too() {
        let violation = v1::Violation {
            reason: Reason::InvalidArguments.into(),
            pointer: "/arguments/timeout_s".into(),
            expected: "an integer".into(),
            found: "\"x\"".into(),
            remedy: None,
        };
        let delay = remedy::Kind::RetryAfter(v1::RetryAfter { ms: 1_500, ..v1::RetryAfter::default() });
        let mut sent = error(Reason::InvalidArguments);
        sent.violations.push(violation);
        sent.remedy = Some(v1::Remedy { kind: Some(delay), new_key: false });
        let status = from_error(&sent);
        let bad: pb::BadRequest = detail(&status, "google.rpc.BadRequest").expect("BadRequest");
        assert_eq!(bad.field_violations[0].field, "/arguments/timeout_s");
        assert_eq!(bad.field_violations[0].reason, "INVALID_ARGUMENTS");
        let retry: pb::RetryInfo = detail(&status, "google.rpc.RetryInfo").expect("RetryInfo");
        let delay = retry.retry_delay.expect("delay");
        assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
        assert_eq!(to_error(&status), sent);
    }

    #[test]
    fn what_does_not_fit_into_metadata_is_cut_and_said_to_be() {
        let mut sent = error(Reason::InvalidArguments);
        let violation = v1::Violation { pointer: "/p".into(), expected: "x".repeat(200), ..v1::Violation::default() };
        sent.violations = vec![violation; 256];
        let status = from_error(&sent);
        assert!(status.details().len() <= DETAILS_BYTES);
        let got = to_error(&status);
        assert!(!got.violations.is_empty());
        assert!(got.message.contains("of 256 violations"), "{}", got.message);

        let mut endless = error(Reason::UndeclaredEffect);
        endless.message = "ü".repeat(50_000);
        let got = to_error(&from_error(&endless));
        assert_eq!(got.reason(), Reason::UndeclaredEffect);
        assert!(got.message.len() < 600 && got.message.contains("cut to fit here"), "{}", got.message);

        let mut many = v1::Error { call_id: "c7".into(), ..error(Reason::PolicyDenied) };
        many.policies = vec![v1::PolicyRef { reason: "x".repeat(500), ..v1::PolicyRef::default() }; 64];
        let got = to_error(&from_error(&many));
        assert_eq!((got.policies.len(), &*got.call_id), (1, "c7"));
        assert!(got.message.contains("call c7 has all of it"), "{}", got.message);
    }

    #[test]
    fn statuses_without_our_details_get_the_nearest_reason() {
        let cases = [
            (Status::unimplemented(""), Reason::UnsupportedProtocol),
            (Status::unavailable("gone"), Reason::Unreachable),
            (Status::resource_exhausted("full"), Reason::LoadShed),
            (Status::invalid_argument("what"), Reason::ProtocolViolation),
            (Status::unknown("?"), Reason::Internal),
            (
                Status::out_of_range("Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes"),
                Reason::FrameTooLarge,
            ),
        ];
        for (status, reason) in cases {
            assert_eq!(to_error(&status).reason(), reason, "{status:?}");
        }
    }
}
