//! Reading single records back, by their places.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::layout::FRAME;
use super::scan::frame;
use super::{Place, segment_path};
use crate::{Error, disk};

/// Bytes read at first: most records are shorter, and need no second read.
const FIRST: usize = 4_096;

/// Reads records of a log that others may append to.
pub(crate) struct Reader {
    dir: PathBuf,
    files: HashMap<u64, File>,
}

impl Reader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), files: HashMap::new() }
    }

    /// The payload of a durable record, its checksum verified.
    ///
    /// # Errors
    /// [`Error::Broken`] with the place, if there is no whole record any more.
    pub(crate) fn payload(&mut self, place: Place) -> Result<Vec<u8>, Error> {
        let path = segment_path(&self.dir, place.segment);
        let doing = || Error::io(format!("read {}", path.display()));
        let file = match self.files.entry(place.segment) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(File::open(&path).map_err(doing())?),
        };
        let mut bytes = vec![0; FIRST];
        let mut have = fill(file, &mut bytes, place.offset).map_err(doing())?;
        if let Some(length) = bytes.first_chunk::<4>().filter(|_| have >= FRAME) {
            let whole = FRAME + (u32::from_le_bytes(*length) as usize).min(super::MAX_PAYLOAD);
            if whole > have {
                bytes.resize(whole, 0);
                have += fill(file, &mut bytes[have..], place.offset + have as u64).map_err(doing())?;
            }
            bytes.truncate(whole.min(have));
        }
        match frame(&bytes) {
            Ok((_, payload)) => Ok(payload.to_vec()),
            Err(why) => Err(Error::Broken { segment: path, offset: place.offset, position: place.segment, why }),
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match disk::read_at(file, &mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
