//! Policies that ship with cmdop, by name. `docs/policy/` explains each.

/// A policy that is chosen by its name instead of a file.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    /// `workspace`.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub summary: &'static str,
    /// Its policies, in Cedar.
    pub text: &'static str,
}

/// The pack that is used where neither files nor packs are given. Files of one's own replace it; name
/// it beside them to keep it.
pub const DEFAULT_PACK: &str = "workspace";

/// All packs.
pub const PACKS: [Pack; 4] = [
    Pack {
        name: DEFAULT_PACK,
        summary: "Agents change files inside the host's workspaces; a person confirms what cannot be taken back.",
        text: include_str!("../cedar/workspace.cedar"),
    },
    Pack {
        name: "read-only",
        summary: "Everybody looks, nobody changes anything.",
        text: include_str!("../cedar/read-only.cedar"),
    },
    Pack {
        name: "production",
        summary: "A person sees every change first; agents read no secrets and delete no data.",
        text: include_str!("../cedar/production.cedar"),
    },
    Pack {
        name: "ci",
        summary: "Nobody is asked: inside the workspaces and /tmp all may change, everything else is refused.",
        text: include_str!("../cedar/ci.cedar"),
    },
];

/// The pack of that name.
#[must_use]
pub fn pack(name: &str) -> Option<&'static Pack> {
    PACKS.iter().find(|pack| pack.name == name)
}
