//! Who answers for people: once a server knows its approvers, whoever decides shows the token of who they say they are.

use std::collections::BTreeSet;
use std::hint::black_box;

use cmdop_contract::name::Name;
use cmdop_contract::reason;
use cmdop_contract::v1::{self, KnownApprover, Reason};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::Gate;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// The approvers that are known now. None: everybody is believed.
pub(crate) struct Approvers(RwLock<Vec<KnownApprover>>);

impl Approvers {
    /// # Errors
    /// INVALID_CONFIGURATION.
    pub(super) fn new(known: &[KnownApprover]) -> Result<Self, v1::Error> {
        check(known)?;
        Ok(Self(RwLock::new(known.to_vec())))
    }

    /// May these take the place of those that are known?
    ///
    /// # Errors
    /// INVALID_CONFIGURATION; also if none were left: whoever can take a file away would then be believed to be anybody.
    pub(super) fn check_next(&self, next: &[KnownApprover]) -> Result<(), v1::Error> {
        check(next)?;
        if next.is_empty() && !self.0.read().is_empty() {
            let message = "this server knows its approvers, and no file names any now; it goes on with those it knows";
            let stop = "whoever keeps the server adds an approver, or starts it anew to believe everybody";
            return Err(reason::error(Reason::InvalidConfiguration, message).stop(stop));
        }
        Ok(())
    }

    pub(super) fn replace(&self, next: Vec<KnownApprover>) {
        *self.0.write() = next;
    }

    fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.0.read().iter().any(|approver| approver.name == name)
    }

    /// Whose token it is. Every one is compared whole, so that the time says nothing about any.
    fn owner(&self, token: &str) -> Option<String> {
        let given = Sha256::digest(token.as_bytes());
        let known = self.0.read();
        let mut owner = None;
        for approver in known.iter() {
            let differs =
                approver.token_sha256.iter().zip(given.iter()).fold(0, |all, (one, other)| all | (one ^ other));
            if black_box(differs) == 0 {
                owner = Some(&approver.name);
            }
        }
        owner.cloned()
    }
}

fn check(known: &[KnownApprover]) -> Result<(), v1::Error> {
    let broken = |message: String| {
        reason::error(Reason::InvalidConfiguration, message)
            .stop("the file of approvers must be mended by who keeps it")
    };
    let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    for approver in known {
        if let Err(problem) = Name::parse(&approver.name) {
            return Err(broken(format!("the approver `{}` has no name: {problem}", approver.name)));
        }
        if approver.token_sha256.len() != DIGEST {
            return Err(broken(format!("the approver `{}` has no digest of a token", approver.name)));
        }
        if !names.insert(&approver.name) {
            return Err(broken(format!("the approver `{}` stands there twice", approver.name)));
        }
        if !tokens.insert(&approver.token_sha256) {
            return Err(broken(format!("the approver `{}` has the token of another", approver.name)));
        }
    }
    Ok(())
}

fn unshown(said: &str) -> v1::Error {
    let message = format!("this server knows its approvers, and nothing shows that you are `{said}`");
    reason::error(Reason::Unauthenticated, message)
}

impl Gate {
    /// Is whoever decides who they say? Without known approvers everybody is.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a token, with one that is nobody's, or with that of another.
    pub fn check_approver(&self, said: &str, token: Option<&str>) -> Result<(), v1::Error> {
        let approvers = &self.shared.approvers;
        match token {
            _ if approvers.is_empty() => Ok(()),
            Some(token) => self.check_owner(said, token),
            None => Err(unshown(said)),
        }
    }

    /// Is whoever proposes who they say? A name that has a token is taken from nobody without it, and whoever shows a
    /// token is its owner. What runs an agent shows none, so that it cannot decide for its user.
    ///
    /// # Errors
    /// UNAUTHENTICATED.
    pub fn check_proposer(&self, actor: Option<&v1::Actor>, token: Option<&str>) -> Result<(), v1::Error> {
        let approvers = &self.shared.approvers;
        let (user, agent) = actor.map_or(("", ""), |actor| (&*actor.user, &*actor.agent));
        match token {
            _ if approvers.is_empty() => Ok(()),
            Some(token) => self.check_owner(user, token),
            None if agent.is_empty() && approvers.has(user) => Err(unshown(user)),
            None => Ok(()),
        }
    }

    fn check_owner(&self, said: &str, token: &str) -> Result<(), v1::Error> {
        let message = match self.shared.approvers.owner(token) {
            Some(owner) if owner == said => return Ok(()),
            Some(owner) => format!("the token is `{owner}`'s, and the request is `{said}`'s"),
            None => "the token is that of no approver of this server".to_owned(),
        };
        Err(reason::error(Reason::Unauthenticated, message))
    }
}
