//! Whether the journals are those that this host wrote: a directory that was lost, or put back from elsewhere, says
//! nothing about a call of which it holds no journal.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use prost::Message;
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::rename;
use crate::Error;
use crate::admit::Interrupted;

const MARK: &str = "mark";
const NEW: &str = "mark.new";

/// Lies among the journals, and knows itself: a copy is another file.
#[derive(Clone, PartialEq, Message)]
struct Mark {
    #[prost(uint64, tag = "1")]
    ino: u64,
    /// When the file system says that it was made, nanoseconds since the Unix epoch; zero where it does not say.
    #[prost(int64, tag = "2")]
    born_ns: i64,
    /// Permits whose journals may have been lost.
    #[prost(string, repeated, tag = "3")]
    lost: Vec<String>,
}

/// Permits of which a missing journal tells nothing. Where there is no mark, or a copy of one, that is every permit whose
/// outcome is not known by now.
///
/// # Errors
/// If no mark can be read or made.
pub(super) fn lost(dir: &Path, interrupted: &[Interrupted]) -> Result<BTreeSet<String>, Error> {
    if let Some(mark) = read(dir)? {
        return Ok(mark.lost.into_iter().collect());
    }
    let lost: BTreeSet<_> = interrupted.iter().map(|found| found.permit().permit_id.clone()).collect();
    make(dir, lost.iter().cloned().collect())?;
    if !lost.is_empty() {
        tracing::warn!(
            calls = lost.len(),
            "journals of undos are new or not this host's: what was under way is unknown"
        );
    }
    Ok(lost)
}

fn read(dir: &Path) -> Result<Option<Mark>, Error> {
    let file = match fs::File::open(dir.join(MARK)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(doing()(error)),
    };
    let (ino, born_ns) = identity(&file)?;
    let mark = Mark::decode(&*fs::read(dir.join(MARK)).map_err(doing())?).ok();
    Ok(mark.filter(|mark| (mark.ino, mark.born_ns) == (ino, born_ns)))
}

fn make(dir: &Path, lost: Vec<String>) -> Result<(), Error> {
    // One that an earlier life left half-way would keep its inode.
    super::remove_file(&dir.join(NEW))?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(NEW));
    let mut file = file.map_err(doing())?;
    let (ino, born_ns) = identity(&file)?;
    let mark = Mark { ino, born_ns, lost };
    file.write_all(&mark.encode_to_vec()).and_then(|()| file.sync_all()).map_err(doing())?;
    rename(dir, NEW, MARK)?;
    let above = dir.parent().unwrap_or(Path::new("/"));
    fs::File::open(above).and_then(|above| above.sync_all()).map_err(doing())
}

fn identity(file: impl AsFd) -> Result<(u64, i64), Error> {
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME);
    let found = found.map_err(|errno| doing()(errno.into()))?;
    let born = found.stx_btime;
    let is_told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let born_ns = born.tv_sec.saturating_mul(1_000_000_000).saturating_add(born.tv_nsec.into());
    Ok((found.stx_ino, if is_told { born_ns } else { 0 }))
}

fn doing() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("mark the journals")
}
