//! Reading a partition.
//!
//! A reader holds the files as they were when it first looked, until it has read them all: what compaction does meanwhile
//! it does behind the reader's back, and nothing that the reader still has to see, a deletion above all, is taken from
//! it. While it waits at the end it has read them all and holds none, so that a partition at rest pins nothing. It reads
//! in the caller's turn, [`read_bytes`](super::EmbeddedOptions::read_bytes) at most at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use affinity_types::Offset;
use bytes::{Bytes, BytesMut};

use super::head::FileKind;
use super::segment::Segment;
use super::shelf::{FileSet, Shelf};
use super::slot::Slot;
use super::sorted::{Block, SortedFile};
use super::sorting::{self, frames, groups, read_blocks};
use crate::{Batch, BatchBuilder, Error, ErrorKind, Tail};

/// Names readers apart.
static READERS: AtomicU64 = AtomicU64::new(0);

pub(super) struct EmbeddedTail {
    shelf: Arc<Shelf>,
    slot: Arc<Slot>,
    reader: u64,
    next: Offset,
    files: Files,
    /// The first sorted file that may hold something wanted.
    at: usize,
    /// The last batch's buffer, taken back when the batch is gone.
    buffer: Bytes,
}

/// The files of a reader.
enum Files {
    /// It has yet to read them to the end.
    Held(Arc<FileSet>),
    /// It has read all there was in them.
    Read(Weak<FileSet>),
}

/// About the length of a small group, to begin with.
const GROUP_BYTES: usize = 256;

impl EmbeddedTail {
    pub(super) fn new(shelf: Arc<Shelf>, slot: Arc<Slot>, next: Offset) -> EmbeddedTail {
        let reader = READERS.fetch_add(1, Ordering::Relaxed);
        let files = Files::Held(shelf.files());
        EmbeddedTail { shelf, slot, reader, next, files, at: 0, buffer: Bytes::new() }
    }

    /// The files to read in: those held, or the newest.
    fn hold(&mut self) -> Arc<FileSet> {
        match &self.files {
            Files::Held(files) => Arc::clone(files),
            Files::Read(_) => self.hold_newest(),
        }
    }

    fn hold_newest(&mut self) -> Arc<FileSet> {
        let newest = self.shelf.files();
        let known = match &self.files {
            Files::Held(files) => Arc::as_ptr(files),
            Files::Read(files) => files.as_ptr(),
        };
        if known != Arc::as_ptr(&newest) {
            self.at = 0;
        }
        self.files = Files::Held(Arc::clone(&newest));
        newest
    }

    /// All there is was read.
    fn release(&mut self) {
        if let Files::Held(files) = &self.files {
            self.files = Files::Read(Arc::downgrade(files));
        }
    }

    /// The next groups in `files`; `None` if there are none left.
    fn read(&mut self, files: &FileSet, end: Offset) -> Result<Option<Batch>, Error> {
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
        let name = || FileKind::Sorted.name(file.number);
        let mut first = run.blocks.partition_point(|block| block.base <= self.next).saturating_sub(1);
        // Compaction may have left nothing wanted in the block that offset lies in: then it is in one behind.
        while first < run.blocks.len() {
            let blocks = self.at_once(&run.blocks[first..]);
            let mut buffer = self.buffer(blocks.iter().map(|block| block.length as usize).sum());
            read_blocks(file, blocks, &mut buffer).map_err(|error| unreadable(&error))?;
            let bytes = buffer.freeze();
            let mut builder = BatchBuilder::with_capacity(bytes.len() / GROUP_BYTES);
            let mut next = self.next;
            let mut at = 0;
            for frame in groups(&bytes) {
                if frame.next() > self.next {
                    let decoded = frame.decode(at, &mut builder);
                    decoded.ok_or_else(|| malformed(&name(), blocks[0].position + at))?;
                    next = frame.next();
                }
                at += place(frame.0.len());
            }
            if at as usize != bytes.len() {
                return Err(malformed(&name(), blocks[0].position + at));
            }
            if !builder.is_empty() {
                return Ok(self.deliver(builder, bytes, next, end));
            }
            first += blocks.len();
        }
        Err(malformed(&name(), run.position))
    }

    /// As many blocks as are read at once, at least one.
    fn at_once<'a>(&self, blocks: &'a [Block]) -> &'a [Block] {
        let mut total = 0;
        let within = blocks.iter().take_while(|block| {
            let before = total;
            total += block.length;
            before == 0 || total <= self.shelf.options.read_bytes
        });
        &blocks[..within.count()]
    }

    fn read_segment(&mut self, segment: &Segment, end: Offset) -> Result<Option<Batch>, Error> {
        let extents = segment.extents(self.slot.number, self.next, self.shelf.options.read_bytes);
        if extents.is_empty() {
            return Ok(None);
        }
        let name = || FileKind::Journal.name(segment.number);
        let mut buffer = self.buffer(extents.iter().map(|extent| extent.length as usize).sum());
        let mut builder = BatchBuilder::with_capacity(buffer.len() / GROUP_BYTES);
        let mut next = self.next;
        let mut at = 0;
        for extent in &extents {
            let bytes = &mut buffer[at..at + extent.length as usize];
            let read = sorting::read_segment(segment, bytes, extent.position.into());
            read.map_err(|error| unreadable(&error))?;
            for frame in frames(segment, bytes, extent.position.into()) {
                let frame = frame.map_err(|error| unreadable(&error))?;
                if frame.next() > self.next {
                    let decoded = frame.decode(place(at), &mut builder);
                    decoded.ok_or_else(|| malformed(&name(), extent.position))?;
                    next = frame.next();
                }
                at += frame.0.len();
            }
        }
        Ok(Some(self.deliver(builder, buffer.freeze(), next, end)))
    }

    /// The buffer of the batch before, if that is gone, or a new one.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.buffer).try_into_mut().unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    fn deliver(&mut self, builder: BatchBuilder, bytes: Bytes, next: Offset, end: Offset) -> Batch {
        self.next = next;
        self.buffer = bytes.clone();
        // The last groups may be durable, and so in the segment's index, before the slot's end says so.
        builder.build(bytes, next, end.max(next))
    }
}

fn place(length: usize) -> u32 {
    u32::try_from(length).expect("nothing read at once is longer than a segment")
}

fn malformed(name: &str, position: u32) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{name}: the group at byte {position} is malformed"))
}

fn unreadable(error: &io::Error) -> Error {
    Error::new(sorting::kind(error), error)
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
                drop(state);
                self.release();
                return Poll::Pending;
            }
            drop(state);
            let files = self.hold();
            match self.read(&files, end) {
                Ok(Some(batch)) => return Poll::Ready(Ok(batch)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => {}
            }
            if Arc::ptr_eq(&files, &self.hold_newest()) {
                let message = format!("{}: offset {} is in no file", self.slot.place, self.next);
                return Poll::Ready(Err(Error::new(ErrorKind::Corrupt, message)));
            }
        }
    }
}

impl Drop for EmbeddedTail {
    fn drop(&mut self) {
        self.slot.state().forget(self.reader);
    }
}
