//! Admission: the only way from a signed permit to the machine.

use std::ops::Deref;

use cmdop_contract::v1::Permit;

/// A permit that this host checked and durably noted, for one execution.
///
/// Every function that touches the machine takes one. It is neither `Clone` nor `Copy`.
#[derive(Debug)]
pub struct Admitted {
    permit: Permit,
}

impl Admitted {
    /// For tests of this crate that are not about admission.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: Permit) -> Self {
        Self { permit }
    }
}

impl Deref for Admitted {
    type Target = Permit;

    fn deref(&self) -> &Permit {
        &self.permit
    }
}
