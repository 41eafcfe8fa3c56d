//! What no guard can be faster than here: the disk, and the log alone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cmdop_ledger::log::Log;
use serde_json::json;

use crate::Fallible;
use crate::load::own_cpu;

/// One writer, 4 KiB appended and synced at a time.
pub(crate) fn fdatasync(dir: &str, seconds: f64) -> Fallible<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(Path::new(dir).join("floor"))?;
    let block = [0x5a; 4096];
    let ends = Instant::now() + Duration::from_secs_f64(seconds);
    let mut took_us = Vec::new();
    while Instant::now() < ends {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took_us.push(started.elapsed().as_micros());
    }
    took_us.sort_unstable();
    let at = |part: usize| took_us.get((took_us.len() - 1) * part / 100).copied().unwrap_or(0);
    println!("{}", json!({"calls": took_us.len(), "seconds": seconds, "p50_us": at(50), "p99_us": at(99)}));
    Ok(())
}

/// Two durable records of 512 bytes a call, one after the other, from many producers: the ledger's
/// log with nothing above it.
pub(crate) async fn log(dir: &str, producers: usize, seconds: f64) -> Fallible<()> {
    let (log, _) = Log::open(Path::new(dir), |_, _| Ok(()))?;
    let (log, calls) = (Arc::new(log), Arc::new(AtomicU64::new(0)));
    let ends = Instant::now() + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (log, calls) = (log.clone(), calls.clone());
            tokio::spawn(async move {
                while Instant::now() < ends {
                    for _ in ["intent", "result"] {
                        log.append(vec![vec![0x5a; 512]]).await?;
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, cmdop_ledger::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let cpu_s = own_cpu().as_secs_f64();
    println!("{}", json!({"calls": calls.load(Ordering::Relaxed), "seconds": seconds, "cpu_s": cpu_s}));
    Ok(())
}
