//! Opening a folder: what is in it, what a crash left of it, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use affinity_types::{Clock, Offset, PartitionId};

use super::committer::{Committer, copy_segment};
use super::disk::Disk;
use super::head::{FileHead, FileKind, HEAD};
use super::manifest::{self, Manifest, TopicEntry};
use super::options::EmbeddedOptions;
use super::segment::{Newest, Scan, Segment, scan};
use super::shelf::{FileSet, Shelf, Shelved};
use super::slot::{Slot, SlotState};
use super::sorted::SortedFile;
use crate::{Error, ErrorKind, TopicPartition};

/// What opening the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the folder was new.
    pub created: bool,
    /// A group commit that never became whole was cut off: the file and the byte where it began. None of its groups had
    /// been acknowledged.
    pub torn: Option<(String, u64)>,
    /// Files that a crash had left over and that were removed.
    pub removed: Vec<String>,
    /// Segments of the journal that were read through.
    pub segments: usize,
}

/// A segment that was read through.
struct Read {
    head: FileHead,
    file: Arc<dyn super::disk::LogFile>,
    bytes: Vec<u8>,
    scan: Scan,
}

/// Opens the folder that `disk` is, whose lock the caller has.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: EmbeddedOptions,
) -> Result<(Arc<Shelf>, Committer, Recovery), Error> {
    let names: BTreeSet<String> =
        disk.list().map_err(|e| failed(&*disk, "cannot be listed", e))?.into_iter().collect();
    let mut recovery = Recovery { created: !names.contains(manifest::NAME), ..Recovery::default() };
    let manifest = if recovery.created { create(&*disk, &names)? } else { read_manifest(&*disk)? };
    let sorted = open_sorted(&*disk, &manifest, &names)?;
    let reads = read_segments(&*disk, &manifest, &names)?;
    check_slots(&*disk, &manifest, &sorted, &reads)?;
    remove_leftovers(&*disk, &manifest, &names, &mut recovery);
    recovery.segments = reads.len();

    let newest: Vec<_> = reads.iter().map(|read| read.scan.newest.clone()).collect();
    let files = FileSet { sorted, segments: Vec::new() };
    let shelf = Arc::new(Shelf::new(disk, clock, options, manifest, files));
    shelf.spares.adopt(&names).map_err(|e| failed(&*shelf.disk, "cannot reuse a spare file", e))?;
    let (number, next_block) = take_up(&shelf, reads, &mut recovery)?;
    restore_slots(&shelf, &newest);
    let active = shelf.create_segment(number, next_block);
    let active = active.map_err(|e| failed(&*shelf.disk, "has no room for a segment of the journal", e))?;
    shelf.put_segment(&active);
    let committer = Committer::new(Arc::clone(&shelf), active, next_block);
    Ok((shelf, committer, recovery))
}

fn failed(disk: &dyn Disk, what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the log's folder {} {what}: {error}", disk.place()))
        .caused_by(error)
}

fn corrupt(disk: &dyn Disk, what: String) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the log's folder {}: {what}", disk.place()))
}

fn missing(disk: &dyn Disk, name: &str) -> Error {
    let what = format!("{name} is missing: the folder was not copied whole, or its manifest is an old one");
    corrupt(disk, what)
}

fn create(disk: &dyn Disk, names: &BTreeSet<String>) -> Result<Manifest, Error> {
    if let Some(name) = names.iter().find(|name| *name != manifest::NEW_NAME) {
        let place = disk.place();
        let message =
            format!("the folder {place} is not empty and holds no log: {name} is there, but no manifest");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let journal = disk.fresh_id().map_err(|e| failed(disk, "gets no identity", e))?;
    let manifest = Manifest::new(journal);
    manifest.store(disk).map_err(|e| failed(disk, "cannot be written", e))?;
    Ok(manifest)
}

fn read_manifest(disk: &dyn Disk) -> Result<Manifest, Error> {
    let read = || {
        let file = disk.open(manifest::NAME)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| failed(disk, "has a manifest that cannot be read", e))?;
    Manifest::read(&bytes).map_err(|what| corrupt(disk, format!("its manifest {what}")))
}

fn open_sorted(
    disk: &dyn Disk,
    manifest: &Manifest,
    names: &BTreeSet<String>,
) -> Result<Vec<Shelved>, Error> {
    let open = |entry: &manifest::SortedEntry| {
        let name = FileKind::Sorted.name(entry.number);
        if !names.contains(&name) {
            return Err(missing(disk, &name));
        }
        let file = SortedFile::open(disk, manifest.journal, entry.number).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => corrupt(disk, format!("{name} {e}")),
            _ => failed(disk, &format!("has a file {name} that cannot be read"), e),
        })?;
        Ok(Shelved { file: Arc::new(file), dirty: entry.dirty })
    };
    manifest.sorted.iter().map(open).collect()
}

fn read_segments(disk: &dyn Disk, manifest: &Manifest, names: &BTreeSet<String>) -> Result<Vec<Read>, Error> {
    let numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| FileKind::Journal.number(name))
        .filter(|number| *number >= manifest.journal_from)
        .collect();
    // The folder of a process that died before it made its first segment has none.
    let unused = manifest.topics.is_empty() && manifest.sorted.is_empty() && manifest.journal_from == 1;
    let expected: Vec<u64> =
        (manifest.journal_from..).take(numbers.len().max(usize::from(!unused))).collect();
    if let Some(number) = expected.iter().find(|number| !numbers.contains(number)) {
        return Err(missing(disk, &FileKind::Journal.name(*number)));
    }
    let mut reads: Vec<Read> = Vec::new();
    for number in numbers {
        let read = read_segment(disk, manifest.journal, number)?;
        check_order(disk, reads.last(), &read)?;
        reads.push(read);
    }
    match reads.last() {
        Some(last) if last.scan.followed => Err(missing(disk, &FileKind::Journal.name(last.head.number + 1))),
        _ => Ok(reads),
    }
}

fn read_segment(disk: &dyn Disk, journal: u128, number: u64) -> Result<Read, Error> {
    let name = FileKind::Journal.name(number);
    let read = || {
        let file = disk.open(&name)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
        file.read_at(&mut bytes, 0)?;
        Ok((file, bytes))
    };
    let (file, bytes) =
        read().map_err(|e| failed(disk, &format!("has a file {name} that cannot be read"), e))?;
    let head = FileHead::read(&bytes, FileKind::Journal, journal, number)
        .map_err(|what| corrupt(disk, format!("{name} {what}")))?;
    let scan = scan(&bytes, &head).map_err(|damage| {
        let position = damage.position;
        corrupt(
            disk,
            format!("{name} is damaged at byte {position}: what follows is whole, so this was whole once"),
        )
    })?;
    Ok(Read { head, file, bytes, scan })
}

/// Whether a segment can follow the one before it.
fn check_order(disk: &dyn Disk, before: Option<&Read>, read: &Read) -> Result<(), Error> {
    let Some(before) = before else { return Ok(()) };
    let (name, earlier) =
        (FileKind::Journal.name(read.head.number), FileKind::Journal.name(before.head.number));
    let blank = read.scan.index.end as usize == HEAD;
    if !before.scan.sealed && !blank {
        let position = before.scan.index.end;
        return Err(corrupt(
            disk,
            format!("{earlier} is damaged at byte {position}: {name} follows it, but it has no end"),
        ));
    }
    // A segment made before the one before it was ended is blank and reckons with that end.
    if before.scan.sealed && read.head.first_block != before.scan.next_block && !blank {
        return Err(corrupt(disk, format!("{name} does not follow {earlier}: they are of different times")));
    }
    Ok(())
}

/// Whether the manifest has given all slots that the files speak of: an older one knows nothing of the last topics.
fn check_slots(
    disk: &dyn Disk,
    manifest: &Manifest,
    sorted: &[Shelved],
    reads: &[Read],
) -> Result<(), Error> {
    let sorted = sorted.iter().filter_map(|shelved| {
        Some((FileKind::Sorted.name(shelved.file.number), shelved.file.runs.last()?.slot))
    });
    let segments = reads.iter().filter_map(|read| {
        Some((FileKind::Journal.name(read.head.number), *read.scan.index.slots.last_key_value()?.0))
    });
    match sorted.chain(segments).find(|(_, slot)| *slot >= manifest.next_slot) {
        Some((name, _)) => {
            let what = format!("{name} holds a topic that its manifest has never known: that is an old one");
            Err(corrupt(disk, what))
        }
        None => Ok(()),
    }
}

/// Puts the segments on the shelf. The last one that was written to is brought into a new file if it has no end: what the
/// page cache holds of it may not be on the disk. Answers the number of the next segment and of its first block.
fn take_up(shelf: &Arc<Shelf>, reads: Vec<Read>, recovery: &mut Recovery) -> Result<(u64, u64), Error> {
    let mut next = (shelf.manifest().journal_from, 1);
    for Read { head, file, bytes, scan } in reads {
        let name = FileKind::Journal.name(head.number);
        if scan.sealed {
            let segment = Segment::new(&head, file, scan.index);
            shelf.put_segment(&Arc::new(segment));
            next = (head.number + 1, scan.next_block);
            continue;
        }
        let end = scan.index.end as usize;
        if scan.torn {
            tracing::warn!(file = name, position = end, "a group commit that never became whole was cut off");
            recovery.torn = Some((name.clone(), end as u64));
        }
        let copy = copy_segment(shelf, &head, &bytes[..end], scan.index, scan.next_block);
        let copy = copy.map_err(|e| failed(&*shelf.disk, &format!("has no room to recover {name}"), e))?;
        shelf.put_segment(&copy);
        next = (head.number + 1, scan.next_block + 1);
        // Segments behind it are blank; the next one takes the name of the first.
        break;
    }
    Ok(next)
}

fn remove_leftovers(disk: &dyn Disk, manifest: &Manifest, names: &BTreeSet<String>, recovery: &mut Recovery) {
    let left = |name: &&String| {
        let segment = FileKind::Journal.number(name).is_some_and(|number| number < manifest.journal_from);
        let sorted = FileKind::Sorted.number(name);
        let unused = sorted.is_some_and(|number| manifest.sorted.iter().all(|entry| entry.number != number));
        segment || unused || *name == manifest::NEW_NAME || *name == "copy"
    };
    for name in names.iter().filter(left) {
        if disk.remove(name).is_ok() {
            recovery.removed.push(name.clone());
        }
    }
}

/// Makes the slots of all topics, with what the files say of them.
fn restore_slots(shelf: &Shelf, newest: &[BTreeMap<u32, Newest>]) {
    let (topics, starts) = {
        let manifest = shelf.manifest();
        (manifest.topics.clone(), manifest.starts.iter().copied().collect::<BTreeMap<_, _>>())
    };
    let files = shelf.files();
    let mut states = BTreeMap::<u32, SlotState>::new();
    for run in files.sorted.iter().flat_map(|shelved| &shelved.file.runs) {
        let state = states.entry(run.slot).or_default();
        state.end = run.next;
        state.epoch = state.epoch.max(run.epoch);
        state.newest = Some(run.newest);
    }
    for (segment, newest) in files.segments.iter().zip(newest) {
        for (slot, extents) in &segment.index().slots {
            let state = states.entry(*slot).or_default();
            state.end = extents.last().map_or(state.end, |extent| extent.next);
        }
        for (slot, newest) in newest {
            let state = states.entry(*slot).or_default();
            state.epoch = state.epoch.max(newest.epoch);
            state.newest = Some(newest.time);
        }
    }
    for entry in &topics {
        add_topic(shelf, entry, |slot| {
            let mut state = states.remove(&slot).unwrap_or_default();
            state.start = starts.get(&slot).copied().unwrap_or(Offset::ZERO);
            state
        });
    }
}

/// Makes the slots of a topic.
pub(super) fn add_topic(shelf: &Shelf, entry: &TopicEntry, mut state: impl FnMut(u32) -> SlotState) {
    let topic = Arc::new(entry.topic.clone());
    shelf.add_slots((0..topic.spec.partitions).map(|partition| {
        let number = entry.first_slot + partition;
        let place = TopicPartition { topic: Arc::clone(&topic.name), partition: PartitionId(partition) };
        Arc::new(Slot::new(number, place, Arc::clone(&topic), state(number)))
    }));
}
