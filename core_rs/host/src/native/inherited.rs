//! What a directory with a default access list (acl(5)) gives to all that is made in it: told before, and as it came.

use std::os::fd::{AsFd, AsRawFd};

use cmdop_contract::v1::{FileAttribute, FileType};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::journal::attributes::{MAX_XATTR_BYTES, Xattr, is_label, xattrs};
use crate::journal::values::Values;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// As the kernel writes a list (`linux/posix_acl_xattr.h`): a version, then entries of tag, permissions and id.
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;

/// Tags of entries (`linux/posix_acl.h`).
const OWNER: u16 = 0x01;
const NAMED_USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const NAMED_GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// The default access list of a directory, if it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inherited(Option<Vec<u8>>);

impl Inherited {
    /// What comes into an open directory would inherit.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn of(above: impl AsFd) -> Result<Self, Errno> {
        let path = format!("/proc/self/fd/{}", above.as_fd().as_raw_fd());
        let mut list = vec![0; MAX_XATTR_BYTES];
        match rustix::fs::getxattr(&*path, DEFAULT, &mut list[..]) {
            Ok(size) => {
                list.truncate(size);
                Ok(Self(Some(list)))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(Self(None)),
            Err(errno) => Err(errno),
        }
    }

    /// Lets another directory give the same.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn pass_on(&self, to: impl AsFd) -> Result<(), Errno> {
        self.0.as_ref().map_or(Ok(()), |list| rustix::fs::fsetxattr(to, DEFAULT, list, XattrFlags::empty()))
    }

    /// The attributes of what is made there, once it has its permission bits.
    pub(super) fn shown(&self, place: &[u8], kind: FileType, mode: u32) -> Vec<FileAttribute> {
        let Some(list) = self.0.as_ref().filter(|_| kind != FileType::Symlink) else { return Vec::new() };
        let of = |name: &str, value| Values::of(place).shown(&Xattr { name: name.into(), value: Some(value) });
        let access = access(list, mode).map(|access| of(ACCESS, access));
        let default = (kind == FileType::Directory).then(|| of(DEFAULT, list.clone()));
        access.into_iter().chain(default).collect()
    }

    /// Whoever approved it approved what is inherited.
    pub(super) fn digest_into(&self, digest: &mut Sha256) {
        if let Some(list) = &self.0 {
            digest.update(list);
        }
    }
}

/// The attributes that something has by now, without the labels that are the kernel's own.
///
/// # Errors
/// The operating system's refusal.
pub(super) fn found(held: impl AsFd, place: &[u8]) -> Result<Vec<FileAttribute>, Errno> {
    let (found, values) = (xattrs(held)?, Values::of(place));
    Ok(found.iter().filter(|xattr| !is_label(xattr)).map(|xattr| values.shown(xattr)).collect())
}

/// What a default list and permission bits come to (`posix_acl_create` and `posix_acl_chmod` in the kernel): the bits
/// of the group are those of the mask. None if the bits say all of it.
fn access(default: &[u8], mode: u32) -> Option<Vec<u8>> {
    let mut list = default.to_vec();
    let entries = list.get_mut(HEADER_BYTES..)?;
    let tag = |entry: &[u8]| u16::from_le_bytes([entry[0], entry[1]]);
    let has = |wanted: u16, entries: &[u8]| entries.chunks_exact(ENTRY_BYTES).any(|entry| tag(entry) == wanted);
    let has_mask = has(MASK, entries);
    if !has_mask && !has(NAMED_USER, entries) && !has(NAMED_GROUP, entries) {
        return None;
    }
    for entry in entries.chunks_exact_mut(ENTRY_BYTES) {
        let shift = match tag(entry) {
            OWNER => 6,
            MASK => 3,
            OWNING_GROUP if !has_mask => 3,
            OTHERS => 0,
            _ => continue,
        };
        let bits = u16::try_from(mode >> shift & 0o7).unwrap_or_default();
        entry[2..4].copy_from_slice(&bits.to_le_bytes());
    }
    Some(list)
}
