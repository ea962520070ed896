//! The bytes of a store on disk.
//!
//! ```text
//! entry        store: u16, big endian | key          ->  record (see `value.rs`)
//! checkpoint   0xffff | 0                            ->  format: u8 = 1 | topic: 16 bytes, little endian
//!                                                        | next, epoch: varint | time: signed varint
//!                                                        | attachment: the rest
//! due          0xfffc | 1 | time: big endian,        ->  record of nothing
//!                highest bit turned | store | key
//! flag         0xfffc | 0 | store                    ->  record of nothing
//! request      0xffff | 1 | offset: u64, big endian  ->  as the owner encodes it
//! ```
//!
//! All of it lies in **one** tree. In a tree for each store, or for the checkpoint, one tree could reach the disk
//! without the other: the journal that would bring it back is not synced.
//!
//! The format is that of the whole store: any of this changes only together with its number.

use std::ops::Bound;

use affinity_types::{Epoch, EventTime, Offset, TopicId, varint};
use bytes::Bytes;

use crate::{Checkpoint, Found, Scan, StoreId};

/// Format that this build writes and reads.
const FORMAT: u8 = 1;

/// Longest key that a store on disk can have: the database's limit is 65 535 bytes with all that stands before it.
pub(crate) const KEY_MAX: usize = 60 << 10;

/// Bytes before the key of an entry.
pub(crate) const PREFIX: usize = 2;

const OWN: [u8; PREFIX] = [0xff; PREFIX];

/// Where the checkpoint lies.
pub(crate) const CHECKPOINT: [u8; 3] = [OWN[0], OWN[1], 0];

/// What begins the key of every request.
pub(crate) const REQUESTS: [u8; 3] = [OWN[0], OWN[1], 1];

/// Appends where an entry lies.
pub(crate) fn put_key(out: &mut Vec<u8>, store: StoreId, key: &[u8]) {
    out.extend_from_slice(&store.0.to_be_bytes());
    out.extend_from_slice(key);
}

/// Where a request lies.
pub(crate) fn request_key(offset: Offset) -> [u8; 11] {
    let mut key = [0; 11];
    key[..3].copy_from_slice(&REQUESTS);
    key[3..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// The offset in the key of a request; `None` if it is damaged.
pub(crate) fn request_offset(key: &[u8]) -> Option<Offset> {
    Some(Offset(u64::from_be_bytes(key.strip_prefix(&REQUESTS)?.try_into().ok()?)))
}

/// Where the entries of a scan lie.
pub(crate) fn bounds(scan: &Scan) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let place = |key: &[u8]| {
        let mut place = Vec::with_capacity(PREFIX + key.len());
        put_key(&mut place, scan.store, key);
        place
    };
    // The database refuses to look for keys longer than it can have: of those no more than the beginning tells.
    let beginning = |key: &Vec<u8>| (key.len() > KEY_MAX).then(|| place(&key[..KEY_MAX]));
    let from = match &scan.from {
        Bound::Unbounded => Bound::Included(place(b"")),
        Bound::Included(key) => beginning(key).map_or_else(|| Bound::Included(place(key)), Bound::Excluded),
        Bound::Excluded(key) => Bound::Excluded(beginning(key).unwrap_or_else(|| place(key))),
    };
    let to = match &scan.to {
        Bound::Unbounded => Bound::Excluded((scan.store.0 + 1).to_be_bytes().to_vec()),
        Bound::Included(key) => Bound::Included(beginning(key).unwrap_or_else(|| place(key))),
        Bound::Excluded(key) => beginning(key).map_or_else(|| Bound::Excluded(place(key)), Bound::Included),
    };
    (from, to)
}

/// Appends a checkpoint.
pub(crate) fn put_checkpoint(out: &mut Vec<u8>, checkpoint: &Checkpoint) {
    out.push(FORMAT);
    out.extend_from_slice(&checkpoint.topic.0.to_le_bytes());
    varint::put(out, checkpoint.next.0);
    varint::put(out, checkpoint.epoch.0);
    varint::put_signed(out, checkpoint.time.0);
    out.extend_from_slice(&checkpoint.attachment);
}

/// What the bytes of a checkpoint say.
pub(crate) fn checkpoint(bytes: &[u8]) -> Found {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => body(rest).map_or(Found::Damaged, Found::Checkpoint),
        Some((&format, _)) => Found::Format(format),
        None => Found::Damaged,
    }
}

fn body(mut rest: &[u8]) -> Option<Checkpoint> {
    let topic = TopicId(u128::from_le_bytes(varint::take_bytes(&mut rest, 16)?.try_into().ok()?));
    let next = Offset(varint::take(&mut rest)?);
    let epoch = Epoch(varint::take(&mut rest)?);
    let time = EventTime(varint::take_signed(&mut rest)?);
    Some(Checkpoint { topic, next, epoch, time, attachment: Bytes::copy_from_slice(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_whole_and_never_when_cut_short() {
        let mut whole = Checkpoint::new(TopicId(u128::MAX - 1), Offset(300), Epoch(2), EventTime(-7));
        let mut bytes = Vec::new();
        put_checkpoint(&mut bytes, &whole);
        for length in 0..bytes.len() {
            assert_eq!(checkpoint(&bytes[..length]), Found::Damaged, "{length} bytes");
        }
        assert_eq!(checkpoint(&bytes), Found::Checkpoint(whole.clone()));
        whole.attachment = Bytes::from_static(b"floor");
        bytes.clear();
        put_checkpoint(&mut bytes, &whole);
        assert_eq!(checkpoint(&bytes), Found::Checkpoint(whole));
    }

    #[test]
    fn the_bytes_of_format_1_are_these() {
        let mut bytes = Vec::new();
        let whole = Checkpoint::new(TopicId(0x0102), Offset(300), Epoch(2), EventTime(-7));
        put_checkpoint(&mut bytes, &whole);
        assert_eq!(
            bytes.escape_ascii().to_string(),
            [r"\x01\x02\x01", &r"\x00".repeat(14), r"\xac\x02\x02\r"].concat()
        );
        bytes.clear();
        put_key(&mut bytes, StoreId(258), b"k");
        assert_eq!(bytes, b"\x01\x02k");
        assert_eq!(request_key(Offset(258)), *b"\xff\xff\x01\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn a_checkpoint_of_another_format_is_not_read() {
        assert_eq!(checkpoint(&[2, 1, 1, 1]), Found::Format(2));
    }
}
