//! One partition: its records, and the order of those who may write them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::Waker;

use affinity_types::wire::WireError;
use affinity_types::{Epoch, EventTime, Offset};

use super::mapping::{self, KafkaRecord, Membership};
use super::{Fencing, channel::Token};
use crate::{Batch, BatchBuilder, Bounds, Error, ErrorKind, GroupHead, RecordSlot, Slice, TopicPartition};

/// A record in its place.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) offset: Offset,
    pub(super) record: KafkaRecord,
    /// Whether a compaction has looked at it and left it.
    pub(super) passed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// By offset, with the gaps that compaction has left.
    pub(super) records: Vec<Stored>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// The newest preparation.
    prepared: Token,
    /// The newest preparation whose writer has a group in the log.
    landed: Token,
    /// The highest epoch in it.
    highest: Epoch,
    /// What [`bounds`](Partition::bounds) answers instead of the truth.
    pub(super) stale: Option<Bounds>,
    /// Readers that wait at the end.
    pub(super) waiting: BTreeMap<u64, Waker>,
}

impl Partition {
    pub(super) fn bounds(&self) -> Bounds {
        let newest = self.records.last().map(|stored| stored.record.time);
        self.stale.unwrap_or(Bounds { start: self.start, end: self.end, newest })
    }

    pub(super) fn prepare(&mut self) -> Token {
        self.prepared = self.prepared.next();
        self.prepared
    }

    /// The newest preparation whose writer has a group in the log.
    pub(super) fn newest(&self) -> Token {
        self.landed
    }

    /// Whether a writer may still append.
    pub(super) fn admits(&self, token: Token, epoch: Epoch, fencing: Fencing) -> bool {
        match fencing {
            Fencing::Off => true,
            Fencing::AtAppend => token >= self.landed,
            // A writer that has landed goes on under its epoch; another one needs a higher.
            Fencing::Known if token == self.landed => epoch >= self.highest,
            Fencing::Known => token > self.landed && epoch > self.highest,
        }
    }

    /// Appends a group of a writer that is admitted.
    pub(super) fn append(&mut self, token: Token, epoch: Epoch, records: Vec<KafkaRecord>) -> Range<Offset> {
        self.landed = self.landed.max(token);
        self.append_unfenced(epoch, records)
    }

    /// Appends records whoever they are of.
    pub(super) fn append_unfenced(&mut self, epoch: Epoch, records: Vec<KafkaRecord>) -> Range<Offset> {
        self.highest = self.highest.max(epoch);
        let first = self.end;
        for record in records {
            self.records.push(Stored { offset: self.end, record, passed: false });
            self.end = self.end.advance(1);
        }
        first..self.end
    }

    /// Base of the first group whose time is `time` or later.
    pub(super) fn offset_at(&self, time: EventTime) -> Result<Option<Offset>, WireError> {
        let Some(found) = self.records.iter().find(|stored| stored.record.time >= time) else {
            return Ok(None);
        };
        mapping::decode(found.offset, &found.record).map(|(member, _)| Some(member.base))
    }

    /// The groups from the one on that contains `from`, whole, up to about `bytes_max`; `None` at the end.
    pub(super) fn read(
        &self,
        place: &TopicPartition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Option<Batch>, Error> {
        let mut filling = Filling::default();
        let mut at = self.index_of(from);
        let mut next = from;
        while at < self.records.len() && filling.data.len() < bytes_max {
            match self.group_at(at) {
                Ok((member, indices)) => {
                    at = indices.end;
                    next = member.next();
                    filling.group(&self.records[indices]);
                }
                Err(_) if !filling.groups.is_empty() => break,
                Err(cause) => {
                    let message =
                        format!("{place} at offset {}: the header cannot be read", self.records[at].offset);
                    return Err(Error::new(ErrorKind::Corrupt, message).caused_by(cause));
                }
            }
        }
        let nothing = filling.groups.is_empty();
        Ok((!nothing).then(|| filling.groups.build(filling.data.into(), next, self.end)))
    }

    /// Index of the first record that is left of the groups that reach beyond `from`.
    fn index_of(&self, from: Offset) -> usize {
        let mut at = self.records.partition_point(|stored| stored.offset < from);
        while let Some(before) = at.checked_sub(1) {
            let stored = &self.records[before];
            match mapping::decode(stored.offset, &stored.record) {
                Ok((member, _)) if member.next() > from => at = before,
                _ => break,
            }
        }
        at
    }

    /// The group of the record at index `at`, and the indices from there on of its records.
    pub(super) fn group_at(&self, at: usize) -> Result<(Membership, Range<usize>), WireError> {
        let member_at =
            |stored: &Stored| mapping::decode(stored.offset, &stored.record).map(|(member, _)| member);
        let member = member_at(&self.records[at])?;
        let mut end = at + 1;
        while let Some(stored) = self.records.get(end).filter(|stored| stored.offset < member.next()) {
            if member_at(stored)? != member {
                break;
            }
            end += 1;
        }
        Ok((member, at..end))
    }
}

/// A batch in the making.
#[derive(Default)]
struct Filling {
    data: Vec<u8>,
    groups: BatchBuilder,
}

impl Filling {
    /// Adds the group that `members` are left of.
    fn group(&mut self, members: &[Stored]) {
        for (i, stored) in members.iter().enumerate() {
            let (member, header) =
                mapping::decode(stored.offset, &stored.record).expect("it was decoded before");
            if i == 0 {
                let Membership { base, version, count } = member;
                let attributes = Slice::default();
                self.groups.group(GroupHead { base, version, time: stored.record.time, count, attributes });
            }
            let slot = RecordSlot {
                kind: header.kind,
                index: header.index,
                key: self.put(&stored.record.key),
                value: stored.record.value.as_ref().map(|value| self.put(value)),
                attributes: self.put(header.record_attributes),
            };
            self.groups.record(slot);
            if header.index + 1 == header.count {
                let attributes = self.put(header.group_attributes);
                self.groups.attributes(attributes);
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Slice {
        let place = |n: usize| u32::try_from(n).expect("a batch is smaller than 4 GiB");
        let start = place(self.data.len());
        self.data.extend_from_slice(bytes);
        Slice { start, length: place(bytes.len()) }
    }
}
