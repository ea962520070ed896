//! Which records of a topic with [`Cleanup::Delete`] are old enough to go.

use affinity_types::{EventTime, Offset};

use super::shelf::Shelved;
use super::slot::Slot;
use super::sorted::Block;
use crate::Cleanup;
use crate::contract::millis;

/// The first offset of a slot to keep at `now`, in steps of the sparse index' entries. What is still in the journal's
/// segments always stays.
pub(super) fn first_kept(sorted: &[Shelved], slot: &Slot, now: EventTime) -> Offset {
    let Cleanup::Delete { retention, retention_bytes } = *slot.cleanup() else { return Offset::ZERO };
    let start = slot.state().start;
    let runs: Vec<_> = sorted.iter().filter_map(|shelved| shelved.file.run(slot.number)).collect();
    // Each entry's block, where the next one begins, and how many bytes lie from it to the end.
    let mut steps: Vec<(Block, Offset, u64)> = Vec::new();
    let mut behind = 0;
    for run in runs.iter().rev() {
        let mut next = run.next;
        for block in run.blocks.iter().rev() {
            behind += u64::from(block.length);
            steps.push((*block, next, behind));
            next = block.base;
        }
    }
    let oldest = retention.map(|retention| now.minus_ms(millis(retention)));
    let goes = |(block, next, bytes): &&(Block, Offset, u64)| {
        *next <= start
            || oldest.is_some_and(|oldest| block.latest < oldest)
            || retention_bytes.is_some_and(|max| *bytes > max)
    };
    steps.iter().rev().take_while(goes).last().map_or(start, |(_, next, _)| start.max(*next))
}
