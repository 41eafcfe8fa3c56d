//! Deployments: releases in directories of their own, and one link that says which of them is live.
//!
//! A root holds `releases/ID`, the link `current`, and `.deploy` with what is remembered. Only the link
//! decides what is live, and one rename moves it: whoever looks finds the release before or the one after.

mod check;
mod lock;
mod look;
mod prune;
mod refusal;
mod release;
mod rollback;
mod settle;
mod site;
mod state;
#[cfg(test)]
mod tests;

use cmdop_contract::digest::hex;
use cmdop_contract::v1::{EffectKind, FileType, ObservedEffect};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::census::{Census, Scope};
use super::copy::mode;
use crate::Error;
use check::{Check, Checked};

pub(crate) use look::{Status, plan};
pub(crate) use release::Release;
pub(crate) use rollback::Rollback;
pub(crate) use settle::{cut_short, settle};

/// What a release may hold.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Longest id of a release.
const MAX_ID: usize = 100;

/// The deployment root, which is the name of the deployment, too.
///
/// # Errors
/// `INVALID_ARGUMENTS`.
fn root_of(arguments: &Arguments) -> Result<Vec<u8>, Error> {
    let root = arguments.path_of("root")?;
    // In the name of a deployment a star would mean any run of characters.
    let is_plain = std::str::from_utf8(&root).is_ok_and(|text| !text.contains('*') && !text.contains('\\'));
    let is_plain = is_plain && !root.iter().any(u8::is_ascii_control) && (2..=512).contains(&root.len());
    if is_plain { Ok(root) } else { Err(invalid("root", "an absolute path without `*`, `\\` and control characters")) }
}

/// # Errors
/// `INVALID_ARGUMENTS`.
fn release_id(arguments: &Arguments, name: &str) -> Result<Option<String>, Error> {
    match arguments.text(name)? {
        None => Ok(None),
        Some(id) if is_release_id(id.as_bytes()) => Ok(Some(id.to_owned())),
        Some(_) => Err(invalid(name, "an id of letters, digits, `.`, `_` and `-` that starts with a letter or digit")),
    }
}

fn is_release_id(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    id.len() <= MAX_ID && id.first().is_some_and(u8::is_ascii_alphanumeric) && id.iter().all(is_plain)
}

/// How a tree is counted that will be, or is, a release.
fn scope(to: &[u8]) -> Scope<'_> {
    Scope { to, is_copied: true, max_bytes: MAX_BYTES }
}

/// SHA-256 over names, types, permission bits, contents and link targets; not over owners and times,
/// so that the same tree has it wherever it lies.
fn tree_digest(census: &Census) -> String {
    let mut digest = Sha256::new();
    digest.update(b"cmdop.release.v1\0");
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for entry in &census.entries {
        part(&entry.below);
        match entry.stamp.file_type() {
            FileType::Symlink => part(format!("link {}", entry.state.link_target).as_bytes()),
            FileType::Directory => part(format!("directory {:o}", mode(entry)).as_bytes()),
            _ => part(format!("file {:o} {}", mode(entry), entry.state.sha256).as_bytes()),
        }
    }
    hex(&digest.finalize())
}

fn named(kind: EffectKind, root: &[u8]) -> ObservedEffect {
    let target = String::from_utf8_lossy(root).into_owned();
    ObservedEffect { kind: kind.into(), target, count: 1, reversible: true, ..ObservedEffect::default() }
}

/// What checks are as effects; one that was made is as many contacts as it took attempts.
fn checks<'a>(list: impl IntoIterator<Item = (&'a Option<Check>, &'a Option<Checked>)>) -> Vec<ObservedEffect> {
    let mut effects: Vec<ObservedEffect> = Vec::new();
    for (check, checked) in list {
        let Some(check) = check else { continue };
        let effect = check.effect(checked.as_ref());
        match effects.iter_mut().find(|other| other.target == effect.target) {
            Some(same) => same.count += effect.count,
            None => effects.push(effect),
        }
    }
    effects
}

fn spoken(live: Option<&str>) -> String {
    live.map_or_else(|| "no release".to_owned(), |live| format!("release {live}"))
}

/// Where tests end a deployment as a kill would: nothing after it is done.
fn point(name: &str) {
    #[cfg(test)]
    tests::reached(name);
    let _ = name;
}
