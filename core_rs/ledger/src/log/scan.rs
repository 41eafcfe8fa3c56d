//! Reading a log from its beginning: every checksum, every link of the chain.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{FRAME, HEADER, MAGIC, checksum};
use super::{End, Head, MAX_PAYLOAD, Place};
use crate::Error;

/// What a scan found.
pub(super) struct Scanned {
    pub(super) head: Head,
    /// The segment to go on with.
    pub(super) last: Option<Last>,
    pub(super) cut_bytes: u64,
}

/// The last segment of a log.
pub(super) struct Last {
    pub(super) path: PathBuf,
    /// Its first position.
    pub(super) first: u64,
    /// Bytes of it that are whole.
    pub(super) length: u64,
}

impl Scanned {
    /// Where the valid records end: the segment, or the directory if there is none, and the byte in it.
    pub(super) fn end(&self, dir: &Path) -> End {
        let (segment, offset) = self.last.as_ref().map_or((dir, 0), |last| (&*last.path, last.length));
        End { head: self.head, segment: segment.to_owned(), offset }
    }

    /// Cuts a torn tail. Nobody was told that it was durable; still, whoever starts the process is told that it
    /// is gone.
    pub(super) fn cut(&self) -> Result<(), Error> {
        let Some(last) = self.last.as_ref().filter(|_| self.cut_bytes > 0) else { return Ok(()) };
        cut(&last.path, last.length)?;
        tracing::warn!(
            segment = %last.path.display(),
            bytes = self.cut_bytes,
            last_kept = self.head.position,
            "the ledger's torn tail was cut: what an earlier life did not finish writing"
        );
        Ok(())
    }
}

/// Verifies the log in a directory and changes nothing: a torn tail is left to [`Scanned::cut`].
pub(super) fn scan(
    dir: &Path,
    mut visit: impl FnMut(Head, Place, &[u8]) -> Result<(), Error>,
) -> Result<Scanned, Error> {
    let segments = segments(dir)?;
    let mut scanned = Scanned { head: Head::default(), last: None, cut_bytes: 0 };
    for (index, path) in segments.iter().enumerate() {
        let bytes = fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
        let mut segment = Segment { path, bytes: &bytes, is_last: index + 1 == segments.len(), head: scanned.head };
        let first = segment.head.position + 1;
        let end = segment.read(&mut visit)?;
        scanned.head = segment.head;
        scanned.last = Some(Last { path: path.clone(), first, length: end as u64 });
        if end < bytes.len() {
            scanned.cut_bytes = (bytes.len() - end) as u64;
        }
    }
    Ok(scanned)
}

/// Verifies the log in a directory that another process may have open, and changes nothing: what is
/// not whole yet at its end is left out.
pub(super) fn read(dir: &Path, mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let segments = segments(dir)?;
    let mut head = Head::default();
    for (index, path) in segments.iter().enumerate() {
        let bytes = fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
        let mut segment = Segment { path, bytes: &bytes, is_last: index + 1 == segments.len(), head };
        segment.read(&mut |_, _, payload| visit(payload))?;
        head = segment.head;
    }
    Ok(())
}

fn segments(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || Error::io(format!("read {}", dir.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read())? {
        let path = entry.map_err(read())?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn cut(path: &Path, length: u64) -> Result<(), Error> {
    let doing = || Error::io(format!("cut the torn tail of {}", path.display()));
    let file = fs::OpenOptions::new().write(true).open(path).map_err(doing())?;
    file.set_len(length).map_err(doing())?;
    file.sync_all().map_err(doing())
}

struct Segment<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    is_last: bool,
    head: Head,
}

impl Segment<'_> {
    /// Reads all records; returns where the valid ones end.
    fn read(&mut self, visit: &mut impl FnMut(Head, Place, &[u8]) -> Result<(), Error>) -> Result<usize, Error> {
        let mut at = match self.header() {
            Ok(()) => HEADER,
            // A process died while it began the segment: nothing in it was ever acknowledged.
            Err(_) if self.is_last && self.bytes.len() < HEADER && self.head.position > 0 => return Ok(0),
            Err(_) if self.is_last && self.bytes.len() < HEADER => return Ok(0),
            Err(why) => return Err(self.broken(0, why)),
        };
        let first = self.head.position + 1;
        while at < self.bytes.len() {
            match frame(&self.bytes[at..]) {
                Ok((before, payload)) => {
                    if before != self.head.hash {
                        return Err(self.broken(
                            at,
                            "its hash of the record before is another; records are missing, changed or reordered"
                                .into(),
                        ));
                    }
                    self.head = self.head.after(payload);
                    visit(self.head, Place { segment: first, offset: at as u64 }, payload)?;
                    at += FRAME + payload.len();
                }
                Err(why) if !self.is_last => return Err(self.broken(at, why)),
                // Unreadable to the end: torn. Something readable behind it: damage.
                Err(why) => match self.next_readable(at + 1) {
                    Some(later) => {
                        return Err(self.broken(at, format!("{why}, yet a record can be read at byte {later}")));
                    }
                    None => return Ok(at),
                },
            }
        }
        Ok(at)
    }

    fn header(&self) -> Result<(), String> {
        let header = self.bytes.get(..HEADER).ok_or("the header is cut off")?;
        if &header[..8] != MAGIC {
            return Err("this is no segment of this format".into());
        }
        if crc32c::crc32c(&header[..HEADER - 4]).to_le_bytes() != header[HEADER - 4..] {
            return Err("the header's checksum does not match".into());
        }
        if header[8..16] != (self.head.position + 1).to_le_bytes() || header[16..48] != self.head.hash {
            return Err("the segment does not follow the one before; one is missing, changed or reordered".into());
        }
        Ok(())
    }

    fn next_readable(&self, from: usize) -> Option<usize> {
        (from..self.bytes.len().saturating_sub(FRAME))
            .find(|at| frame(&self.bytes[*at..]).is_ok_and(|(_, payload)| !payload.is_empty()))
    }

    fn broken(&self, offset: usize, why: String) -> Error {
        Error::Broken { segment: self.path.into(), offset: offset as u64, position: self.head.position + 1, why }
    }
}

/// The record at the beginning of these bytes: the hash before it, and its payload.
pub(super) fn frame(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let head = bytes.get(..FRAME).ok_or("the record is cut off")?;
    let length: [u8; 4] = head[..4].try_into().map_err(|_| "the record is cut off")?;
    let size = u32::from_le_bytes(length) as usize;
    if size > MAX_PAYLOAD {
        return Err("its length is impossible".into());
    }
    let payload = bytes.get(FRAME..FRAME + size).ok_or("the record is cut off")?;
    if checksum(length, &head[8..FRAME], payload).to_le_bytes() != head[4..8] {
        return Err("its checksum does not match".into());
    }
    Ok((&head[8..FRAME], payload))
}
