//! The load: a number of sessions, each with one call under way, every reply checked.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmdop_contract::v1::{ClientConfig, Outcome, Reason};
use cmdop_link::client::{Client, Session};
use serde_json::json;
use tokio::task::LocalSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use crate::Fallible;
use crate::contracts::{document, proposal};
use crate::servers::Raw;

/// Connections that the sessions share.
const CONNECTIONS: usize = 4;
/// Before this has passed nothing counts.
const WARM_UP: Duration = Duration::from_millis(300);

/// How much load, and on whom.
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) sessions: usize,
    pub(crate) seconds: f64,
}

/// What was seen while it counted.
#[derive(Default)]
struct Seen {
    latencies_us: Vec<u32>,
    calls: HashSet<String>,
    failed: Option<String>,
}

/// One way of making a call. It says how a reply names its call.
enum Caller {
    /// A session of the guarded server.
    Guarded(Session),
    /// A unary call with a JSON document, answered with the call's id or `invalid`.
    Plain(Grpc<Channel>),
    /// A unary call that is answered with itself.
    Echo(Grpc<Channel>),
}

impl Load {
    /// Runs it and prints calls, latencies and the load's own processor time as JSON.
    pub(crate) async fn run(self, kind: &str) -> Fallible<()> {
        let callers = self.callers(kind).await?;
        let seen = Rc::new(RefCell::new(Seen::default()));
        let begins = Instant::now() + WARM_UP;
        let ends = begins + Duration::from_secs_f64(self.seconds);
        let window = async {
            tokio::time::sleep_until(begins.into()).await;
            println!("begin");
            let before = own_cpu();
            tokio::time::sleep_until(ends.into()).await;
            println!("end");
            own_cpu() - before
        };
        let local = LocalSet::new();
        for (number, caller) in callers.into_iter().enumerate() {
            local.spawn_local(session(number, caller, seen.clone(), begins, ends));
        }
        let (client_cpu, ()) = tokio::join!(window, local);
        let mut seen = seen.borrow_mut();
        if let Some(why) = seen.failed.take() {
            return Err(why.into());
        }
        seen.latencies_us.sort_unstable();
        let at = |part: f64| {
            let last = seen.latencies_us.len().saturating_sub(1);
            seen.latencies_us.get((last as f64 * part) as usize).copied().unwrap_or(0)
        };
        println!(
            "{}",
            json!({
                "calls": seen.latencies_us.len(), "seconds": self.seconds, "sessions": self.sessions,
                "p50_us": at(0.5), "p99_us": at(0.99), "client_cpu_s": client_cpu.as_secs_f64(),
            })
        );
        Ok(())
    }

    async fn callers(&self, kind: &str) -> Fallible<Vec<Caller>> {
        let mut callers = Vec::with_capacity(self.sessions);
        let connections = CONNECTIONS.min(self.sessions);
        let share = |connection: usize| (self.sessions + connections - 1 - connection) / connections;
        for connection in 0..connections {
            if kind == "guarded" {
                let config = ClientConfig { address: self.address.clone(), ..ClientConfig::default() };
                let client = Client::connect(&config).map_err(|error| error.message)?;
                let stream = client.sessions("bench").await.map_err(|error| error.message)?;
                for _ in 0..share(connection) {
                    callers.push(Caller::Guarded(stream.open(None).await.map_err(|error| error.message)?));
                }
                continue;
            }
            let channel = Endpoint::from_shared(format!("http://{}", self.address))?.connect().await?;
            for _ in 0..share(connection) {
                let grpc = Grpc::new(channel.clone());
                callers.push(match kind {
                    "plain" => Caller::Plain(grpc),
                    "echo" => Caller::Echo(grpc),
                    other => return Err(format!("no load is called {other}").into()),
                });
            }
        }
        Ok(callers)
    }
}

async fn session(number: usize, mut caller: Caller, seen: Rc<RefCell<Seen>>, begins: Instant, ends: Instant) {
    let unique = std::process::id();
    for turn in 0.. {
        let started = Instant::now();
        if started >= ends || seen.borrow().failed.is_some() {
            return;
        }
        let answered = caller.call(number * 7 + turn, format!("{unique}-{number}-{turn}")).await;
        let mut seen = seen.borrow_mut();
        match answered {
            Err(why) => seen.failed = Some(why),
            // No reply may name a call that another reply named.
            Ok(Some(call)) if !seen.calls.insert(call.clone()) => seen.failed = Some(format!("{call} came twice")),
            Ok(_) if started >= begins && Instant::now() <= ends => {
                let took = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                seen.latencies_us.push(took);
            }
            Ok(_) => {}
        }
    }
}

impl Caller {
    /// Makes one call and checks its reply. Gives the id of the call, if it got one.
    async fn call(&mut self, number: usize, key: String) -> Result<Option<String>, String> {
        match self {
            Self::Guarded(session) => {
                let (proposal, valid) = proposal(number, key);
                match session.propose(proposal).await {
                    Ok(call) if valid && call.outcome() == Outcome::Applied => Ok(Some(call.call_id)),
                    Err(error) if !valid && error.reason() == Reason::InvalidArguments => Ok(None),
                    other => Err(format!("contract {number} (valid: {valid}) was answered with {other:?}")),
                }
            }
            Self::Plain(grpc) => {
                let (document, valid) = document(number, &key);
                let reply = unary(grpc, document.into()).await?;
                match (valid, &*reply) {
                    (false, b"invalid") => Ok(None),
                    (true, id) if id != b"invalid" => Ok(Some(String::from_utf8_lossy(id).into_owned())),
                    _ => Err(format!("contract {number} (valid: {valid}) was answered with {reply:?}")),
                }
            }
            Self::Echo(grpc) => {
                let document = Bytes::from(document(number, &key).0);
                let reply = unary(grpc, document.clone()).await?;
                if reply == document { Ok(None) } else { Err("the echo is another".into()) }
            }
        }
    }
}

async fn unary(grpc: &mut Grpc<Channel>, document: Bytes) -> Result<Bytes, String> {
    grpc.ready().await.map_err(|error| error.to_string())?;
    let path = PathAndQuery::from_static("/bench.Guard/Propose");
    let reply = grpc.unary(tonic::Request::new(document), path, Raw).await;
    reply.map(tonic::Response::into_inner).map_err(|status| status.to_string())
}

/// Processor time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
