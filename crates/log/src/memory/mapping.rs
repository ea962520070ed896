//! Groups as Kafka's records, and back.
//!
//! Every record of a group carries the header named [`wire::HEADER`]; the group's attributes ride on the last one.
//! Records without it are of strangers: groups of one, with the version (0, offset).

use affinity_types::wire::{self, RecordHeader, WireError};
use affinity_types::{EventTime, Group, Offset, RecordKind, Version};
use bytes::Bytes;

/// A record as it is sent.
#[derive(Clone, Debug)]
pub(super) struct KafkaRecord {
    pub(super) time: EventTime,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    /// The value of the one header that ours have.
    pub(super) header: Option<Bytes>,
}

impl KafkaRecord {
    /// Bytes that it counts for.
    pub(super) fn size(&self) -> u64 {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        (self.key.len() + optional(&self.value) + optional(&self.header)) as u64
    }
}

/// Which group a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) base: Offset,
    pub(super) version: Version,
    pub(super) count: u16,
}

impl Membership {
    /// The offset behind the group.
    pub(super) fn next(&self) -> Offset {
        self.base.advance(u64::from(self.count))
    }
}

/// The records of a group that has passed admission.
pub(super) fn encode(group: &Group) -> Vec<KafkaRecord> {
    let count = u16::try_from(group.records.len()).expect("a group has at most RECORDS_MAX records");
    let mut attributes = Vec::new();
    wire::put_group_attributes(&mut attributes, &group.attributes);
    let encode_one = |(index, record): (u16, &affinity_types::Record)| {
        let mut record_attributes = Vec::new();
        wire::put_record_attributes(&mut record_attributes, record);
        let header = RecordHeader {
            kind: record.kind,
            version: group.version,
            index,
            count,
            record_attributes: &record_attributes,
            group_attributes: if index + 1 == count { &attributes } else { &[] },
        };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        KafkaRecord {
            time: group.time,
            key: record.key.clone().into_bytes(),
            value: record.value.clone(),
            header: Some(bytes.into()),
        }
    };
    (0..count).zip(&group.records).map(encode_one).collect()
}

/// What the record at `offset` says of itself, and the group it is of.
pub(super) fn decode(
    offset: Offset,
    record: &KafkaRecord,
) -> Result<(Membership, RecordHeader<'_>), WireError> {
    let header = match &record.header {
        Some(bytes) => RecordHeader::parse(bytes)?,
        None => RecordHeader {
            kind: RecordKind::Main,
            version: Version::foreign(offset),
            index: 0,
            count: 1,
            record_attributes: &[],
            group_attributes: &[],
        },
    };
    let base = offset.0.checked_sub(u64::from(header.index)).ok_or(WireError::Malformed("record header"))?;
    Ok((Membership { base: Offset(base), version: header.version, count: header.count }, header))
}
