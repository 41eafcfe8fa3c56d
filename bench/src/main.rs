//! The native parts of `make bench`: what is measured, the floors beneath it, and the load on both.
//!
//! `bench/run.py` starts them, each in a process of its own, and compares them. Every command prints
//! one line of JSON when it is done, or its address when it serves.

mod change;
mod contracts;
mod exec;
mod floor;
mod guard;
mod load;
mod micro;
mod servers;

use std::error::Error;

use tokio::runtime::{Builder, Runtime};

// As the core for Python has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What any part may fail with: a benchmark that fails says so and measures nothing.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "cmdop-bench serve DIR | host ADDRESS | echo | load KIND ADDRESS SESSIONS SECONDS \
                     | fdatasync DIR SECONDS | exec KIND DIR SECONDS | change DIR FILES CHANGED | log DIR PRODUCERS SECONDS | micro SECONDS";

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", dir] => server()?.block_on(servers::guard(dir)),
        ["echo"] => server()?.block_on(servers::echo()),
        ["host", address] => client()?.block_on(guard::host(address)),
        ["load", kind, address, sessions, seconds] => {
            let load = load::Load { address: address.into(), sessions: sessions.parse()?, seconds: seconds.parse()? };
            client()?.block_on(load.run(kind))
        }
        ["exec", kind, dir, seconds] => exec::run(kind, dir, seconds.parse()?),
        ["change", dir, files, changed] => change::run(dir, files.parse()?, changed.parse()?),
        ["fdatasync", dir, seconds] => floor::fdatasync(dir, seconds.parse()?),
        ["log", dir, producers, seconds] => server()?.block_on(floor::log(dir, producers.parse()?, seconds.parse()?)),
        ["micro", seconds] => micro::run(seconds.parse()?),
        _ => Err(USAGE.into()),
    }
}

/// The runtime of whatever is measured, as the server process has it.
fn server() -> Fallible<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// The runtime of whatever makes load: one core, one thread.
fn client() -> Fallible<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
