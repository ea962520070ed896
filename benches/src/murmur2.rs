//! Hashing of keys, the first step of every request.

use std::hint::black_box;

use affinity_types::murmur2;

use crate::harness::{Bench, Failure, Run, Side, Stopwatch};

const KEYS: usize = 100_000;
const ROUNDS: usize = 20;

/// Our murmur2 against the `murmur2` crate, over keys of 8 to 71 bytes.
pub(crate) const MURMUR2: Bench = Bench {
    name: "types-murmur2",
    about: "Kafka's hash of 100 000 keys of 8 to 71 bytes, against the murmur2 crate",
    quick: true,
    run,
};

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
    if let Some(key) = keys.iter().find(|key| murmur2(key) != other(key)) {
        return Err(format!("the two disagree on {key:02x?}").into());
    }
    run.pair("keys/s", 0.8, |side, _| {
        Ok(match side {
            Side::Ours => rate(&keys, murmur2),
            Side::Bare => rate(&keys, other),
        })
    })
}

/// Bytes of every length from 8 to 71 that differ in each key.
fn key(index: usize) -> Vec<u8> {
    index.to_le_bytes().into_iter().cycle().take(8 + index % 64).collect()
}

fn other(key: &[u8]) -> i32 {
    murmur2::murmur2(key, murmur2::KAFKA_SEED).cast_signed()
}

fn rate(keys: &[Vec<u8>], hash: impl Fn(&[u8]) -> i32) -> f64 {
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        for key in keys {
            black_box(hash(black_box(key)));
        }
    }
    watch.rate(keys.len() * ROUNDS)
}
