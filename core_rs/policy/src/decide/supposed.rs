//! A past that nobody measured: what an author supposes of a run, to try policies that ask about it.

use std::sync::Arc;

use cmdop_contract::path::unescape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, Observation, ObservedEffect};

use super::past::{Deeds, Measured, Past};

/// What an author supposes that a run did before, to try a policy: paths by the grammar of literal targets.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// What it created and nobody replaced since. A directory ends with `/`.
    pub made: Vec<String>,
    /// What it moved: where it is now, and where it was.
    pub moved: Vec<(String, String)>,
    /// Calls that did not do what they were meant to.
    pub failed: u32,
    /// Calls that were refused.
    pub denials: u32,
}

impl Past {
    /// A past that was not measured, for trying a policy. The files that it made are empty.
    ///
    /// # Errors
    /// A path that is none.
    pub fn supposed(host: &str, supposed: &Supposed) -> Result<Self, String> {
        let path = |text: &str| match unescape(text) {
            Ok(path) if path.starts_with(b"/") => Ok(text.to_owned()),
            _ => Err(format!("`{text}` is no absolute path")),
        };
        let state = |r#type: FileType| FileState { r#type: r#type.into(), ..FileState::default() };
        let effect = |kind: EffectKind, target: String, file: FileChange| {
            let file = Some(file);
            ObservedEffect { kind: kind.into(), target, count: 1, file, ..ObservedEffect::default() }
        };
        let mut made = Observation::default();
        for text in &supposed.made {
            let is_directory = text.ends_with('/') && text.len() > 1;
            let file_type = if is_directory { FileType::Directory } else { FileType::Regular };
            let file = FileChange { after: Some(state(file_type)), ..FileChange::default() };
            made.effects.push(effect(EffectKind::FileCreate, path(text.trim_end_matches('/'))?, file));
        }
        let mut moved = Observation::default();
        for (to, from) in &supposed.moved {
            let file = FileChange {
                before: Some(state(FileType::Regular)),
                renamed: path(to.trim_end_matches('/'))?,
                ..FileChange::default()
            };
            moved.effects.push(effect(EffectKind::FileRename, path(from.trim_end_matches('/'))?, file));
        }
        let mut deeds = Deeds::default();
        (deeds.failed, deeds.denials) = (supposed.failed, supposed.denials);
        for observation in [made, moved] {
            deeds.own(host, &Measured::of(&observation), false);
        }
        Ok(Self { scopes: vec![Arc::new(deeds)] })
    }
}

#[cfg(test)]
mod tests {
    use cmdop_contract::effect::Target;

    use super::*;
    use crate::decide::Known;

    #[test]
    fn what_is_supposed_is_known_as_if_it_had_been_measured() {
        let supposed = Supposed {
            made: vec!["/srv/t/a".into(), "/srv/t/d/".into()],
            moved: vec![("/srv/t/old.db".into(), "/srv/app.db".into())],
            failed: 2,
            denials: 3,
        };
        let past = Past::supposed("web", &supposed).expect("paths");
        let of = |host: &str, path: &str| {
            let target = Target::parse(EffectKind::FileDelete, path, &Default::default()).expect("a target");
            past.foretold(host, EffectKind::FileDelete, &target)
        };
        assert_eq!(of("web", "/srv/t/a"), Known { made: true, only_copy: false });
        assert_eq!(of("web", "/srv/t/d"), Known { made: true, only_copy: false });
        assert_eq!(of("web", "/srv/t/old.db"), Known { made: false, only_copy: true });
        assert_eq!(of("web", "/srv/t/b"), Known::default());
        assert_eq!(of("db", "/srv/t/a"), Known::default());
        assert_eq!((past.failed(), past.denials()), (2, 3));
        let wrong = Supposed { made: vec!["t/a".into()], ..Supposed::default() };
        assert!(Past::supposed("web", &wrong).is_err());
    }
}
