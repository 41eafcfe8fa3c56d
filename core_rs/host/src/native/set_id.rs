//! Whose rights a program runs with, whoever starts it: what its permission bits say (execve(2)).

use cmdop_contract::v1::Reason;

use crate::Error;

const SET_USER: u32 = 0o4000;

/// Without the group's right to execute, the first of the bits gives nothing (inode(7)).
const SET_GROUP: u32 = 0o2010;

/// Refuses to put another content into a program that runs as its owner or group and would go on to: a write in place
/// takes these bits away (write(2)), and the right to change a file is not the right to be somebody else.
///
/// # Errors
/// `UNSUPPORTED_CHANGE`.
pub(super) fn check_content(path: &str, before: u32, after: u32) -> Result<(), Error> {
    if !(runs_as_another(before) && runs_as_another(after)) {
        return Ok(());
    }
    let message = format!(
        "{path} is set-user-id or set-group-id (mode {before:04o}), which new content must not be; nothing was written \
         (with a `mode` without these bits it is)"
    );
    Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"))
}

const fn runs_as_another(mode: u32) -> bool {
    mode & SET_USER != 0 || mode & SET_GROUP == SET_GROUP
}
