//! Keys of the records that stand beside the main store's: the system's own, and those of further stores.
//!
//! Both are ordinary record frames (`0`, schema id as 4 bytes big endian, Avro binary), so that any Avro reader of the
//! topic goes on; the schemas are constants here and are encoded by hand. Their ids are given by the registry when the
//! changelog is created and never change, since they are part of the key's bytes. Readers of ours know these records
//! by their [`RecordKind`], never by an id.

use bytes::Bytes;

use crate::wire::WireError;
use crate::{Attributes, Epoch, EventTime, Group, Key, Record, RecordKind, Sequence, Version, varint};

/// Avro schema of the system's records, keys and values alike.
pub const CONTROL_SCHEMA: &str = r#"{"type":"record","name":"Control","namespace":"affinity","doc":"A record of the system: not data.","fields":[{"name":"kind","type":"string"},{"name":"scope","type":"string"},{"name":"number","type":"long"}]}"#;

/// Avro schema of the keys of further stores.
pub const STORE_KEY_SCHEMA: &str = r#"{"type":"record","name":"StoreKey","namespace":"affinity","doc":"A key of a further store of the partition.","fields":[{"name":"store","type":"string"},{"name":"key","type":"bytes"}]}"#;

const BARRIER: &str = "barrier";
const NO_OP: &str = "no-op";
const LEASE: &str = "lease";

/// A system record's key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// What it is: `barrier`, `no-op`, `lease`, those of [`effect`](crate::effect); later versions have more.
    pub kind: &'a str,
    /// What it is about, if there are several of the kind.
    pub scope: &'a str,
    /// Its number, if it has one.
    pub number: u64,
}

impl<'a> Control<'a> {
    /// The key of the barrier of `epoch`: one of its own for every epoch, so that a late barrier of an older epoch
    /// never hides a newer one from compaction.
    #[must_use]
    pub fn barrier(epoch: Epoch) -> Control<'static> {
        Control { kind: BARRIER, scope: "", number: epoch.0 }
    }

    /// The key of the partition's no-op.
    #[must_use]
    pub fn no_op() -> Control<'static> {
        Control { kind: NO_OP, scope: "", number: 0 }
    }

    /// The value of a barrier: the length of its epoch's read lease. A value, so that compaction keeps the barrier of a
    /// mastership that lasts longer than deleted keys are remembered.
    #[must_use]
    pub fn lease(lease_ms: u64) -> Control<'static> {
        Control { kind: LEASE, scope: "", number: lease_ms }
    }

    /// The length of the read lease in milliseconds, if this is the value of a barrier.
    #[must_use]
    pub fn lease_ms(&self) -> Option<u64> {
        (self.kind == LEASE).then_some(self.number)
    }

    /// The epoch, if this is the key of a barrier.
    #[must_use]
    pub fn barrier_epoch(&self) -> Option<Epoch> {
        (self.kind == BARRIER).then_some(Epoch(self.number))
    }

    /// The record frame under the id that the `Control` schema has in this changelog.
    #[must_use]
    pub fn frame(&self, schema_id: u32) -> Bytes {
        let mut out = frame_head(schema_id, 8 + self.kind.len() + self.scope.len());
        put_avro_bytes(&mut out, self.kind.as_bytes());
        put_avro_bytes(&mut out, self.scope.as_bytes());
        varint::put_signed(&mut out, self.number.cast_signed());
        out.into()
    }

    /// Reads a record frame, whatever its schema id.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if it is not a frame of the `Control` schema.
    pub fn parse(frame: &'a [u8]) -> Result<Control<'a>, WireError> {
        let parse = || {
            let mut input = frame_body(frame)?;
            let kind = take_avro_str(&mut input)?;
            let scope = take_avro_str(&mut input)?;
            let number = varint::take_signed(&mut input)?.cast_unsigned();
            input.is_empty().then_some(Control { kind, scope, number })
        };
        parse().ok_or(WireError::Malformed("control key"))
    }
}

/// The key of a record in a further store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreKey<'a> {
    /// Name of the store.
    pub store: &'a str,
    /// The key within it.
    pub key: &'a [u8],
}

impl<'a> StoreKey<'a> {
    /// The record frame under the id that the `StoreKey` schema has in this changelog.
    #[must_use]
    pub fn frame(&self, schema_id: u32) -> Bytes {
        let mut out = frame_head(schema_id, 8 + self.store.len() + self.key.len());
        put_avro_bytes(&mut out, self.store.as_bytes());
        put_avro_bytes(&mut out, self.key);
        out.into()
    }

    /// Reads a record frame, whatever its schema id.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if it is not a frame of the `StoreKey` schema.
    pub fn parse(frame: &'a [u8]) -> Result<StoreKey<'a>, WireError> {
        let parse = || {
            let mut input = frame_body(frame)?;
            let store = take_avro_str(&mut input)?;
            let key = take_avro_bytes(&mut input)?;
            input.is_empty().then_some(StoreKey { store, key })
        };
        parse().ok_or(WireError::Malformed("store key"))
    }
}

/// The first group of `epoch`: one barrier, which carries the length of the epoch's read lease.
#[must_use]
pub fn barrier_group(epoch: Epoch, time: EventTime, lease_ms: u64, control_id: u32) -> Group {
    let lease = Control::lease(lease_ms).frame(control_id);
    let version = Version::new(epoch, Sequence::FIRST);
    control_group(version, time, Control::barrier(epoch).frame(control_id), Some(lease))
}

/// A group that changes nothing: it carries the time, the epoch and what the caller puts into its attributes.
#[must_use]
pub fn no_op_group(version: Version, time: EventTime, control_id: u32) -> Group {
    control_group(version, time, Control::no_op().frame(control_id), None)
}

fn control_group(version: Version, time: EventTime, key: Bytes, value: Option<Bytes>) -> Group {
    let record = Record { kind: RecordKind::Control, ..Record::new(Key::new(key), value) };
    Group { version, time, attributes: Attributes::default(), records: vec![record] }
}

pub(crate) fn frame_head(schema_id: u32, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + capacity);
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
    out
}

pub(crate) fn frame_body(frame: &[u8]) -> Option<&[u8]> {
    frame.get(5..).filter(|_| frame[0] == 0)
}

pub(crate) fn put_avro_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put_signed(out, i64::try_from(bytes.len()).expect("a slice is shorter than 2^63 bytes"));
    out.extend_from_slice(bytes);
}

pub(crate) fn take_avro_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint::take_signed(input)?;
    varint::take_bytes(input, u64::try_from(length).ok()?)
}

pub(crate) fn take_avro_str<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_avro_bytes(input)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_key_is_a_confluent_frame_of_its_schema() {
        let frame = Control::barrier(Epoch(3)).frame(7);
        assert_eq!(&frame[..], b"\0\0\0\0\x07\x0ebarrier\0\x06");
        assert_eq!(Control::parse(&frame).unwrap().barrier_epoch(), Some(Epoch(3)));
        let other = Control { kind: "applied", scope: "bank/3", number: u64::MAX };
        assert_eq!(Control::parse(&other.frame(1)).unwrap(), other);
    }

    #[test]
    fn a_store_key_is_a_confluent_frame_of_its_schema() {
        let key = StoreKey { store: "by-name", key: b"\0\0\0\0\x01x" };
        let frame = key.frame(258);
        assert_eq!(&frame[..], b"\0\0\0\x01\x02\x0eby-name\x0c\0\0\0\0\x01x");
        assert_eq!(StoreKey::parse(&frame).unwrap(), key);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in
            [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\x07\0\0\0", b"\0\0\0\0\x07\x01", b"\0\0\0\0\x07\0\0\0\0"]
        {
            assert!(Control::parse(bytes).is_err(), "{bytes:?}");
            assert!(StoreKey::parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
