//! The last wall around a command that changes the machine itself: Landlock rules from its permit.
//!
//! The view decides where anything can be changed; these rules decide what kind of change. They are
//! made after the view has become the root, because they hold for the mounts that are there by then.

use std::path::Path;

use cmdop_contract::v1::EffectKind;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::Failure;
use super::direct::Direct;
use super::view::path;

/// Linux 6.2: without it truncation could not be refused.
const REQUIRED: ABI = ABI::V3;

/// Confines this process and all that it starts.
pub(super) fn restrict(direct: &Direct) -> Result<(), Failure> {
    let denied = |error: RulesetError| Failure::new("confine by Landlock", error);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .and_then(Ruleset::create)
        .map_err(denied)?;
    let own = AccessFs::from_all(REQUIRED) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let fixed = [
        ("/", AccessFs::from_read(REQUIRED)),
        // The view's own: devices without state, terminals, and a private directory for temporary files.
        ("/dev", AccessFs::from_read(REQUIRED) | AccessFs::WriteFile | AccessFs::Truncate),
        ("/dev/shm", own),
    ];
    let openings = direct.openings.iter().map(|opening| (path(&opening.path), rights(&opening.kinds)));
    for (place, rights) in fixed.map(|(place, rights)| (Path::new(place), rights)).into_iter().chain(openings) {
        let opened = PathFd::new(place).map_err(|error| Failure::new(place.display(), error))?;
        let rights = if place.is_dir() { rights } else { rights & AccessFs::from_file(REQUIRED) };
        if rights.is_empty() {
            continue;
        }
        rules = rules.add_rule(PathBeneath::new(opened, rights)).map_err(denied)?;
    }
    let status = rules.restrict_self().map_err(denied)?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(Failure::new("confine by Landlock", "the kernel enforces only a part of the rules"))
    }
}

/// What kinds of effects take. Programs replace a file by renaming a new one over it, so whoever may
/// write one may do that; mode and owner are not Landlock's, and the view alone confines them.
fn rights(kinds: &[i32]) -> BitFlags<AccessFs> {
    let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Refer;
    let make = AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::MakeFifo | AccessFs::MakeSock;
    let remove = AccessFs::RemoveFile | AccessFs::RemoveDir;
    let of = |kind: i32| match EffectKind::try_from(kind) {
        Ok(EffectKind::FileCreate) => write | make,
        Ok(EffectKind::FileModify) => write,
        Ok(EffectKind::FileDelete) => remove,
        Ok(EffectKind::FileRename) => remove | AccessFs::MakeReg | make | AccessFs::Refer,
        _ => BitFlags::EMPTY,
    };
    kinds.iter().fold(BitFlags::EMPTY, |rights, kind| rights | of(*kind))
}
