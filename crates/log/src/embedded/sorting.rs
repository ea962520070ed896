//! Reading groups for compaction, and putting what stays into a sorted file.

use std::io;

use affinity_types::EventTime;
use hashbrown::HashMap;

use super::frame::{self, Frame, KeepAttributes, Salt};
use super::slot::Slot;
use super::sorted::{Kept, Run, SortedFile, SortedWriter};
use super::survivors::{Deletions, Policy, Verdict};
use crate::Cleanup;

/// The groups in `bytes`, which lie at `position` of their file.
///
/// # Errors
/// `InvalidData` at a group that is not what was written, and nothing after it.
pub(super) fn frames(bytes: &[u8], salt: Salt, position: u64) -> impl Iterator<Item = io::Result<Frame<'_>>> {
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
                let message = format!("a group at byte {at} is not what was written");
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, message)))
            }
        }
    })
}

/// A run's bytes.
pub(super) struct RunBytes {
    bytes: Vec<u8>,
    salt: Salt,
    position: u64,
}

impl RunBytes {
    pub(super) fn frames(&self) -> impl Iterator<Item = io::Result<Frame<'_>>> {
        frames(&self.bytes, self.salt, self.position)
    }
}

/// Reads a run whole: it is at most about a segment long.
pub(super) fn read_run(file: &SortedFile, run: &Run) -> io::Result<RunBytes> {
    let mut bytes = vec![0; run.length as usize];
    file.file.read_at(&mut bytes, u64::from(run.position))?;
    Ok(RunBytes { bytes, salt: file.salt, position: u64::from(run.position) })
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
