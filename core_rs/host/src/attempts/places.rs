//! Directories that a command finds empty, and whether it looked (inotify(7)).
//!
//! The view shows another empty directory for each (`Stage::shut`), so whoever opens or lists one is seen
//! by that. Names beneath it are looked for in vain without being opened: that is not seen.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cmdop_contract::path::escape;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::bounded;

/// What the watches of one command say.
#[derive(Debug, Default)]
pub(super) struct Places {
    watch: Option<OwnedFd>,
    /// What a watch is on: more than one where stand-ins are shared.
    places: HashMap<i32, Vec<String>>,
}

impl Places {
    /// Watches what this process of the command's finds there. What cannot be watched is not told of.
    pub(super) fn watch(init: libc::pid_t, hidden: &[PathBuf]) -> Self {
        let Ok(watch) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return Self::default() };
        let mut places: HashMap<i32, Vec<String>> = HashMap::new();
        for place in hidden {
            let seen = format!("/proc/{init}/root{}", place.display());
            let flags = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
            if let Ok(number) = inotify::add_watch(&watch, &*seen, flags) {
                places.entry(number).or_default().push(escape(place.as_os_str().as_bytes()));
            }
        }
        Self { watch: (!places.is_empty()).then_some(watch), places }
    }

    /// What happened since, and how often at least: the kernel tells of several alike as one.
    pub(super) fn take(&mut self) -> Vec<(String, u64)> {
        let Some(watch) = self.watch.take() else { return Vec::new() };
        let mut counts: HashMap<(&str, i32), u64> = HashMap::new();
        let mut order = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        while let Ok(event) = events.next() {
            let verb = if event.events().contains(ReadFlags::ACCESS) { "list" } else { "open" };
            let key = (verb, event.wd());
            *counts.entry(key).or_insert_with(|| {
                order.push(key);
                0
            }) += 1;
        }
        let told = order.into_iter().filter_map(|(verb, number)| {
            let places = self.places.get(&number)?.join(" or ");
            Some((bounded(format!("{verb} {places}")), counts[&(verb, number)]))
        });
        told.collect()
    }
}
