//! The log of the fence model: its records, what compaction leaves of them, and what they mean.

use std::fmt;

use arrayvec::ArrayVec;

use super::{BarrierKeys, Readers};

/// How many masters a state has room for.
pub(super) const MOST_MASTERS: usize = 3;

/// How many records a log has room for: as many as [`Offsets`] has bits. Millions of states are kept, hence so few.
const MOST_RECORDS: usize = 16;

/// The number of a mastership; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u8);

impl Epoch {
    /// Lower than the first.
    const NONE: Self = Self(0);

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (1..).map(Self)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// A key of the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// One key.
    X,
    /// Another one.
    Y,
}

impl Key {
    const ALL: [Self; 2] = [Self::X, Self::Y];
}

/// A value, named after the master that wrote it: `a2` is the second write at the first master.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(u8);

impl Value {
    /// There is no value.
    pub const TOMBSTONE: Self = Self(u8::MAX);

    /// The `number`th write at the master of `epoch`.
    pub(super) fn new(epoch: Epoch, number: u8) -> Self {
        Self(epoch.0 << 4 | number)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TOMBSTONE => f.write_str("tombstone"),
            Self(value) => write!(f, "{}{}", char::from(b'a' - 1 + (value >> 4)), value & 0xf),
        }
    }
}

/// A record of the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// The epoch of the master that sent it.
    pub epoch: Epoch,
    pub(super) content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Content {
    Barrier,
    Write(Key, Value),
    Repair(Key, Value),
}

impl Content {
    /// What it says about the store.
    pub(super) fn state(self) -> Option<(Key, Value)> {
        match self {
            Self::Barrier => None,
            Self::Write(key, value) | Self::Repair(key, value) => Some((key, value)),
        }
    }
}

impl Record {
    /// The key that compaction sees: a different bit for each.
    fn compaction_key(self, barriers: BarrierKeys) -> u8 {
        match (self.content.state(), barriers) {
            (Some((key, _)), _) => 1 << key as u8,
            (None, BarrierKeys::PerEpoch) => 1 << (2 + self.epoch.index()),
            (None, BarrierKeys::Shared) => 1 << 2,
        }
    }
}

/// Every record that ever was in the log, and which of them compaction has left.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Log {
    records: ArrayVec<Record, MOST_RECORDS>,
    kept: Offsets,
}

impl Log {
    pub(super) fn end(&self) -> u8 {
        u8::try_from(self.records.len()).expect("a log is short")
    }

    pub(super) fn push(&mut self, record: Record) {
        self.kept.insert(self.end());
        self.records.push(record);
    }

    pub(super) fn content(&self, offset: u8) -> Content {
        self.records[usize::from(offset)].content
    }

    pub(super) fn highest(&self) -> Epoch {
        self.records.iter().map(|record| record.epoch).max().unwrap_or(Epoch::NONE)
    }

    pub(super) fn whole(&self) -> impl DoubleEndedIterator<Item = (u8, Record)> {
        self.between(0, self.end())
    }

    pub(super) fn compacted(&self) -> impl DoubleEndedIterator<Item = (u8, Record)> {
        self.whole().filter(|(offset, _)| self.kept.contains(*offset))
    }

    /// The records of these offsets, as if nothing had been compacted: a master that fetches a gap is there in time.
    pub(super) fn between(&self, from: u8, to: u8) -> impl DoubleEndedIterator<Item = (u8, Record)> {
        (from..to).map(|offset| (offset, self.records[usize::from(offset)]))
    }

    /// Leaves the last record of each key below an offset, whatever its epoch: that is the hazard.
    pub(super) fn compact(&self, below: u8, barriers: BarrierKeys) -> Self {
        let mut compacted = self.clone();
        let mut seen = 0;
        for (offset, record) in self.compacted().rev().skip_while(|(offset, _)| *offset >= below) {
            let key = record.compaction_key(barriers);
            if seen & key != 0 {
                compacted.kept.remove(offset);
            }
            seen |= key;
        }
        compacted
    }
}

/// A set of offsets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Offsets(u16);

impl Offsets {
    pub(super) fn insert(&mut self, offset: u8) {
        self.0 |= 1 << offset;
    }

    fn remove(&mut self, offset: u8) {
        self.0 &= !(1 << offset);
    }

    pub(super) fn contains(self, offset: u8) -> bool {
        self.0 & (1 << offset) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..16).filter(move |offset| self.contains(*offset))
    }
}

/// A set of keys.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Keys([bool; Key::ALL.len()]);

impl Keys {
    pub(super) fn insert(&mut self, key: Key) {
        self.0[key as usize] = true;
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.0[key as usize] = false;
    }

    pub(super) fn first(self) -> Option<Key> {
        Key::ALL.into_iter().find(|key| self.0[*key as usize])
    }
}

/// The state of a store; a key with a tombstone is not one that was never written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Memory([Option<Value>; Key::ALL.len()]);

impl Memory {
    pub(super) fn get(self, key: Key) -> Option<Value> {
        self.0[key as usize]
    }

    pub(super) fn put(&mut self, key: Key, value: Value) {
        self.0[key as usize] = Some(value);
    }

    /// Whether a client reads the same in both.
    pub(super) fn reads_like(self, other: Self) -> bool {
        let read = |value: Option<Value>| value.filter(|value| *value != Value::TOMBSTONE);
        self.0.map(read) == other.0.map(read)
    }
}

/// What a reader makes of records.
pub(super) struct Reading {
    pub(super) memory: Memory,
    /// What the memory would be if nobody had repaired anything.
    pub(super) written: Memory,
    /// The highest epoch it met.
    pub(super) highest: Epoch,
    /// The records of the store that counted.
    pub(super) valid: Offsets,
    /// The keys whose last record is a stale one.
    pub(super) shadowed: Keys,
}

impl Reading {
    pub(super) fn of(records: impl Iterator<Item = (u8, Record)>, readers: Readers) -> Self {
        let (memory, written, valid, shadowed) = Default::default();
        let mut reading = Self { memory, written, highest: Epoch::NONE, valid, shadowed };
        for (offset, record) in records {
            let stale = readers == Readers::IgnoreStale && record.epoch < reading.highest;
            reading.highest = reading.highest.max(record.epoch);
            match record.content.state() {
                Some((key, _)) if stale => reading.shadowed.insert(key),
                Some((key, value)) => {
                    reading.memory.put(key, value);
                    if let Content::Write(..) = record.content {
                        reading.written.put(key, value);
                    }
                    reading.valid.insert(offset);
                    reading.shadowed.remove(key);
                }
                None => {}
            }
        }
        reading
    }
}
