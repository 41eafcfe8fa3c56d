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

impl Gate {
    /// Is whoever decides who they say? Without known approvers everybody is.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a token, with one that is nobody's, or with that of another.
    pub fn check_approver(&self, said: &str, token: Option<&str>) -> Result<(), v1::Error> {
        let approvers = &self.shared.approvers;
        if approvers.0.read().is_empty() {
            return Ok(());
        }
        let refused = |message: String| Err(reason::error(Reason::Unauthenticated, message));
        let Some(token) = token else {
            return refused(format!("this server knows its approvers, and nothing shows that you are `{said}`"));
        };
        match approvers.owner(token) {
            Some(owner) if owner == said => Ok(()),
            Some(owner) => refused(format!("the token is `{owner}`'s, and the request is `{said}`'s")),
            None => refused("the token is that of no approver of this server".to_owned()),
        }
    }
}
