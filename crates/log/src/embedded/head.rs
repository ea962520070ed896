//! The head of every file of the log: what it is and whose.

use super::frame::{self, Salt};

/// Length of the head in bytes.
pub(super) const HEAD: usize = 64;
/// Version of the folder's files. A build reads files of its own version and of those before it; files of a later one
/// are refused with a sentence that says so. A changed layout takes the next number and keeps the old reader.
pub(super) const FORMAT: u32 = 1;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Group commits of all partitions in the order of time.
    Journal,
    /// Groups sorted by partition.
    Sorted,
}

impl FileKind {
    fn magic(self) -> [u8; 8] {
        match self {
            FileKind::Journal => *b"AFFJOURN",
            FileKind::Sorted => *b"AFFSORTD",
        }
    }

    /// The name of file `number`.
    pub(super) fn name(self, number: u64) -> String {
        match self {
            FileKind::Journal => format!("journal-{number:016x}"),
            FileKind::Sorted => format!("sorted-{number:016x}"),
        }
    }

    /// The number of the file of this kind that `name` names.
    pub(super) fn number(self, name: &str) -> Option<u64> {
        let prefix = match self {
            FileKind::Journal => "journal-",
            FileKind::Sorted => "sorted-",
        };
        let digits = name.strip_prefix(prefix).filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    }
}

/// The head: `magic: 8 bytes | format: u32 | recycled: u32 | journal: u128 | number: u64 | first block: u64 | 0: 12 bytes
/// | crc: u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) kind: FileKind,
    /// The folder's identity.
    pub(super) journal: u128,
    /// The file's number among those of its kind.
    pub(super) number: u64,
    /// Number of the first block of a journal segment.
    pub(super) first_block: u64,
    /// Whether the file had an earlier life, whose bytes may stand behind its own.
    pub(super) recycled: bool,
}

impl FileHead {
    pub(super) fn salt(&self) -> Salt {
        Salt::of(self.journal, self.number ^ u64::from(self.kind == FileKind::Sorted) << 63)
    }

    pub(super) fn bytes(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&self.kind.magic());
        head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        head[12] = u8::from(self.recycled);
        head[16..32].copy_from_slice(&self.journal.to_le_bytes());
        head[32..40].copy_from_slice(&self.number.to_le_bytes());
        head[40..48].copy_from_slice(&self.first_block.to_le_bytes());
        let crc = crc32c::crc32c(&head[..60]);
        head[60..].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Reads the head of file `number` of this folder.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub(super) fn read(bytes: &[u8], kind: FileKind, journal: u128, number: u64) -> Result<FileHead, String> {
        let Some(head) = bytes.get(..HEAD) else { return Err("is shorter than its head".into()) };
        if head[..8] != kind.magic() {
            return Err("does not begin with the mark of its kind".into());
        }
        let format = frame::u32_at(head, 8);
        if format > FORMAT {
            return Err(format!("has format {format}: this version reads up to {FORMAT}"));
        }
        if crc32c::crc32c(&head[..60]) != frame::u32_at(head, 60) {
            return Err("has a damaged head".into());
        }
        let theirs = u128::from_le_bytes(head[16..32].try_into().expect("sixteen bytes"));
        if theirs != journal {
            return Err(format!("belongs to another folder ({theirs:032x}, not {journal:032x})"));
        }
        let theirs = frame::u64_at(head, 32);
        if theirs != number {
            return Err(format!("is file {theirs} under the name of file {number}"));
        }
        let (first_block, recycled) = (frame::u64_at(head, 40), head[12] != 0);
        Ok(FileHead { kind, journal, number, first_block, recycled })
    }
}
