//! Keys that lie in the nodes of the map.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// Longest key without an allocation. 22 makes 24 bytes with length and variant, as much as a `Vec` takes before its
/// bytes, and holds a 16-byte identifier in its Avro frame.
pub(crate) const INLINE_MAX: usize = 22;

/// A key, ordered as its bytes.
#[derive(Clone, Debug)]
pub(crate) enum CompactKey {
    /// Zeros behind the key, so that eight bytes at a time can be compared.
    Inline {
        length: u8,
        bytes: [u8; INLINE_MAX],
    },
    Heap(Box<[u8]>),
}

impl CompactKey {
    pub(crate) fn new(key: &[u8]) -> CompactKey {
        CompactKey::inline(key).unwrap_or_else(|| CompactKey::Heap(key.into()))
    }

    /// The key without an allocation, if it is short enough.
    pub(crate) fn inline(key: &[u8]) -> Option<CompactKey> {
        let length = u8::try_from(key.len()).ok().filter(|&l| usize::from(l) <= INLINE_MAX)?;
        let mut bytes = [0; INLINE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Some(CompactKey::Inline { length, bytes })
    }

    /// Bytes it takes outside of the map's nodes.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            CompactKey::Inline { .. } => 0,
            CompactKey::Heap(bytes) => bytes.len(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            CompactKey::Inline { length, bytes } => &bytes[..usize::from(*length)],
            CompactKey::Heap(bytes) => bytes,
        }
    }
}

/// The bytes as numbers whose order is theirs.
fn words(bytes: &[u8; INLINE_MAX]) -> (u128, u64) {
    let (head, tail) = bytes.split_at(16);
    let head = u128::from_be_bytes(head.try_into().expect("16 of 22 bytes"));
    let tail: [u8; 6] = tail.try_into().expect("6 of 22 bytes");
    let mut low = [0; 8];
    low[2..].copy_from_slice(&tail);
    (head, u64::from_be_bytes(low))
}

impl Ord for CompactKey {
    fn cmp(&self, other: &CompactKey) -> Ordering {
        match (self, other) {
            (
                CompactKey::Inline { length, bytes },
                CompactKey::Inline { length: other_length, bytes: other_bytes },
            ) => {
                // Where the padded bytes differ the keys do, in the same way; where they do not, one key is the other
                // with zeros behind it.
                let ((head, tail), (other_head, other_tail)) = (words(bytes), words(other_bytes));
                head.cmp(&other_head)
                    .then_with(|| tail.cmp(&other_tail))
                    .then_with(|| length.cmp(other_length))
            }
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

impl PartialOrd for CompactKey {
    fn partial_cmp(&self, other: &CompactKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for CompactKey {
    fn eq(&self, other: &CompactKey) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for CompactKey {}

impl Borrow<[u8]> for CompactKey {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for CompactKey {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_takes_24_bytes() {
        assert_eq!(size_of::<CompactKey>(), 24);
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_bytes(
            // Few letters, so that keys share beginnings; lengths on both sides of the inline limit.
            a in prop::collection::vec(0u8..2, 0..26),
            b in prop::collection::vec(0u8..2, 0..26),
        ) {
            let (compact_a, compact_b) = (CompactKey::new(&a), CompactKey::new(&b));
            prop_assert_eq!(compact_a.cmp(&compact_b), a.cmp(&b));
            prop_assert_eq!(compact_a.as_ref(), &a[..]);
        }
    }
}
