//! Kafka's hash of a key. Source: `org.apache.kafka.common.utils.Utils.murmur2`, after Austin Appleby's MurmurHash2.

/// The 32-bit murmur2 hash that Kafka's default partitioner takes of a serialized key (seed `0x9747b28c`).
#[must_use]
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len() & 0xffff_ffff).expect("masked to 32 bits");
    let mut h = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks of four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ h >> 15).cast_signed()
}
