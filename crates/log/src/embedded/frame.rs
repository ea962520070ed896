//! The bytes of groups and of group commits on the disk. Settled in `docs/adr/0002-embedded-log.md`.
//!
//! All numbers are little endian. Checksums are CRC-32C (Castagnoli, as in iSCSI), begun with the file's salt, so that
//! what an earlier life of a recycled file left behind is never valid.
//!
//! ```text
//! group    crc: u32 | length: u32 | version: u8 = 1 | kind: u8 = 16 | 0: u16 | slot: u32 | base: u64 | epoch: u64
//!          | sequence: u64 | time: i64 | count: u16 | present: u16 | attributes length: u32 | attributes | records
//! record   flags: u8 (bits 0-1 kind, 2 has a value, 3 has attributes) | index: u16 | key length: varint
//!          | [value length: varint] | [attributes length: varint] | attributes | key | value
//! block    crc: u32 | length: u32 | version: u8 = 1 | kind: u8 = 1 commit, 2 seal, 3 mark, 4 seal and more | 0: u16
//!          | groups: u32 | number: u64 | groups
//! ```
//!
//! A block is one group commit: what one write and one sync made durable. Its checksum covers its head and the checksums
//! of its groups; theirs cover the rest. `length` counts the whole group or block.

use affinity_types::{Epoch, EventTime, Group, Offset, RecordKind, Sequence, Version, varint, wire};

use super::protection::{self, Protection};
use crate::{BatchBuilder, GroupHead, RecordSlot, Slice};

pub(super) const VERSION: u8 = 1;
pub(super) const GROUP_HEAD: usize = 56;
pub(super) const BLOCK_HEAD: usize = 24;
const GROUP: u8 = 16;

const KIND_BITS: u8 = 0b11;
const HAS_VALUE: u8 = 1 << 2;
const HAS_ATTRIBUTES: u8 = 1 << 3;

/// The checksum's beginning for a file: its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u32);

impl Salt {
    pub(super) fn of(journal: u128, file: u64) -> Salt {
        if protection::removed(Protection::Salt) {
            return Salt(0);
        }
        Salt(crc32c::crc32c_append(crc32c::crc32c(&journal.to_le_bytes()), &file.to_le_bytes()))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn length32(length: usize) -> u32 {
    u32::try_from(length).expect("admission keeps groups below a gigabyte")
}

/// Appends `group` to `out`, all but its offset and checksum; answers its length.
pub(super) fn put_group(out: &mut Vec<u8>, slot: u32, group: &Group) -> usize {
    let start = out.len();
    out.resize(start + GROUP_HEAD, 0);
    if !group.attributes.is_empty() {
        wire::put_group_attributes(out, &group.attributes);
    }
    let attributes = length32(out.len() - start - GROUP_HEAD);
    for (index, record) in group.records.iter().enumerate() {
        put_record(out, index, record);
    }
    let records = u16::try_from(group.records.len()).expect("admission checks the number of records");
    let length = out.len() - start;
    let head = &mut out[start..start + GROUP_HEAD];
    head[4..8].copy_from_slice(&length32(length).to_le_bytes());
    head[8] = VERSION;
    head[9] = GROUP;
    head[12..16].copy_from_slice(&slot.to_le_bytes());
    head[24..32].copy_from_slice(&group.version.epoch.0.to_le_bytes());
    head[32..40].copy_from_slice(&group.version.sequence.0.to_le_bytes());
    head[40..48].copy_from_slice(&group.time.0.to_le_bytes());
    head[48..50].copy_from_slice(&records.to_le_bytes());
    head[50..52].copy_from_slice(&records.to_le_bytes());
    head[52..56].copy_from_slice(&attributes.to_le_bytes());
    length
}

fn put_record(out: &mut Vec<u8>, index: usize, record: &affinity_types::Record) {
    let plain = record.event_time.is_none() && record.expires.is_none() && record.repairs.is_none();
    let mut attributes = Vec::new();
    if !plain {
        wire::put_record_attributes(&mut attributes, record);
    }
    let mut flags = record.kind.number();
    if record.value.is_some() {
        flags |= HAS_VALUE;
    }
    if !plain {
        flags |= HAS_ATTRIBUTES;
    }
    out.push(flags);
    out.extend_from_slice(
        &u16::try_from(index).expect("admission checks the number of records").to_le_bytes(),
    );
    varint::put(out, record.key.len() as u64);
    if let Some(value) = &record.value {
        varint::put(out, value.len() as u64);
    }
    if !plain {
        varint::put(out, attributes.len() as u64);
        out.extend_from_slice(&attributes);
    }
    out.extend_from_slice(&record.key);
    if let Some(value) = &record.value {
        out.extend_from_slice(value);
    }
}

/// Gives an encoded group its offset.
pub(super) fn set_base(group: &mut [u8], base: Offset) {
    group[16..24].copy_from_slice(&base.0.to_le_bytes());
}

/// Gives an encoded group its checksum.
pub(super) fn seal_group(group: &mut [u8], salt: Salt) {
    let crc = crc32c::crc32c_append(salt.0, &group[4..]);
    group[..4].copy_from_slice(&crc.to_le_bytes());
}

/// A group within something that has a checksum has none of its own.
pub(super) fn clear_crc(group: &mut [u8]) {
    group[..4].fill(0);
}

/// The length that the group at the front of `bytes` claims, if its head is here and plausible.
pub(super) fn group_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < GROUP_HEAD || bytes[8] != VERSION || bytes[9] != GROUP {
        return None;
    }
    Some(u32_at(bytes, 4) as usize).filter(|&length| length >= GROUP_HEAD)
}

/// Whether `group`, whole, is what was written.
pub(super) fn group_holds(group: &[u8], salt: Salt) -> bool {
    crc32c::crc32c_append(salt.0, &group[4..]) == u32_at(group, 0)
        || protection::removed(Protection::Checksum)
}

/// An encoded group whose checksum holds.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a>(pub(super) &'a [u8]);

impl<'a> Frame<'a> {
    pub(super) fn slot(self) -> u32 {
        u32_at(self.0, 12)
    }

    pub(super) fn base(self) -> Offset {
        Offset(u64_at(self.0, 16))
    }

    pub(super) fn count(self) -> u16 {
        u16_at(self.0, 48)
    }

    /// Records that are left in it.
    pub(super) fn present(self) -> u16 {
        u16_at(self.0, 50)
    }

    pub(super) fn next(self) -> Offset {
        self.base().advance(u64::from(self.count()))
    }

    pub(super) fn version(self) -> Version {
        Version::new(Epoch(u64_at(self.0, 24)), Sequence(u64_at(self.0, 32)))
    }

    pub(super) fn time(self) -> EventTime {
        EventTime(u64_at(self.0, 40).cast_signed())
    }

    pub(super) fn attributes(self) -> &'a [u8] {
        &self.0[GROUP_HEAD..self.records_start()]
    }

    fn records_start(self) -> usize {
        GROUP_HEAD + u32_at(self.0, 52) as usize
    }

    /// The records, as places in the group.
    pub(super) fn records(self) -> Records<'a> {
        Records { frame: self.0, at: self.records_start(), left: u16_at(self.0, 50) }
    }

    /// Adds the group, which lies at `shift` in the batch's buffer, to `batch`; `None` if it is malformed.
    pub(super) fn decode(self, shift: u32, batch: &mut BatchBuilder) -> Option<()> {
        let attributes = Slice { start: shift + length32(GROUP_HEAD), length: u32_at(self.0, 52) };
        let (base, version, time, count) = (self.base(), self.version(), self.time(), self.count());
        batch.group(GroupHead { base, version, time, count, attributes });
        let mut at = self.records_start();
        for _ in 0..self.present() {
            let (record, end) = read_record(self.0, at, shift)?;
            batch.record(record);
            at = end;
        }
        (at == self.0.len()).then_some(())
    }
}

/// A record within an encoded group: its places, relative to the group, and all its bytes.
pub(super) struct EncodedRecord<'a> {
    pub(super) slot: RecordSlot,
    pub(super) bytes: &'a [u8],
    pub(super) key: &'a [u8],
}

/// Walks the records of a group; `Some(None)` where they are malformed.
pub(super) struct Records<'a> {
    frame: &'a [u8],
    at: usize,
    left: u16,
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Option<EncodedRecord<'a>> {
        let (slot, end) = read_record(self.frame, self.at, 0)?;
        let bytes = &self.frame[self.at..end];
        let key = &self.frame[slot.key.start as usize..(slot.key.start + slot.key.length) as usize];
        self.at = end;
        Some(EncodedRecord { slot, bytes, key })
    }
}

/// Reads the record at `at` of a group: its places, moved on by `shift`, and where it ends. Inlined, since a record that is
/// returned through memory and copied from there stalls the processor: `log-read` shows it.
#[inline(always)]
fn read_record(frame: &[u8], at: usize, shift: u32) -> Option<(RecordSlot, usize)> {
    let (&[flags, index @ ..], mut input) = frame.get(at..)?.split_first_chunk::<3>()?;
    let kind = RecordKind::from_number(flags & KIND_BITS)?;
    let key_length = short_varint(&mut input)?;
    let value_length = if flags & HAS_VALUE == 0 { 0 } else { short_varint(&mut input)? };
    let attributes_length = if flags & HAS_ATTRIBUTES == 0 { 0 } else { short_varint(&mut input)? };
    let start = length32(frame.len() - input.len()) + shift;
    let attributes = Slice { start, length: attributes_length };
    let key = Slice { start: start + attributes_length, length: key_length };
    let value = Slice { start: key.start + key_length, length: value_length };
    let end = (value.start - shift) as usize + value_length as usize;
    if end > frame.len() {
        return None;
    }
    let value = (flags & HAS_VALUE != 0).then_some(value);
    Some((RecordSlot { kind, index: u16::from_le_bytes(index), key, value, attributes }, end))
}

/// A length below 2^30: nothing in a group is longer.
fn short_varint(input: &mut &[u8]) -> Option<u32> {
    if let [first @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(u32::from(*first));
    }
    if let [first, second @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(u32::from(*first & 0x7f) | u32::from(*second) << 7);
    }
    u32::try_from(varint::take(input)?).ok().filter(|&length| length < 1 << 30)
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<EncodedRecord<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

/// Copies `frame` with only the records that `keep` names, and with its attributes only if `attributes` says so.
pub(super) fn put_group_with(
    out: &mut Vec<u8>,
    frame: Frame<'_>,
    attributes: KeepAttributes,
    keep: impl Fn(u16) -> bool,
) {
    let start = out.len();
    out.extend_from_slice(&frame.0[..GROUP_HEAD]);
    if attributes == KeepAttributes::Yes {
        out.extend_from_slice(frame.attributes());
    } else {
        out[start + 52..start + 56].fill(0);
    }
    let mut present = 0u16;
    for record in frame.records().flatten().filter(|r| keep(r.slot.index)) {
        out.extend_from_slice(record.bytes);
        present += 1;
    }
    let length = length32(out.len() - start);
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out[start + 50..start + 52].copy_from_slice(&present.to_le_bytes());
}

/// Whether a copied group keeps its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAttributes {
    Yes,
    No,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// A group commit.
    Commit,
    /// The end of a segment: all before it is durable and complete.
    Seal,
    /// Nothing, written when the journal is idle: it proves that all before it was durable.
    Mark,
    /// The end of a segment behind which there is another one for sure.
    SealAndMore,
}

const BLOCK_KINDS: [BlockKind; 4] =
    [BlockKind::Commit, BlockKind::Seal, BlockKind::Mark, BlockKind::SealAndMore];

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) kind: BlockKind,
    pub(super) length: u32,
    pub(super) groups: u32,
    pub(super) number: u64,
}

impl BlockHead {
    /// Writes the head over the first bytes of `block`, whose groups have their checksums.
    pub(super) fn seal(kind: BlockKind, number: u64, groups: u32, block: &mut [u8], salt: Salt) {
        let length = length32(block.len());
        block[4..8].copy_from_slice(&length.to_le_bytes());
        block[8] = VERSION;
        block[9] = kind as u8 + 1;
        block[10..12].fill(0);
        block[12..16].copy_from_slice(&groups.to_le_bytes());
        block[16..24].copy_from_slice(&number.to_le_bytes());
        let crc = block_crc(block, salt);
        block[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The head at the front of `bytes`, if it is plausible; nothing is proven by that.
    pub(super) fn read(bytes: &[u8]) -> Option<BlockHead> {
        if bytes.len() < BLOCK_HEAD || bytes[8] != VERSION || bytes[10..12] != [0, 0] {
            return None;
        }
        let kind = *BLOCK_KINDS.get(usize::from(bytes[9]).checked_sub(1)?)?;
        let head = BlockHead {
            kind,
            length: u32_at(bytes, 4),
            groups: u32_at(bytes, 12),
            number: u64_at(bytes, 16),
        };
        let least = BLOCK_HEAD as u64 + u64::from(head.groups) * GROUP_HEAD as u64;
        (u64::from(head.length) >= least).then_some(head)
    }

    /// Whether `block`, whole, is what was written, groups and all.
    pub(super) fn holds(&self, block: &[u8], salt: Salt) -> bool {
        let mut groups = 0;
        let mut rest = &block[BLOCK_HEAD..];
        while !rest.is_empty() {
            let Some(group) = group_length(rest).and_then(|length| rest.get(..length)) else { return false };
            if !group_holds(group, salt) {
                return false;
            }
            groups += 1;
            rest = &rest[group.len()..];
        }
        let holds = block_crc(block, salt) == u32_at(block, 0) || protection::removed(Protection::Checksum);
        groups == self.groups && holds
    }
}

/// The checksum of a block whose groups are plausible.
fn block_crc(block: &[u8], salt: Salt) -> u32 {
    let mut crc = crc32c::crc32c_append(salt.0, &block[4..BLOCK_HEAD]);
    let mut rest = &block[BLOCK_HEAD..];
    while let Some(length) = group_length(rest).filter(|&length| length <= rest.len()) {
        crc = crc32c::crc32c_append(crc, &rest[..4]);
        rest = &rest[length..];
    }
    crc
}

/// The groups of a block that holds.
pub(super) fn groups_of(block: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = &block[BLOCK_HEAD..];
    std::iter::from_fn(move || {
        let (group, after) = rest.split_at_checked(group_length(rest)?)?;
        rest = after;
        Some(Frame(group))
    })
}
