//! The group commit: one write and one sync for what all partitions wait for. One thread does it, so at most one block is
//! ever unsynced.

use std::io;
use std::sync::Arc;

use affinity_types::{Epoch, EventTime, Offset};

use super::frame::{BLOCK_HEAD, BlockHead, BlockKind, Frame, seal_group, set_base};
use super::head::{FileHead, FileKind, HEAD};
use super::protection::{self, Protection};
use super::queue::{Gathered, Pending};
use super::segment::{Index, Segment};
use super::shelf::Shelf;
use super::slot::Slot;
use super::writer::Standing;
use crate::Outcome;

/// Bytes of groups that go into one block, but for a single longer one.
const BLOCK_BYTES: usize = 4 << 20;

/// Asked before the journal takes another segment: it may wait until the compactor has sorted those that are sealed, and
/// answers whether the journal may go on. If not, what does not fit is refused.
pub(super) type Way<'a> = &'a mut dyn FnMut() -> bool;

fn blocked() -> io::Error {
    io::Error::other("a sealed segment has to be sorted first, and compaction fails")
}

/// Writes the journal.
pub(super) struct Committer {
    shelf: Arc<Shelf>,
    active: Arc<Segment>,
    position: u32,
    next_block: u64,
    /// A write or sync failed: the segment's durable part goes to a new file before anything else is written.
    broken: bool,
    block: Vec<u8>,
    order: Vec<usize>,
    outcomes: Vec<Outcome>,
    /// Which of the outcomes a newer writer's group in the same block has brought about: they stand if the block does.
    overtaken: Vec<usize>,
}

/// What a slot's state will be when the block is durable.
struct Ahead {
    slot: Arc<Slot>,
    end: Offset,
    epoch: Epoch,
    newest: Option<EventTime>,
    preparation: u64,
}

impl Ahead {
    fn of(slot: &Arc<Slot>) -> Ahead {
        let state = slot.state();
        let (end, epoch, newest) = (state.end, state.epoch, state.newest);
        drop(state);
        Ahead { slot: Arc::clone(slot), end, epoch, newest, preparation: slot.newest() }
    }

    /// Whether a group of this writer comes too late: behind one of a later preparation, or under an epoch that the
    /// partition has had.
    fn makes_stale(&self, preparation: u64, epoch: Epoch) -> bool {
        if preparation == self.preparation {
            epoch < self.epoch
        } else {
            preparation < self.preparation || epoch <= self.epoch
        }
    }
}

impl Committer {
    /// A committer that goes on in `active`, which is empty.
    pub(super) fn new(shelf: Arc<Shelf>, active: Arc<Segment>, next_block: u64) -> Committer {
        let position = active.index().end;
        let (block, order, outcomes, overtaken) = Default::default();
        Committer { shelf, active, position, next_block, broken: false, block, order, outcomes, overtaken }
    }

    fn room(&self) -> usize {
        self.shelf.options.segment_bytes.saturating_sub(self.position) as usize
    }

    fn quarter(&self) -> usize {
        self.shelf.options.segment_bytes as usize / 4
    }

    /// Brings every group to its outcome.
    pub(super) fn commit(&mut self, gathered: &mut Gathered, way: Way<'_>) {
        let Gathered { bytes, groups } = gathered;
        let limit = BLOCK_BYTES.min(self.quarter());
        let mut first = 0;
        while first < groups.len() {
            let start = groups[first].start;
            let fits = groups[first..].iter().take_while(|g| g.start + g.length - start <= limit).count();
            let last = first + fits.max(1);
            self.commit_block(bytes, &groups[first..last], way);
            first = last;
        }
        groups.clear();
        bytes.clear();
    }

    fn commit_block(&mut self, bytes: &[u8], groups: &[Pending], way: Way<'_>) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..groups.len());
        order.sort_by_key(|&i| groups[i].writer.slot.number);
        let healthy = self.heal(way);
        let ahead = self.decide(bytes, groups, &order, healthy);
        let accepted = self.block.len() > BLOCK_HEAD;
        if accepted {
            let written = match self.make_room(way) {
                Ok(()) => self.write().map_err(|error| {
                    self.broken = true;
                    (error, Outcome::Unknown)
                }),
                Err(error) => Err((error, Outcome::Refused)),
            };
            match written {
                Ok(()) => self.publish(&ahead),
                Err((error, outcome)) => self.fail(&error, outcome),
            }
        }
        self.answer(groups, &order);
        self.order = order;
    }

    /// Decides on each group, and puts the accepted ones into the block.
    fn decide(&mut self, bytes: &[u8], groups: &[Pending], order: &[usize], healthy: bool) -> Vec<Ahead> {
        self.block.clear();
        self.block.resize(BLOCK_HEAD, 0);
        self.outcomes.clear();
        self.overtaken.clear();
        let mut aheads: Vec<Ahead> = Vec::new();
        for &i in order {
            let Pending { writer, start, length, .. } = &groups[i];
            if aheads.last().is_none_or(|ahead| ahead.slot.number != writer.slot.number) {
                aheads.push(Ahead::of(&writer.slot));
            }
            let ahead = aheads.last_mut().expect("one was pushed");
            let frame = Frame(&bytes[*start..start + length]);
            let stale = ahead.makes_stale(writer.preparation, frame.version().epoch);
            let outcome = match writer.acks().standing {
                Standing::Unknown => Outcome::Unknown,
                Standing::Fenced => Outcome::Fenced,
                _ if stale || writer.slot.gone() => Outcome::Fenced,
                Standing::Refusing => Outcome::Refused,
                Standing::Good if !healthy => Outcome::Refused,
                Standing::Good => {
                    let first = ahead.end;
                    ahead.end = first.advance(u64::from(frame.count()));
                    ahead.epoch = frame.version().epoch;
                    ahead.newest = Some(frame.time());
                    ahead.preparation = writer.preparation;
                    let at = self.block.len();
                    self.block.extend_from_slice(frame.0);
                    set_base(&mut self.block[at..], first);
                    Outcome::Appended { first, next: ahead.end }
                }
            };
            if !matches!(outcome, Outcome::Appended { .. }) {
                mark(writer, outcome);
            }
            if stale && !Ahead::of(&writer.slot).makes_stale(writer.preparation, frame.version().epoch) {
                self.overtaken.push(self.outcomes.len());
            }
            self.outcomes.push(outcome);
        }
        aheads
    }

    /// Makes the block fit into the active segment.
    fn make_room(&mut self, way: Way<'_>) -> io::Result<()> {
        if self.block.len() + BLOCK_HEAD <= self.room() { Ok(()) } else { self.roll(way) }
    }

    /// Goes on in a new segment.
    fn roll(&mut self, way: Way<'_>) -> io::Result<()> {
        if !way() {
            return Err(blocked());
        }
        let next = self.shelf.create_segment(self.active.number + 1, self.next_block + 1)?;
        if let Err(error) = self.seal(BlockKind::SealAndMore) {
            self.broken = true;
            return Err(error);
        }
        self.go_on_in(next);
        Ok(())
    }

    /// Goes on in a new segment if there is anything in this one.
    pub(super) fn roll_if_used(&mut self, way: Way<'_>) -> io::Result<()> {
        if !self.heal(way) {
            return Err(io::Error::other("a write to it has failed, and it cannot be copied yet"));
        }
        if self.position > to_u32(HEAD) { self.roll(way) } else { Ok(()) }
    }

    /// Ends the journal in order and gives back what was preallocated.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.heal(&mut || true) {
            self.seal(BlockKind::Seal)?;
            self.active.file.truncate(u64::from(self.position) + BLOCK_HEAD as u64)?;
        }
        Ok(())
    }

    fn go_on_in(&mut self, next: Arc<Segment>) {
        self.position = next.index().end;
        self.shelf.put_segment(&next);
        self.active = next;
    }

    /// Ends the active segment in order: all of it is durable, and says so.
    fn seal(&mut self, kind: BlockKind) -> io::Result<()> {
        let mut seal = [0; BLOCK_HEAD];
        BlockHead::seal(kind, self.next_block, 0, &mut seal, self.active.salt);
        self.active.file.write_at(&seal, u64::from(self.position))?;
        self.active.file.sync()?;
        self.next_block += 1;
        Ok(())
    }

    /// Writes a mark behind the durable blocks, which proves that they were durable. The next block takes its place.
    pub(super) fn mark(&mut self) {
        if self.broken || self.position == to_u32(HEAD) || self.room() < 2 * BLOCK_HEAD {
            return;
        }
        let mut mark = [0; BLOCK_HEAD];
        BlockHead::seal(BlockKind::Mark, self.next_block, 0, &mut mark, self.active.salt);
        if self.active.file.write_at(&mark, u64::from(self.position)).is_err() {
            self.broken = true;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let salt = self.active.salt;
        let mut groups = 0;
        let mut at = BLOCK_HEAD;
        while at < self.block.len() {
            let length =
                super::frame::group_length(&self.block[at..]).expect("the queue encodes whole groups");
            seal_group(&mut self.block[at..at + length], salt);
            at += length;
            groups += 1;
        }
        BlockHead::seal(BlockKind::Commit, self.next_block, groups, &mut self.block, salt);
        self.active.file.write_at(&self.block, u64::from(self.position))?;
        if protection::removed(Protection::SyncBeforeAck) {
            return Ok(());
        }
        self.active.file.sync()
    }

    /// The block is durable: readers and owners may know.
    fn publish(&mut self, aheads: &[Ahead]) {
        let mut index = self.active.index();
        let mut position = self.position + to_u32(BLOCK_HEAD);
        for frame in super::frame::groups_of(&self.block) {
            index.add(frame, position);
            position += to_u32(frame.0.len());
        }
        index.end = position;
        drop(index);
        self.position = position;
        self.next_block += 1;
        for ahead in aheads {
            ahead.slot.set_newest(ahead.preparation);
            let mut state = ahead.slot.state();
            (state.end, state.epoch, state.newest) = (ahead.end, ahead.epoch, ahead.newest);
            let waiting = state.take_waiting();
            drop(state);
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Nothing of the block counts: what was accepted has this outcome instead.
    fn fail(&mut self, error: &io::Error, outcome: Outcome) {
        tracing::warn!(segment = self.active.number, ?outcome, %error, "the journal could not be written");
        let accepted = self.outcomes.iter_mut().filter(|o| matches!(o, Outcome::Appended { .. }));
        accepted.for_each(|o| *o = outcome);
        for &at in &self.overtaken {
            self.outcomes[at] = outcome;
        }
    }

    /// Gives each group's outcome to its owner.
    fn answer(&mut self, groups: &[Pending], order: &[usize]) {
        let mut wakers = Vec::new();
        let mut rest = order.iter().zip(&self.outcomes).peekable();
        while let Some((&i, outcome)) = rest.next() {
            let writer = &groups[i].writer;
            let mut acks = writer.acks();
            acks.push(groups[i].sequence, *outcome);
            while let Some((&j, outcome)) = rest.next_if(|(j, _)| Arc::ptr_eq(&groups[**j].writer, writer)) {
                acks.push(groups[j].sequence, *outcome);
            }
            wakers.extend(acks.take_waker());
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Whether the journal can be written: after a failure its durable part is first brought into a new file, since the
    /// page cache may pretend to hold what the disk does not.
    fn heal(&mut self, way: Way<'_>) -> bool {
        if !self.broken {
            return true;
        }
        let healed = if way() { self.rewrite_active() } else { Err(blocked()) };
        match &healed {
            Ok(()) => tracing::info!(segment = self.active.number, "the journal goes on in a new segment"),
            Err(error) => tracing::warn!(%error, "the journal cannot go on yet"),
        }
        self.broken = healed.is_err();
        !self.broken
    }

    fn rewrite_active(&mut self) -> io::Result<()> {
        let index = self.active.index().clone();
        let mut valid = vec![0; index.end as usize];
        self.active.file.read_at(&mut valid, 0)?;
        let (number, journal) = (self.active.number, self.shelf.journal);
        let head = FileHead::read(&valid, FileKind::Journal, journal, number).map_err(io::Error::other)?;
        let copy = copy_segment(&self.shelf, &head, &valid, index, self.next_block)?;
        let next = self.shelf.create_segment(number + 1, self.next_block + 1)?;
        self.next_block += 1;
        self.shelf.put_segment(&copy);
        self.go_on_in(next);
        Ok(())
    }
}

/// Writes the valid part of a segment into a new file, seals it, and gives it the segment's name.
pub(super) fn copy_segment(
    shelf: &Shelf,
    head: &FileHead,
    valid: &[u8],
    index: Index,
    seal_number: u64,
) -> io::Result<Arc<Segment>> {
    const COPY: &str = "copy";
    match shelf.disk.remove(COPY) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = shelf.disk.create(COPY)?;
    let mut seal = [0; BLOCK_HEAD];
    BlockHead::seal(BlockKind::Seal, seal_number, 0, &mut seal, head.salt());
    file.write_at(valid, 0)?;
    file.write_at(&seal, valid.len() as u64)?;
    file.sync()?;
    shelf.disk.rename(COPY, &FileKind::Journal.name(head.number))?;
    shelf.disk.sync_names()?;
    Ok(Arc::new(Segment::new(head, file, index)))
}

/// A group was not accepted: those behind it in the same block meet the same.
fn mark(writer: &super::writer::WriterState, outcome: Outcome) {
    writer.acks().standing = match outcome {
        Outcome::Fenced => Standing::Fenced,
        Outcome::Unknown => Standing::Unknown,
        _ => Standing::Refusing,
    };
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("nothing in a segment is longer than a gigabyte")
}
