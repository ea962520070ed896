//! The first offset at or after a time.

use std::io;

use affinity_types::{EventTime, Offset};

use super::shelf::Shelf;
use super::slot::Slot;
use super::sorting::frames;
use crate::{Error, ErrorKind};

/// The base of the first group of `slot` whose time is `time` or later: the sparse index names the stretch, reading it
/// the group.
pub(super) fn first_at(shelf: &Shelf, slot: &Slot, time: EventTime) -> Result<Option<Offset>, Error> {
    let files = shelf.files();
    let start = slot.state().start;
    let found = |bytes: &[u8], salt, position: u32| -> io::Result<Option<Offset>> {
        for frame in frames(bytes, salt, u64::from(position)) {
            let frame = frame?;
            if frame.time() >= time && frame.next() > start {
                return Ok(Some(frame.base()));
            }
        }
        Ok(None)
    };
    let stretches = stretches(&files, slot.number, time);
    for (file, salt, position, length) in stretches {
        let mut bytes = vec![0; length as usize];
        let offset =
            file.read_at(&mut bytes, u64::from(position)).and_then(|()| found(&bytes, salt, position));
        let offset = offset.map_err(|error| {
            let message = format!("{}: a place in time cannot be looked up: {error}", slot.place);
            Error::new(ErrorKind::Unavailable, message).caused_by(error)
        })?;
        if offset.is_some() {
            return Ok(offset);
        }
    }
    Ok(None)
}

type Stretch<'a> = (&'a dyn super::disk::LogFile, super::frame::Salt, u32, u32);

/// The stretches of the slot's groups in which one of `time` or later lies, in the order of offsets.
fn stretches(files: &super::shelf::FileSet, slot: u32, time: EventTime) -> impl Iterator<Item = Stretch<'_>> {
    let sorted = files.sorted.iter().filter_map(move |s| Some((&s.file, s.file.run(slot)?)));
    let sorted = sorted.flat_map(move |(file, run)| {
        let ends = run.blocks.iter().skip(1).map(|block| block.position).chain([run.position + run.length]);
        let blocks = run.blocks.iter().zip(ends).filter(move |(block, _)| block.latest >= time);
        blocks.map(|(block, end)| (&*file.file, file.salt, block.position, end - block.position))
    });
    let segments = files.segments.iter().flat_map(move |segment| {
        let index = segment.index();
        let extents = index.slots.get(&slot).into_iter().flatten().filter(|extent| extent.latest >= time);
        let extents: Vec<_> = extents.map(|extent| (extent.position, extent.length)).collect();
        extents.into_iter().map(|(position, length)| (&*segment.file, segment.salt, position, length))
    });
    sorted.chain(segments)
}
