//! Segments of the journal: group commits of all partitions in the order of time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use affinity_types::{Epoch, EventTime, Offset};

use super::disk::LogFile;
use super::frame::{BLOCK_HEAD, BlockHead, BlockKind, Frame, Salt, groups_of};
use super::head::{FileHead, HEAD};
use super::protection::{self, Protection};

/// A segment of the journal and where the durable groups of each slot lie in it.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn LogFile>,
    pub(super) salt: Salt,
    index: Mutex<Index>,
}

/// Some adjacent groups of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) position: u32,
    pub(super) length: u32,
    /// The latest time of a group in it.
    pub(super) latest: EventTime,
}

#[derive(Clone, Default)]
pub(super) struct Index {
    pub(super) slots: BTreeMap<u32, Vec<Extent>>,
    /// Where the durable blocks end.
    pub(super) end: u32,
}

impl Index {
    /// Adds a group that lies at `position`.
    pub(super) fn add(&mut self, frame: Frame<'_>, position: u32) {
        let length = u32::try_from(frame.0.len()).expect("a group is shorter than a segment");
        let extents = self.slots.entry(frame.slot()).or_default();
        match extents.last_mut() {
            Some(last) if last.position + last.length == position => {
                last.next = frame.next();
                last.length += length;
                last.latest = last.latest.max(frame.time());
            }
            _ => {
                let (base, next, latest) = (frame.base(), frame.next(), frame.time());
                extents.push(Extent { base, next, position, length, latest });
            }
        }
    }
}

impl Segment {
    pub(super) fn new(head: &FileHead, file: Arc<dyn LogFile>, index: Index) -> Segment {
        Segment { number: head.number, file, salt: head.salt(), index: Mutex::new(index) }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first extent of `slot` with an offset of `from` or later and up to `bytes` of those behind it; at least the
    /// one.
    pub(super) fn extents(&self, slot: u32, from: Offset, bytes: u32) -> Vec<Extent> {
        let index = self.index();
        let Some(extents) = index.slots.get(&slot) else { return Vec::new() };
        let first = extents.partition_point(|extent| extent.next <= from);
        let mut total = 0;
        let wanted = extents[first..].iter().take_while(|extent| {
            let before = total;
            total += extent.length;
            before == 0 || total <= bytes
        });
        wanted.copied().collect()
    }
}

/// What a segment's bytes say.
pub(super) struct Scan {
    /// Where its groups are.
    pub(super) index: Index,
    /// Number of the block that would come next.
    pub(super) next_block: u64,
    /// Whether it was ended in order: every block of it is there.
    pub(super) sealed: bool,
    /// Whether there is a segment behind it for sure.
    pub(super) followed: bool,
    /// Whether a block that never became whole was found behind the last whole one.
    pub(super) torn: bool,
    /// What the newest groups of each slot say.
    pub(super) newest: BTreeMap<u32, Newest>,
}

/// The highest epoch and the last time of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub(super) epoch: Epoch,
    pub(super) time: EventTime,
}

/// Where a segment is damaged: a block that was durable is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) position: usize,
}

/// Reads a whole segment.
///
/// # Errors
/// [`Damage`] if a bad block has a good one behind it: since at most one block is ever unsynced, the bad one was
/// durable once.
pub(super) fn scan(bytes: &[u8], head: &FileHead) -> Result<Scan, Damage> {
    let salt = head.salt();
    let mut index = Index::default();
    let mut newest = BTreeMap::<u32, Newest>::new();
    let mut at = HEAD;
    let mut next_block = head.first_block;
    let (mut sealed, mut followed) = (false, false);
    while let Some((found, block)) = block_at(bytes, at, salt).filter(|(found, _)| found.number == next_block)
    {
        let mut position = at + BLOCK_HEAD;
        for frame in groups_of(block) {
            index.add(frame, place(position));
            let (epoch, time) = (frame.version().epoch, frame.time());
            let epoch = newest.get(&frame.slot()).map_or(epoch, |newest| newest.epoch.max(epoch));
            newest.insert(frame.slot(), Newest { epoch, time });
            position += frame.0.len();
        }
        at += block.len();
        next_block += 1;
        (sealed, followed) = match found.kind {
            BlockKind::Seal => (true, false),
            BlockKind::SealAndMore => (true, true),
            BlockKind::Commit | BlockKind::Mark => continue,
        };
        break;
    }
    index.end = place(at);
    let torn = !sealed && is_torn(&bytes[at..], head, next_block);
    if !sealed && !protection::removed(Protection::TailRule) {
        let behind = (at + 1..bytes.len()).find_map(|p| block_at(bytes, p, salt));
        if behind.is_some() {
            return Err(Damage { position: at });
        }
    }
    Ok(Scan { index, next_block, sealed, followed, torn, newest })
}

/// Whether something was written behind the last whole block: anything in a new file, the head of the next block in a
/// recycled one, where an earlier life's bytes are no news.
fn is_torn(behind: &[u8], head: &FileHead, next_block: u64) -> bool {
    let next = BlockHead::read(behind).is_some_and(|head| head.number == next_block);
    next || !head.recycled && behind.iter().take(BLOCK_HEAD).any(|&byte| byte != 0)
}

fn place(position: usize) -> u32 {
    u32::try_from(position).expect("a segment is at most a gigabyte")
}

/// The block at `at`, if there is one and it is what was written.
fn block_at(bytes: &[u8], at: usize, salt: Salt) -> Option<(BlockHead, &[u8])> {
    let rest = bytes.get(at..)?;
    let head = BlockHead::read(rest)?;
    let block = rest.get(..head.length as usize)?;
    head.holds(block, salt).then_some((head, block))
}
