//! What such a system offers, in the same words as on Linux: hardly anything of it, and that is said.

use cmdop_contract::v1::Capability;
use cmdop_policy::classes::LISTS_NOTABLE;
use cmdop_policy::decide::{CONFINES, OBSERVES, UNCONFINED};

/// What cannot be had here: name, and what follows from that.
const MISSING: [(&str, &str); 14] = [
    ("preview.overlay", "no command runs on a private copy, and no change is shown before it is made"),
    ("preview.complete", "needs `preview.overlay`"),
    (CONFINES, "no command is held to its permit"),
    ("isolate.pid", "what a command starts may outlive it"),
    ("isolate.network", "a command reaches whatever the host's user reaches"),
    ("network.permits", "no command is held to the contacts that its permit names"),
    (OBSERVES, "nobody measures what tools and commands change: their effects are reported as unobserved"),
    ("observe.processes", "nobody sees what a command starts"),
    (LISTS_NOTABLE, "nobody lists what a tree that goes held"),
    ("limit.pids", "commands are bounded by time alone"),
    ("limit.memory", "commands are bounded by time alone"),
    ("limit.cpu", "commands are bounded by time alone"),
    ("service.systemd", "this host has no service tools"),
    ("service.own", "this host has no service tools"),
];

/// What this system can confine and observe.
#[must_use]
pub fn probe() -> Vec<Capability> {
    let missing = MISSING.iter().map(|(name, detail)| {
        let detail = format!("not on {}: {detail}", std::env::consts::OS);
        Capability { name: (*name).to_owned(), available: false, detail }
    });
    let unconfined = Capability {
        name: UNCONFINED.to_owned(),
        available: true,
        detail: "a command runs with everything that the host's user may do, after a person agreed to it".to_owned(),
    };
    let files = Capability {
        name: "native.handles".to_owned(),
        available: true,
        detail: "file tools follow no link, and take a name only as its directory lists it".to_owned(),
    };
    missing.chain([unconfined, files]).collect()
}
