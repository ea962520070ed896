//! Reading groups for compaction, and putting what stays into a sorted file.

use std::io;

use affinity_types::EventTime;
use hashbrown::HashMap;

use super::frame::{self, Frame, KeepAttributes};
use super::head::FileKind;
use super::segment::Segment;
use super::slot::Slot;
use super::sorted::{Block, Kept, Run, SortedFile, SortedWriter};
use super::survivors::{Deletions, Policy, Verdict};
use crate::{Cleanup, ErrorKind};

/// What a reader can do about an error of the functions here.
pub(super) fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    }
}

/// What the operating system says, with the name of the file.
fn unreadable(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name} cannot be read: {error}"))
}

/// Reads a part of a segment, from `position` on, into `into`.
///
/// # Errors
/// What the operating system says, with the file.
pub(super) fn read_segment(segment: &Segment, into: &mut [u8], position: u64) -> io::Result<()> {
    let name = || FileKind::Journal.name(segment.number);
    segment.file.read_at(into, position).map_err(|error| unreadable(&name(), &error))
}

/// The groups in `bytes`, which lie at `position` of a segment.
///
/// # Errors
/// `InvalidData` with the file and the place at a group that is not what was written, and nothing after it.
pub(super) fn frames<'a>(
    segment: &Segment,
    bytes: &'a [u8],
    position: u64,
) -> impl Iterator<Item = io::Result<Frame<'a>>> {
    let (number, salt) = (segment.number, segment.salt);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = position + (bytes.len() - rest.len()) as u64;
        let group = frame::group_length(rest).and_then(|length| rest.split_at_checked(length));
        match group.filter(|(group, _)| frame::group_holds(group, salt)) {
            Some((group, after)) => {
                rest = after;
                Some(Ok(Frame(group)))
            }
            None => {
                rest = &[];
                let name = FileKind::Journal.name(number);
                let message = format!("{name}: a group at byte {at} is not what was written");
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, message)))
            }
        }
    })
}

/// The groups in `bytes`, whose checksum holds.
pub(super) fn groups(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (group, after) = rest.split_at_checked(frame::group_length(rest)?)?;
        rest = after;
        Some(Frame(group))
    })
}

/// Reads blocks of a run, which lie one behind the other, into `into`.
///
/// # Errors
/// `InvalidData` with the file and the place if one is not what was written, and what the operating system says.
pub(super) fn read_blocks(file: &SortedFile, blocks: &[Block], into: &mut [u8]) -> io::Result<()> {
    let Some(first) = blocks.first() else { return Ok(()) };
    let name = || FileKind::Sorted.name(file.number);
    file.file.read_at(into, u64::from(first.position)).map_err(|error| unreadable(&name(), &error))?;
    let mut rest = &*into;
    for block in blocks {
        let (bytes, after) = rest.split_at(block.length as usize);
        if !block.holds(bytes, file.salt) {
            let (length, position) = (block.length, block.position);
            let message = format!("{}: {length} bytes at byte {position} are not what was written", name());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        rest = after;
    }
    Ok(())
}

/// Reads a run whole: it is at most about a segment long.
pub(super) fn read_run(file: &SortedFile, run: &Run) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; run.length as usize];
    read_blocks(file, &run.blocks, &mut bytes)?;
    Ok(bytes)
}

/// Puts a segment's groups of one slot into a sorted file, without the records that the segment itself supersedes.
pub(super) fn sort_slot<'a>(
    slot: &Slot,
    now: EventTime,
    frames: impl Iterator<Item = io::Result<Frame<'a>>>,
    writer: &mut SortedWriter<'_>,
) -> io::Result<()> {
    let frames: Vec<Frame<'a>> = frames.collect::<io::Result<_>>()?;
    let mut newest = HashMap::new();
    if matches!(slot.cleanup(), Cleanup::Compact { .. }) {
        newest.reserve(frames.len());
        for frame in &frames {
            for record in frame.records().flatten() {
                newest.insert(record.key, frame.base().advance(u64::from(record.slot.index)));
            }
        }
    }
    let policy = Policy::at(slot, now);
    let mut kept = Vec::new();
    for frame in frames {
        let superseded = |record: &frame::EncodedRecord<'_>| {
            let offset = frame.base().advance(u64::from(record.slot.index));
            newest.get(record.key).is_some_and(|newest| *newest > offset)
        };
        let verdict = policy.judge(frame, Deletions::Stay, superseded, &mut kept);
        put(writer, frame, &verdict, &kept)?;
    }
    Ok(())
}

/// Puts what stays of a group into a sorted file.
pub(super) fn put(
    writer: &mut SortedWriter<'_>,
    frame: Frame<'_>,
    verdict: &Verdict,
    kept: &[u16],
) -> io::Result<()> {
    match *verdict {
        Verdict::Whole(passing) => writer.push(frame, KeepAttributes::Yes, &Kept::All, passing),
        Verdict::Part(attributes, passing) => writer.push(frame, attributes, &Kept::These(kept), passing),
        Verdict::Gone => Ok(()),
    }
}
