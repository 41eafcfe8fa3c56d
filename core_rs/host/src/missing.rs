//! What a machine lacks for a preview, in one sentence, and how to get it: the same wherever it is said.

use std::path::Path;

/// Steps that make namespaces, with the kernel's limits on their numbers (namespaces(7)).
const STEPS: [(&str, &[&str]); 2] =
    [("make a user namespace", &["user"]), ("make namespaces", &["mnt", "pid", "net", "ipc", "uts", "cgroup"])];

/// How `unshare(2)` says that a limit on namespaces is met, and that they may not be nested deeper.
const MET: [&str; 2] = ["(os error 28)", "(os error 87)"];

/// How mount(2) says that the user may not.
const REFUSED: [&str; 2] = ["(os error 1)", "(os error 13)"];

/// What is missing and how to get it.
pub(crate) struct Missing {
    /// One sentence without a full stop.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Missing {
    /// Of what was said by the step that failed.
    pub(crate) fn of(why: &str) -> Self {
        let step = STEPS.iter().find(|(step, _)| why.starts_with(step));
        let Some((_, kinds)) = step.filter(|_| MET.iter().any(|met| why.contains(met))) else {
            return Self { cause: why.to_owned(), remedy: usual(why).to_owned() };
        };
        let limits: Vec<(String, String)> = kinds.iter().map(|kind| limit(kind)).collect();
        // One that allows none is the one.
        let none: Vec<_> = limits.iter().filter(|(_, most)| most == "0").collect();
        let met = if none.is_empty() { limits.iter().collect() } else { none };
        let named: Vec<String> = met.iter().map(|(name, most)| format!("`{name}` ({most})")).collect();
        let raised: Vec<String> = met.iter().map(|(name, _)| format!("{name}=65536")).collect();
        Self {
            cause: format!("the kernel makes no more namespaces here: {} is met", named.join(" or ")),
            remedy: format!("raise it, as with `sysctl {}`, and start the host again", raised.join(" ")),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        format!("{}; {}", self.cause, self.remedy)
    }
}

/// A limit by its name, and what it is.
fn limit(kind: &str) -> (String, String) {
    let most = std::fs::read_to_string(format!("/proc/sys/user/max_{kind}_namespaces")).unwrap_or_default();
    let most = if most.trim().is_empty() { "not to be read" } else { most.trim() };
    (format!("user.max_{kind}_namespaces"), most.to_owned())
}

/// What most likely helps.
fn usual(why: &str) -> &'static str {
    let has_overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay"));
    if !has_overlay {
        "load the overlay module: `modprobe overlay`"
    } else if !Path::new("/bin/bash").exists() {
        "install bash at /bin/bash: commands are analysed as bash and run by it"
    } else if why.contains("private layer") && REFUSED.iter().any(|refused| why.contains(refused)) {
        "root of a user namespace, as in a rootless container, may not lay such a layer: run the host as the machine's \
         root, or as an ordinary user"
    } else if why.contains("private layer") {
        "put the state directory on ext4, xfs, btrfs or tmpfs: an overlay cannot be the upper layer of another"
    } else if why.contains("namespace") && !rustix::process::geteuid().is_root() {
        "allow user namespaces (`sysctl kernel.unprivileged_userns_clone=1`) or run the host as root"
    } else {
        "run the host as root with CAP_SYS_ADMIN, or outside of a container that masks /proc"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_mends_it() {
        let missing = Missing::of("make a user namespace: No space left on device (os error 28)");
        assert!(missing.cause.contains("`user.max_user_namespaces`") && !missing.cause.contains("No space"));
        assert!(missing.remedy.contains("sysctl user.max_user_namespaces="));
        let several = Missing::of("make namespaces: No space left on device (os error 28)");
        assert!(several.cause.contains("user.max_mnt_namespaces"), "{}", several.cause);
        assert!(several.cause.contains("user.max_net_namespaces"), "{}", several.cause);
        let refused = Missing::of("cover / with a private layer: Operation not permitted (os error 1)");
        assert!(refused.remedy.contains("rootless"), "{}", refused.remedy);
        let stacked = Missing::of("cover / with a private layer: Invalid argument (os error 22)");
        assert!(stacked.remedy.contains("ext4"), "{}", stacked.remedy);
        let full = Missing::of("write a file: No space left on device (os error 28)");
        assert_eq!(full.cause, "write a file: No space left on device (os error 28)");
    }
}
