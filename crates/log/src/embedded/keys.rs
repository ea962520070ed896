//! The keys of a compaction pass.

use std::hash::{BuildHasherDefault, Hasher};

use affinity_types::Offset;
use hashbrown::HashMap;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::frame::{EncodedRecord, Frame};

/// The newest offset of each key in the dirty files of a pass. A key is stood for by its 128-bit SipHash under the
/// folder's identity: nobody who does not know that can make two keys meet, and among a billion keys chance makes two
/// meet once in 10^20 passes.
#[derive(Default)]
pub(super) struct NewestKeys {
    keys: HashMap<u128, Offset, BuildHasherDefault<LowBits>>,
    journal: u128,
}

impl NewestKeys {
    pub(super) fn new(journal: u128) -> NewestKeys {
        NewestKeys { keys: HashMap::default(), journal }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn hash(&self, slot: u32, key: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.journal.to_le_bytes());
        hasher.write(&slot.to_le_bytes());
        hasher.write(key);
        hasher.finish128().as_u128()
    }

    /// Takes note of a record; those of a key come in the order of their offsets.
    pub(super) fn note(&mut self, slot: u32, key: &[u8], offset: Offset) {
        self.keys.insert(self.hash(slot, key), offset);
    }

    /// Whether a record noted is newer than this one and has its key.
    pub(super) fn supersede(&self, frame: Frame<'_>, record: &EncodedRecord<'_>) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let offset = frame.base().advance(u64::from(record.slot.index));
        self.keys.get(&self.hash(frame.slot(), record.key)).is_some_and(|newest| *newest > offset)
    }
}

/// The keys are hashes already.
#[derive(Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
}
