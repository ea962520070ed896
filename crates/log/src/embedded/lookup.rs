//! The first offset at or after a time.

use std::io;

use affinity_types::{EventTime, Offset};

use super::frame::Frame;
use super::shelf::{FileSet, Shelf};
use super::slot::Slot;
use super::sorting::{frames, groups, kind, read_blocks, read_segment};
use crate::Error;

/// The base of the first group of `slot` whose time is `time` or later: the sparse index names the stretches in which one
/// may lie, reading them the group.
pub(super) fn first_at(shelf: &Shelf, slot: &Slot, time: EventTime) -> Result<Option<Offset>, Error> {
    let found = find(&shelf.files(), slot, time);
    found.map_err(|error| {
        let message = format!("{}: a place in time cannot be looked up: {error}", slot.place);
        Error::new(kind(&error), message).caused_by(error)
    })
}

fn find(files: &FileSet, slot: &Slot, time: EventTime) -> io::Result<Option<Offset>> {
    let start = slot.state().start;
    let wanted = |frame: &Frame<'_>| frame.time() >= time && frame.next() > start;
    for (file, run) in files.sorted.iter().filter_map(|s| Some((&s.file, s.file.run(slot.number)?))) {
        for block in run.blocks.iter().filter(|block| block.latest >= time) {
            let mut bytes = vec![0; block.length as usize];
            read_blocks(file, std::slice::from_ref(block), &mut bytes)?;
            if let Some(frame) = groups(&bytes).find(wanted) {
                return Ok(Some(frame.base()));
            }
        }
    }
    for segment in &files.segments {
        let extents = segment.index().slots.get(&slot.number).cloned().unwrap_or_default();
        for extent in extents.iter().filter(|extent| extent.latest >= time) {
            let mut bytes = vec![0; extent.length as usize];
            read_segment(segment, &mut bytes, extent.position.into())?;
            for frame in frames(segment, &bytes, extent.position.into()) {
                let frame = frame?;
                if wanted(&frame) {
                    return Ok(Some(frame.base()));
                }
            }
        }
    }
    Ok(None)
}
