//! The manifest: which topics there are and which files hold them. It is replaced as a whole, so that every change of it
//! is one step: after a crash the folder is as before the change or as after it.

use std::io;
use std::time::Duration;

use affinity_types::{Offset, TopicId, varint};

use super::disk::Disk;
use super::frame;
use super::head::FORMAT;
use crate::{Cleanup, Topic, TopicSpec};

pub(super) const NAME: &str = "manifest";
pub(super) const NEW_NAME: &str = "manifest.new";
const MAGIC: [u8; 8] = *b"AFFMANIF";

/// What the folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The folder's identity.
    pub(super) journal: u128,
    /// The first journal segment; those before it are in sorted files.
    pub(super) journal_from: u64,
    /// Number of the next sorted file.
    pub(super) next_sorted: u64,
    /// Number of the next topic's first slot.
    pub(super) next_slot: u32,
    /// Topics by creation.
    pub(super) topics: Vec<TopicEntry>,
    /// Sorted files, oldest first.
    pub(super) sorted: Vec<SortedEntry>,
    /// First offsets of the slots whose beginning was given up to retention.
    pub(super) starts: Vec<(u32, Offset)>,
}

/// A topic and where its partitions are: partition p has slot `first_slot + p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicEntry {
    pub(super) topic: Topic,
    pub(super) first_slot: u32,
}

/// A sorted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SortedEntry {
    pub(super) number: u64,
    /// Whether its keys have yet to be looked for in the files before it.
    pub(super) dirty: bool,
}

impl Manifest {
    pub(super) fn new(journal: u128) -> Manifest {
        Manifest {
            journal,
            journal_from: 1,
            next_sorted: 1,
            next_slot: 0,
            topics: Vec::new(),
            sorted: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Makes this the folder's manifest, durably. After an error either one may be.
    pub(super) fn store(&self, disk: &dyn Disk) -> io::Result<()> {
        self.write(disk)?;
        put_in_place(disk)
    }

    /// Writes this beside the folder's manifest, which stays.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(NEW_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(NEW_NAME)?;
        file.write_at(&self.bytes(), 0)?;
        file.sync()?;
        // The files it names have their names for good before it counts.
        disk.sync_names()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.journal.to_le_bytes());
        varint::put(&mut out, self.journal_from);
        varint::put(&mut out, self.next_sorted);
        varint::put(&mut out, u64::from(self.next_slot));
        varint::put(&mut out, self.topics.len() as u64);
        for entry in &self.topics {
            put_topic(&mut out, entry);
        }
        varint::put(&mut out, self.sorted.len() as u64);
        for entry in &self.sorted {
            varint::put(&mut out, entry.number);
            out.push(u8::from(entry.dirty));
        }
        varint::put(&mut out, self.starts.len() as u64);
        for (slot, start) in &self.starts {
            varint::put(&mut out, u64::from(*slot));
            varint::put(&mut out, start.0);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a manifest's bytes.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Manifest, String> {
        if bytes.len() < 32 || bytes[..8] != MAGIC {
            return Err("is no manifest of a log".into());
        }
        let format = frame::u32_at(bytes, 8);
        if format > FORMAT {
            return Err(format!("has format {format}: this version reads up to {FORMAT}"));
        }
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if crc32c::crc32c(body) != frame::u32_at(crc, 0) {
            return Err("is damaged".into());
        }
        let journal = u128::from_le_bytes(bytes[12..28].try_into().expect("sixteen bytes"));
        Manifest::read_body(journal, &body[28..]).ok_or_else(|| "is malformed".into())
    }

    fn read_body(journal: u128, mut input: &[u8]) -> Option<Manifest> {
        let input = &mut input;
        let mut manifest = Manifest::new(journal);
        manifest.journal_from = varint::take(input)?;
        manifest.next_sorted = varint::take(input)?;
        manifest.next_slot = take_u32(input)?;
        for _ in 0..varint::take(input)? {
            manifest.topics.push(take_topic(input)?);
        }
        for _ in 0..varint::take(input)? {
            let number = varint::take(input)?;
            manifest.sorted.push(SortedEntry { number, dirty: varint::take(input)? != 0 });
        }
        for _ in 0..varint::take(input)? {
            manifest.starts.push((take_u32(input)?, Offset(varint::take(input)?)));
        }
        input.is_empty().then_some(manifest)
    }

    pub(super) fn topic(&self, name: &str) -> Option<&TopicEntry> {
        self.topics.iter().find(|entry| &*entry.topic.name == name)
    }
}

/// Makes the manifest that was written the folder's. After an error either one may be.
pub(super) fn put_in_place(disk: &dyn Disk) -> io::Result<()> {
    disk.rename(NEW_NAME, NAME)?;
    disk.sync_names()
}

fn take_u32(input: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(input)?).ok()
}

fn put_topic(out: &mut Vec<u8>, entry: &TopicEntry) {
    let TopicEntry { topic, first_slot } = entry;
    out.extend_from_slice(&topic.id.0.to_le_bytes());
    varint::put(out, topic.name.len() as u64);
    out.extend_from_slice(topic.name.as_bytes());
    varint::put(out, u64::from(topic.spec.partitions));
    varint::put(out, u64::from(*first_slot));
    match &topic.spec.cleanup {
        Cleanup::Compact { delete_retention, request_window } => {
            out.push(0);
            put_duration(out, Some(*delete_retention));
            put_duration(out, Some(*request_window));
        }
        Cleanup::Delete { retention, retention_bytes } => {
            out.push(1);
            put_duration(out, *retention);
            varint::put(out, u64::from(retention_bytes.is_some()));
            varint::put(out, retention_bytes.unwrap_or(0));
        }
    }
}

fn take_topic(input: &mut &[u8]) -> Option<TopicEntry> {
    let id = TopicId(u128::from_le_bytes(varint::take_bytes(input, 16)?.try_into().ok()?));
    let length = varint::take(input)?;
    let name = std::str::from_utf8(varint::take_bytes(input, length)?).ok()?.into();
    let partitions = take_u32(input)?;
    let first_slot = take_u32(input)?;
    let cleanup = match varint::take(input)? {
        0 => Cleanup::Compact {
            delete_retention: take_duration(input)??,
            request_window: take_duration(input)??,
        },
        1 => {
            let retention = take_duration(input)?;
            let limited = varint::take(input)? != 0;
            let bytes = varint::take(input)?;
            Cleanup::Delete { retention, retention_bytes: limited.then_some(bytes) }
        }
        _ => return None,
    };
    Some(TopicEntry { topic: Topic { id, name, spec: TopicSpec { partitions, cleanup } }, first_slot })
}

fn put_duration(out: &mut Vec<u8>, duration: Option<Duration>) {
    varint::put(out, u64::from(duration.is_some()));
    let duration = duration.unwrap_or_default();
    varint::put(out, duration.as_secs());
    varint::put(out, u64::from(duration.subsec_nanos()));
}

fn take_duration(input: &mut &[u8]) -> Option<Option<Duration>> {
    let given = varint::take(input)? != 0;
    let seconds = varint::take(input)?;
    let nanos = take_u32(input).filter(|&nanos| nanos < 1_000_000_000)?;
    Some(given.then_some(Duration::new(seconds, nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let mut manifest = Manifest::new(77);
        let compact = Cleanup::default();
        let delete = Cleanup::Delete { retention: Some(Duration::from_millis(1500)), retention_bytes: None };
        for (i, cleanup) in [compact, delete].into_iter().enumerate() {
            let spec = TopicSpec { partitions: 4, cleanup };
            let topic = Topic { id: TopicId(i as u128), name: format!("t{i}").into(), spec };
            manifest.topics.push(TopicEntry { topic, first_slot: 4 * u32::try_from(i).unwrap() });
        }
        manifest.sorted.push(SortedEntry { number: 3, dirty: true });
        manifest.starts.push((7, Offset(1 << 40)));
        let bytes = manifest.bytes();
        assert_eq!(Manifest::read(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Manifest::read(&damaged).is_err(), "a flipped bit at {at}");
        }
    }

    #[test]
    fn a_manifest_of_a_later_format_is_refused_by_name() {
        let mut bytes = Manifest::new(1).bytes();
        bytes[8] = 9;
        assert_eq!(Manifest::read(&bytes).unwrap_err(), "has format 9: this version reads up to 1");
    }
}
