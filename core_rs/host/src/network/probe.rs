//! Trying whether this host can open a network to exactly one address.

use std::net::TcpListener;
use std::path::Path;

use cmdop_contract::v1::{EffectKind, PermittedEffect};

use super::Network;
use crate::exec;
use crate::spawner::Spawner;
use crate::trapped::{self, Watched};

/// Lets a command reach a listener of this process on the loopback and nothing else, for real. Blocks.
///
/// # Errors
/// What did not work.
pub(crate) fn probe(spawner: &Spawner, dir: &Path) -> Result<(), String> {
    // The caller may be within a runtime of its own, which a thread of ours is not.
    let attempt = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
        runtime.block_on(attempt(spawner, dir))
    };
    std::thread::scope(|scope| scope.spawn(attempt).join()).unwrap_or_else(|_| Err("the attempt broke".to_owned()))
}

async fn attempt(spawner: &Spawner, dir: &Path) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let permitted = PermittedEffect {
        kind: EffectKind::NetConnect.into(),
        target: format!("127.0.0.1:{port}"),
        max_count: Some(1),
    };
    let network = Network::open("", &[permitted], &[]).await.map_err(text)?;
    let (theirs, supervision) = trapped::supervise(Watched::default(), Some(&network)).map_err(text)?;
    let (spawner, dir) = (spawner.clone(), dir.to_owned());
    // The second attempt goes elsewhere and must fail.
    let line = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && ! (exec 4<>/dev/tcp/127.0.0.2/{port}) 2>/dev/null");
    let tried = tokio::task::spawn_blocking(move || {
        exec::attempt_trapped(&spawner, &dir, &exec::DEFAULT_LIMITS, &line, theirs)
    });
    tried.await.map_err(text)??;
    supervision.finish().await;
    listener.set_nonblocking(true).map_err(text)?;
    listener.accept().map_err(|error| format!("the connection did not arrive: {error}"))?;
    let (seen, refused) = (network.effects().len(), network.refused().len());
    if (seen, refused) == (1, 1) { Ok(()) } else { Err(format!("saw {seen} connections and {refused} refusals")) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
