//! A trail: where the records of one call or run stand, one step a record, in the log's order.

use std::collections::BTreeMap;

use cmdop_contract::v1::Event;
use prost::Message;

use crate::Error;
use crate::log::{self, Place};

/// Segment and offset, little-endian.
const STEP: usize = 16;

pub(super) fn step(place: Place) -> [u8; STEP] {
    let mut bytes = [0; STEP];
    bytes[..8].copy_from_slice(&place.segment.to_le_bytes());
    bytes[8..].copy_from_slice(&place.offset.to_le_bytes());
    bytes
}

/// The events of a trail by their places, which is the log's order.
pub(super) fn events(log: &mut log::Reader, trail: &[u8]) -> Result<BTreeMap<(u64, u64), Event>, Error> {
    let (steps, _) = trail.as_chunks::<STEP>();
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let mut events = BTreeMap::new();
    for step in steps {
        let place = Place { segment: number(&step[..8]), offset: number(&step[8..]) };
        let event = Event::decode(&*log.payload(place)?)
            .map_err(|error| Error::io("read a record")(std::io::Error::other(error)))?;
        events.insert((place.segment, place.offset), event);
    }
    Ok(events)
}
