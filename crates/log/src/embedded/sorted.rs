//! Sorted files: groups of many partitions, those of each partition together and in order.
//!
//! ```text
//! head | groups of slot 0 | groups of slot 3 | … | footer: the runs and their blocks | trailer
//! trailer   footer position: u64 | footer length: u32 | footer crc: u32
//! ```
//!
//! A run is cut into blocks of whole groups, about [`BLOCK`] bytes each: the entries of the sparse index, and the units that
//! have a checksum. Groups have none of their own here (their `crc` is 0): one over many costs half.

use std::io;
use std::sync::Arc;

use affinity_types::{Epoch, EventTime, Offset, varint};

use super::disk::{Disk, LogFile};
use super::frame::{self, Frame, KeepAttributes, Salt, clear_crc, put_group_with};
use super::head::{FileHead, FileKind, HEAD};
use super::protection::{self, Protection};

const TRAILER: usize = 16;
/// Length of a block from which on the next group begins another.
const BLOCK: u32 = 32 << 10;
/// Written at once, and synced in steps of so many, so that a long file never stands in the way of the journal's syncs.
const WRITE_BYTES: usize = 512 << 10;
const SYNC_BYTES: u64 = 4 << 20;

/// A sorted file.
pub(super) struct SortedFile {
    pub(super) number: u64,
    pub(super) file: Arc<dyn LogFile>,
    pub(super) salt: Salt,
    pub(super) length: u64,
    /// What it holds of each slot, by slot.
    pub(super) runs: Vec<Run>,
}

/// The groups of one slot in a sorted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) slot: u32,
    pub(super) position: u32,
    pub(super) length: u32,
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) records: u64,
    /// Highest epoch of a group.
    pub(super) epoch: Epoch,
    /// Time of the last group, and the latest of all.
    pub(super) newest: EventTime,
    pub(super) latest: EventTime,
    /// Bytes that only time keeps, deletions and remembered requests, and until when at the latest.
    pub(super) passing: Passing,
    pub(super) blocks: Vec<Block>,
}

/// Bytes that become useless at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passing {
    pub(super) bytes: u64,
    pub(super) until: EventTime,
}

impl Passing {
    pub(super) const NONE: Passing = Passing { bytes: 0, until: EventTime(i64::MIN) };

    pub(super) fn add(&mut self, bytes: u64, until: EventTime) {
        self.bytes += bytes;
        self.until = self.until.max(until);
    }
}

/// Some groups of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Offset of the first group.
    pub(super) base: Offset,
    pub(super) position: u32,
    pub(super) length: u32,
    /// The latest time of a group.
    pub(super) latest: EventTime,
    pub(super) crc: u32,
}

impl Block {
    /// Whether `bytes` is what was written.
    pub(super) fn holds(&self, bytes: &[u8], salt: Salt) -> bool {
        crc32c::crc32c_append(salt.0, bytes) == self.crc || protection::removed(Protection::Checksum)
    }
}

impl SortedFile {
    pub(super) fn run(&self, slot: u32) -> Option<&Run> {
        self.runs.binary_search_by_key(&slot, |run| run.slot).ok().map(|at| &self.runs[at])
    }

    /// Opens file `number` of the folder.
    ///
    /// # Errors
    /// What the operating system says, or `InvalidData` with a sentence about the file.
    pub(super) fn open(disk: &dyn Disk, journal: u128, number: u64) -> io::Result<SortedFile> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let file = disk.open(&FileKind::Sorted.name(number))?;
        let length = file.length()?;
        if length < (HEAD + TRAILER) as u64 {
            return Err(invalid("is shorter than its head".into()));
        }
        let mut head = [0; HEAD];
        file.read_at(&mut head, 0)?;
        let salt = FileHead::read(&head, FileKind::Sorted, journal, number).map_err(invalid)?.salt();
        let mut trailer = [0; TRAILER];
        file.read_at(&mut trailer, length - TRAILER as u64)?;
        let position = frame::u64_at(&trailer, 0);
        let footer_length = frame::u32_at(&trailer, 8);
        if position.checked_add(u64::from(footer_length)) != Some(length - TRAILER as u64) {
            return Err(invalid("has a damaged trailer".into()));
        }
        let mut footer = vec![0; footer_length as usize];
        file.read_at(&mut footer, position)?;
        if crc32c::crc32c_append(salt.0, &footer) != frame::u32_at(&trailer, 12) {
            return Err(invalid("has a damaged footer".into()));
        }
        let runs = read_footer(&footer).ok_or_else(|| invalid("has a malformed footer".into()))?;
        Ok(SortedFile { number, file, salt, length, runs })
    }
}

fn put_footer(out: &mut Vec<u8>, runs: &[Run]) {
    varint::put(out, runs.len() as u64);
    for run in runs {
        for number in [run.slot, run.position, run.length] {
            varint::put(out, u64::from(number));
        }
        for number in [run.base.0, run.next.0, run.records, run.epoch.0] {
            varint::put(out, number);
        }
        varint::put_signed(out, run.newest.0);
        varint::put_signed(out, run.latest.0);
        varint::put(out, run.passing.bytes);
        varint::put_signed(out, run.passing.until.0);
        varint::put(out, run.blocks.len() as u64);
        for block in &run.blocks {
            varint::put(out, block.base.0);
            varint::put(out, u64::from(block.position));
            varint::put(out, u64::from(block.length));
            varint::put_signed(out, block.latest.0);
            varint::put(out, u64::from(block.crc));
        }
    }
}

fn read_footer(mut input: &[u8]) -> Option<Vec<Run>> {
    let input = &mut input;
    let short = |input: &mut &[u8]| u32::try_from(varint::take(input)?).ok();
    let time = |input: &mut &[u8]| Some(EventTime(varint::take_signed(input)?));
    let mut runs = Vec::new();
    for _ in 0..varint::take(input)? {
        let mut run = Run {
            slot: short(input)?,
            position: short(input)?,
            length: short(input)?,
            base: Offset(varint::take(input)?),
            next: Offset(varint::take(input)?),
            records: varint::take(input)?,
            epoch: Epoch(varint::take(input)?),
            newest: time(input)?,
            latest: time(input)?,
            passing: Passing { bytes: varint::take(input)?, until: time(input)? },
            blocks: Vec::new(),
        };
        for _ in 0..varint::take(input)? {
            let base = Offset(varint::take(input)?);
            let (position, length) = (short(input)?, short(input)?);
            run.blocks.push(Block { base, position, length, latest: time(input)?, crc: short(input)? });
        }
        runs.push(run);
    }
    input.is_empty().then_some(runs)
}

/// A file that goes unless it is finished; what cannot be removed now, the next opening of the folder removes.
struct Draft<'a> {
    disk: &'a dyn Disk,
    name: Option<String>,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.disk.remove(name);
        }
    }
}

/// Writes a sorted file: slots in rising order, the groups of each in the order of their offsets.
pub(super) struct SortedWriter<'a> {
    draft: Draft<'a>,
    number: u64,
    salt: Salt,
    file: Arc<dyn LogFile>,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    runs: Vec<Run>,
}

impl<'a> SortedWriter<'a> {
    pub(super) fn create(disk: &'a dyn Disk, journal: u128, number: u64) -> io::Result<SortedWriter<'a>> {
        let head = FileHead { kind: FileKind::Sorted, journal, number, first_block: 0, recycled: false };
        let name = FileKind::Sorted.name(number);
        match disk.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&name)?;
        let buffer = head.bytes().to_vec();
        Ok(SortedWriter {
            draft: Draft { disk, name: Some(name) },
            number,
            salt: head.salt(),
            file,
            buffer,
            written: 0,
            synced: 0,
            runs: Vec::new(),
        })
    }

    /// Adds a group with the records that `kept` names.
    pub(super) fn push(
        &mut self,
        frame: Frame<'_>,
        attributes: KeepAttributes,
        kept: &Kept<'_>,
        passing: Passing,
    ) -> io::Result<()> {
        let start = self.buffer.len();
        let records = match kept {
            Kept::All if attributes == KeepAttributes::Yes || frame.attributes().is_empty() => {
                self.buffer.extend_from_slice(frame.0);
                frame.present()
            }
            Kept::All => {
                put_group_with(&mut self.buffer, frame, attributes, |_| true);
                frame.present()
            }
            Kept::These(indices) => {
                put_group_with(&mut self.buffer, frame, attributes, |index| indices.contains(&index));
                u16::try_from(indices.len()).expect("a group's records fit")
            }
        };
        clear_crc(&mut self.buffer[start..]);
        let position =
            u32::try_from(self.written + start as u64).expect("a sorted file is about a segment long");
        let length = u32::try_from(self.buffer.len() - start).expect("a group is shorter than a segment");
        self.note(frame, position, length);
        let run = self.runs.last_mut().expect("the group was noted");
        run.records += u64::from(records);
        if passing.bytes > 0 {
            run.passing.add(passing.bytes, passing.until);
        }
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn note(&mut self, frame: Frame<'_>, position: u32, length: u32) {
        let (slot, base, time) = (frame.slot(), frame.base(), frame.time());
        if self.runs.last().is_none_or(|run| run.slot != slot) {
            debug_assert!(self.runs.last().is_none_or(|run| run.slot < slot), "slots come in rising order");
            self.runs.push(Run {
                slot,
                position,
                length: 0,
                base,
                next: base,
                records: 0,
                epoch: Epoch::NONE,
                newest: time,
                latest: time,
                passing: Passing::NONE,
                blocks: Vec::new(),
            });
        }
        let run = self.runs.last_mut().expect("there is a run");
        debug_assert!(run.length == 0 || run.next <= base, "groups come in the order of offsets");
        run.length += length;
        run.next = frame.next();
        run.epoch = run.epoch.max(frame.version().epoch);
        run.newest = time;
        run.latest = run.latest.max(time);
        let at = self.buffer.len() - length as usize;
        let bytes = &self.buffer[at..];
        match run.blocks.last_mut() {
            Some(block) if block.length < BLOCK => {
                block.length += length;
                block.latest = block.latest.max(time);
                block.crc = crc32c::crc32c_append(block.crc, bytes);
            }
            _ => {
                let crc = crc32c::crc32c_append(self.salt.0, bytes);
                run.blocks.push(Block { base, position, length, latest: time, crc });
            }
        }
    }

    /// Bytes written so far.
    pub(super) fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Ends the file and makes it durable, but for its name; `None` if there is nothing in it.
    pub(super) fn finish(mut self) -> io::Result<Option<SortedFile>> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        let mut footer = Vec::new();
        put_footer(&mut footer, &self.runs);
        let position = self.length();
        let crc = crc32c::crc32c_append(self.salt.0, &footer);
        self.buffer.extend_from_slice(&footer);
        self.buffer.extend_from_slice(&position.to_le_bytes());
        let length = u32::try_from(footer.len()).expect("a footer is shorter than its file");
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.flush()?;
        self.file.sync()?;
        self.draft.name = None;
        let SortedWriter { number, file, salt, written, runs, .. } = self;
        Ok(Some(SortedFile { number, file, salt, length: written, runs }))
    }
}

/// Which records of a group stay.
pub(super) enum Kept<'a> {
    All,
    These(&'a [u16]),
}
