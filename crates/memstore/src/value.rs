//! A value with its version and expiry, and the bytes that hold the three.
//!
//! ```text
//! record   epoch * 2 + (1 if it expires): varint | sequence: varint | expiry, if it expires: signed varint | value
//! ```
//!
//! Both backends keep this: a value of an early epoch takes 4 or 5 bytes more than itself.

use std::fmt;

use affinity_types::{Epoch, EventTime, Sequence, Version, varint};
use bytes::Bytes;

/// The greatest epoch a record can carry.
pub(crate) const EPOCH_MAX: Epoch = Epoch(u64::MAX >> 1);

/// A value, borrowed from where it lies or sharing the memory of the block that was read.
#[derive(Clone)]
pub struct Value<'a> {
    held: Held<'a>,
    version: Version,
    expires: Option<EventTime>,
}

#[derive(Clone)]
enum Held<'a> {
    Borrowed(&'a [u8]),
    #[cfg(feature = "disk")]
    Record {
        record: fjall::Slice,
        start: usize,
    },
}

impl<'a> Value<'a> {
    /// A value that does not expire.
    #[must_use]
    pub fn new(bytes: &'a [u8], version: Version) -> Value<'a> {
        Value { held: Held::Borrowed(bytes), version, expires: None }
    }

    /// The same value, expiring at `at` if that is given.
    #[must_use]
    pub fn expiring(self, at: Option<EventTime>) -> Value<'a> {
        Value { expires: at, ..self }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.held {
            Held::Borrowed(bytes) => bytes,
            #[cfg(feature = "disk")]
            Held::Record { record, start } => &record[*start..],
        }
    }

    /// The bytes, to keep: copied from memory, shared from disk.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.held {
            Held::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            #[cfg(feature = "disk")]
            Held::Record { record, start } => Bytes::from_owner(record).slice(start..),
        }
    }

    /// The version given when the value was decided.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// From when on the value no longer counts, if ever.
    #[must_use]
    pub fn expires(&self) -> Option<EventTime> {
        self.expires
    }

    /// Appends what stands before the value's bytes in a record.
    pub(crate) fn put_head(&self, out: &mut Vec<u8>) {
        debug_assert!(self.version.epoch <= EPOCH_MAX, "checked with the batch");
        varint::put(out, self.version.epoch.0 << 1 | u64::from(self.expires.is_some()));
        varint::put(out, self.version.sequence.0);
        if let Some(at) = self.expires {
            varint::put_signed(out, at.0);
        }
    }

    /// The value in a record, `None` if it is damaged.
    pub(crate) fn in_record(record: &'a [u8]) -> Option<Value<'a>> {
        let (start, version, expires) = take_head(record)?;
        Some(Value { held: Held::Borrowed(&record[start..]), version, expires })
    }

    /// When the value in a record expires, without a look at more than that.
    pub(crate) fn expires_in_record(record: &[u8]) -> Option<EventTime> {
        // The lowest bit of a varint is that of its first byte.
        record.first().filter(|first| *first & 1 == 1)?;
        take_head(record)?.2
    }

    /// The value in a record that was read, `None` if it is damaged.
    #[cfg(feature = "disk")]
    pub(crate) fn of_record(record: fjall::Slice) -> Option<Value<'static>> {
        let (start, version, expires) = take_head(&record)?;
        Some(Value { held: Held::Record { record, start }, version, expires })
    }
}

fn take_head(record: &[u8]) -> Option<(usize, Version, Option<EventTime>)> {
    let mut rest = record;
    let epoch = varint::take(&mut rest)?;
    let version = Version::new(Epoch(epoch >> 1), Sequence(varint::take(&mut rest)?));
    let expires = match epoch & 1 {
        0 => None,
        _ => Some(EventTime(varint::take_signed(&mut rest)?)),
    };
    Some((record.len() - rest.len(), version, expires))
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Value<'_>) -> bool {
        (self.bytes(), self.version, self.expires) == (other.bytes(), other.version, other.expires)
    }
}

impl Eq for Value<'_> {}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("bytes", &format_args!("{}", self.bytes().escape_ascii()))
            .field("version", &self.version)
            .field("expires", &self.expires)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_value_version_and_expiry() {
        let check = |epoch, sequence, expires: Option<i64>, length| {
            let version = Version::new(Epoch(epoch), Sequence(sequence));
            let value = Value::new(b"v", version).expiring(expires.map(EventTime));
            let mut record = Vec::new();
            value.put_head(&mut record);
            record.extend_from_slice(value.bytes());
            assert_eq!(record.len(), length);
            assert_eq!(Value::expires_in_record(&record), value.expires());
            assert_eq!(Value::in_record(&record), Some(value));
            let short = &record[..record.len() - 2];
            assert_eq!(Value::in_record(short), None, "cut within its head");
        };
        check(0, 0, None, 3);
        check(63, 1 << 20, None, 5);
        check(64, 1, Some(-1), 5);
        check(EPOCH_MAX.0, u64::MAX, Some(i64::MIN), 31);
    }
}
