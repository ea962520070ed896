//! Reading a partition.
//!
//! A reader holds the files as they were when it first looked, until it has read them all: what compaction does meanwhile
//! it does behind the reader's back, and nothing that the reader still has to see, a deletion above all, is taken from
//! it. It reads in the caller's turn, [`read_bytes`](super::EmbeddedOptions::read_bytes) at most at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use affinity_types::Offset;
use bytes::{Bytes, BytesMut};

use super::frame::{self, Frame, Salt};
use super::head::FileKind;
use super::segment::Segment;
use super::shelf::{FileSet, Shelf};
use super::slot::Slot;
use super::sorted::SortedFile;
use crate::{Batch, BatchBuilder, Error, ErrorKind, Tail};

/// Names readers apart.
static READERS: AtomicU64 = AtomicU64::new(0);

pub(super) struct EmbeddedTail {
    shelf: Arc<Shelf>,
    slot: Arc<Slot>,
    reader: u64,
    next: Offset,
    files: Arc<FileSet>,
    /// The first sorted file that may hold something wanted.
    at: usize,
    /// Where the last group given lies in its sorted file.
    place: Option<Place>,
    /// The last batch's buffer, taken back when the batch is gone.
    buffer: Bytes,
}

/// Where reading a sorted file goes on.
#[derive(Clone, Copy)]
struct Place {
    file: u64,
    position: u32,
}

/// Some bytes of one file that hold whole groups of the slot, and maybe the beginning of another.
struct Chunk {
    bytes: Bytes,
    salt: Salt,
    file: String,
    /// Where the first byte lies, for messages.
    position: u32,
}

impl EmbeddedTail {
    pub(super) fn new(shelf: Arc<Shelf>, slot: Arc<Slot>, next: Offset) -> EmbeddedTail {
        let reader = READERS.fetch_add(1, Ordering::Relaxed);
        let files = shelf.files();
        EmbeddedTail { shelf, slot, reader, next, files, at: 0, place: None, buffer: Bytes::new() }
    }

    /// The next groups in the files held; `None` if there are none left.
    fn read(&mut self, end: Offset) -> Result<Option<Batch>, Error> {
        let files = Arc::clone(&self.files);
        let (slot, next) = (self.slot.number, self.next);
        while let Some(shelved) = files.sorted.get(self.at) {
            if shelved.file.run(slot).is_some_and(|run| run.next > next) {
                return self.read_sorted(&shelved.file, end).map(Some);
            }
            self.at += 1;
        }
        for segment in &files.segments {
            if let Some(batch) = self.read_segment(segment, end)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn read_sorted(&mut self, file: &SortedFile, end: Offset) -> Result<Batch, Error> {
        let run = file.run(self.slot.number).expect("the caller has found it");
        let run_end = run.position + run.length;
        let mut position = match self.place {
            Some(place) if place.file == file.number => place.position,
            _ => {
                let block = run.blocks.partition_point(|block| block.base <= self.next).saturating_sub(1);
                run.blocks[block].position
            }
        };
        let mut wanted = self.shelf.options.read_bytes;
        loop {
            let length = wanted.min(run_end - position);
            let bytes = self.fill(&*file.file, &[(position, length)]);
            let name = FileKind::Sorted.name(file.number);
            let bytes = bytes.map_err(|error| unreadable(&name, &error))?;
            let chunk = Chunk { bytes, salt: file.salt, file: name, position };
            let (builder, next, used) = self.decode(&chunk, position + length == run_end)?;
            if !builder.is_empty() {
                self.place = Some(Place { file: file.number, position: position + used });
                return Ok(self.deliver(builder, chunk.bytes, next, end));
            }
            match used {
                // Not one whole group: it is longer than was read.
                0 => wanted = wanted.saturating_mul(2),
                used => position += used,
            }
        }
    }

    fn read_segment(&mut self, segment: &Segment, end: Offset) -> Result<Option<Batch>, Error> {
        let extents = segment.extents(self.slot.number, self.next, self.shelf.options.read_bytes);
        let Some(first) = extents.first() else { return Ok(None) };
        let position = first.position;
        let ranges: Vec<_> = extents.iter().map(|extent| (extent.position, extent.length)).collect();
        let name = FileKind::Journal.name(segment.number);
        let bytes = self.fill(&*segment.file, &ranges).map_err(|error| unreadable(&name, &error))?;
        let chunk = Chunk { bytes, salt: segment.salt, file: name, position };
        let (builder, next, _) = self.decode(&chunk, true)?;
        self.place = None;
        Ok(Some(self.deliver(builder, chunk.bytes, next, end)))
    }

    /// Reads ranges of a file, one behind the other, into the buffer of the batch before if that is free.
    fn fill(&mut self, file: &dyn super::disk::LogFile, ranges: &[(u32, u32)]) -> io::Result<Bytes> {
        let total = ranges.iter().map(|(_, length)| *length as usize).sum();
        let mut buffer = match std::mem::take(&mut self.buffer).try_into_mut() {
            Ok(buffer) => buffer,
            Err(_) => BytesMut::new(),
        };
        buffer.resize(total, 0);
        let mut at = 0;
        for &(position, length) in ranges {
            let to = at + length as usize;
            file.read_at(&mut buffer[at..to], u64::from(position))?;
            at = to;
        }
        Ok(buffer.freeze())
    }

    /// Decodes the groups of a chunk that are wanted: with the offset after them and the bytes gone through. If the chunk
    /// is not the last of its run, a group may be cut off at its end.
    fn decode(&self, chunk: &Chunk, last: bool) -> Result<(BatchBuilder, Offset, u32), Error> {
        let mut builder = BatchBuilder::with_capacity(chunk.bytes.len() / 256);
        let mut next = self.next;
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            let used = place(chunk.bytes.len() - rest.len());
            let length = frame::group_length(rest);
            let group = length.and_then(|length| rest.get(..length));
            if !last && (rest.len() < frame::GROUP_HEAD || length.is_some() && group.is_none()) {
                break;
            }
            let group = group.filter(|group| frame::group_holds(group, chunk.salt));
            let frame = Frame(group.ok_or_else(|| damaged(chunk, used))?);
            if frame.next() > self.next {
                frame.decode(used, &mut builder).ok_or_else(|| damaged(chunk, used))?;
                next = frame.next();
            }
            rest = &rest[frame.0.len()..];
        }
        Ok((builder, next, place(chunk.bytes.len() - rest.len())))
    }

    fn deliver(&mut self, builder: BatchBuilder, bytes: Bytes, next: Offset, end: Offset) -> Batch {
        self.next = next;
        self.buffer = bytes.clone();
        builder.build(bytes, next, end)
    }
}

fn place(length: usize) -> u32 {
    u32::try_from(length).expect("nothing read at once is longer than a segment")
}

fn damaged(chunk: &Chunk, used: u32) -> Error {
    let message = format!(
        "{}, at byte {} or behind: a group is not what was written",
        chunk.file,
        chunk.position + used
    );
    Error::new(ErrorKind::Corrupt, message)
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{name} cannot be read: {error}"))
}

impl Tail for EmbeddedTail {
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Batch, Error>> {
        loop {
            let mut state = self.slot.state();
            if self.slot.gone() {
                let message = format!("topic {} was deleted", self.slot.place.topic);
                return Poll::Ready(Err(Error::new(ErrorKind::NotFound, message)));
            }
            let (start, end) = (state.start, state.end);
            if self.next < start {
                let message =
                    format!("{}: offset {} is gone, the log starts at {start}", self.slot.place, self.next);
                return Poll::Ready(Err(Error::new(ErrorKind::OutOfRange, message)));
            }
            if self.next >= end {
                state.wait(self.reader, cx.waker());
                return Poll::Pending;
            }
            drop(state);
            match self.read(end) {
                Ok(Some(batch)) => return Poll::Ready(Ok(batch)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => {}
            }
            let files = self.shelf.files();
            if Arc::ptr_eq(&files, &self.files) {
                let message = format!("{}: offset {} is in no file", self.slot.place, self.next);
                return Poll::Ready(Err(Error::new(ErrorKind::Corrupt, message)));
            }
            (self.files, self.at, self.place) = (files, 0, None);
        }
    }
}

impl Drop for EmbeddedTail {
    fn drop(&mut self) {
        self.slot.state().forget(self.reader);
    }
}
