//! The lookup store of a partition, in memory and on disk, against the map and the database below it.
//!
//! Ours keeps a version and an expiry beside each value, checks limits and continuity, and carries a checkpoint with
//! every batch; the bare sides keep the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use affinity_memstore::{Batch, Checkpoint, Disk, DiskSettings, Facts, Limits, MemStore, MemoryStore};
use affinity_memstore::{StoreId, Value};
use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};

use crate::harness::{Bench, Failure, Run, Side, Stopwatch, median};

const KEYS: u64 = 1_000_000;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;
const BATCH: usize = 100;
const TOPIC: TopicId = TopicId(1);

/// Which side a process measures the memory of: memory that another side freed before would hide some.
const MEMORY_OF: &str = "BENCH_MEMSTORE_MEMORY_OF";

/// The store in memory against a map of the same bytes.
pub(crate) const MEMORY: Bench = Bench {
    name: "memstore-memory",
    about: "1 million puts, in batches of 100 with checkpoint, and gets, against BTreeMap<Box<[u8]>, Box<[u8]>>",
    quick: true,
    run: memory,
};

/// The store on disk against the database it stands on.
pub(crate) const DISK: Bench = Bench {
    name: "memstore-disk",
    about: "1 million puts, in batches of 100 with checkpoint, and gets, against fjall with the same batches",
    quick: false,
    run: disk,
};

fn memory(run: &mut Run<'_>) -> Result<(), Failure> {
    if let Ok(side) = std::env::var(MEMORY_OF) {
        run.figure("per-key", "bytes", memory_per_key(&side)?);
        return Ok(());
    }
    let mut rounds = Rounds::default();
    run.pair("puts+gets/s", 0.8, |side, _| {
        Ok(rounds.note(
            side,
            match side {
                Side::Ours => memory_ours()?,
                Side::Bare => memory_bare()?,
            },
        ))
    })?;
    rounds.figures(run);
    under_snapshot(run)?;
    let payload = (KEY_BYTES + VALUE_BYTES) as f64;
    for side in ["ours", "bare"] {
        let per_key = in_own_process(side)?;
        run.figure(&format!("per-key.{side}"), "bytes", per_key);
        run.figure(&format!("per-key.{side}-over-payload"), "", per_key / payload);
    }
    Ok(())
}

fn disk(run: &mut Run<'_>) -> Result<(), Failure> {
    let mut rounds = Rounds::default();
    run.pair("puts+gets/s", 0.9, |side, run| {
        let dir = run.fresh_dir()?;
        let times = match side {
            Side::Ours => disk_ours(dir.path())?,
            Side::Bare => disk_bare(dir.path())?,
        };
        Ok(rounds.note(side, times))
    })?;
    rounds.figures(run);
    Ok(())
}

/// How long all puts and all gets took.
type Times = (Duration, Duration);

/// The times of every round, to tell puts and gets apart.
#[derive(Default)]
struct Rounds {
    ours: Vec<Times>,
    bare: Vec<Times>,
}

impl Rounds {
    /// Notes a round and gives its rate.
    fn note(&mut self, side: Side, times: Times) -> f64 {
        match side {
            Side::Ours => self.ours.push(times),
            Side::Bare => self.bare.push(times),
        }
        (2 * KEYS) as f64 / (times.0 + times.1).as_secs_f64()
    }

    /// Ratios of puts and of gets alone, without the rounds that warmed up.
    fn figures(&self, run: &mut Run<'_>) {
        let ratio = |part: fn(&Times) -> Duration| {
            let rounds = self.ours.iter().zip(&self.bare).skip(1);
            median(rounds.map(|(ours, bare)| part(bare).as_secs_f64() / part(ours).as_secs_f64()))
        };
        run.figure("puts-ratio", "", ratio(|times| times.0));
        run.figure("gets-ratio", "", ratio(|times| times.1));
    }
}

fn memory_ours() -> Result<Times, Failure> {
    let mut store = MemoryStore::new(Limits::default());
    let watch = Stopwatch::start();
    put_all(&mut store)?;
    let puts = watch.elapsed();
    let watch = Stopwatch::start();
    get_all(&store)?;
    Ok((puts, watch.elapsed()))
}

/// What writing costs while a snapshot keeps all that is overwritten, and what closing it does.
fn under_snapshot(run: &mut Run<'_>) -> Result<(), Failure> {
    let mut store = MemoryStore::new(Limits::default());
    put_all(&mut store)?;
    let watch = Stopwatch::start();
    put_all(&mut store)?;
    let without = watch.elapsed();
    let snapshot = store.open_snapshot(Duration::ZERO)?;
    let watch = Stopwatch::start();
    put_all(&mut store)?;
    let with = watch.elapsed();
    let kept = store.status().kept_values;
    let watch = Stopwatch::start();
    store.close_snapshot(snapshot);
    run.figure("closing", "ms", watch.elapsed().as_secs_f64() * 1e3);
    if kept as u64 != KEYS {
        return Err(format!("{kept} values were kept for the snapshot").into());
    }
    run.figure("overwriting-under-snapshot-ratio", "", without.as_secs_f64() / with.as_secs_f64());
    Ok(())
}

fn memory_bare() -> Result<Times, Failure> {
    let watch = Stopwatch::start();
    let map = bare_map();
    let puts = watch.elapsed();
    let watch = Stopwatch::start();
    for index in read_order() {
        let value = map.get(&key(index)[..]).ok_or("a key is missing")?;
        black_box(&value[..]);
    }
    Ok((puts, watch.elapsed()))
}

fn bare_map() -> BTreeMap<Box<[u8]>, Box<[u8]>> {
    let mut map = BTreeMap::<Box<[u8]>, Box<[u8]>>::new();
    for index in 0..KEYS {
        map.insert(Box::from(&key(index)[..]), Box::from(&value(index)[..]));
    }
    map
}

fn disk_ours(dir: &std::path::Path) -> Result<Times, Failure> {
    let (disk, _) = Disk::open(dir, DiskSettings::default())?;
    let (start, end) = (Offset(0), Offset(0));
    let facts = Facts { topic: TOPIC, start, end, now: EventTime(0), delete_retention: None };
    let mut store = disk.open_store("partition", Limits::default(), &facts)?.store;
    let watch = Stopwatch::start();
    put_all(&mut store)?;
    let puts = watch.elapsed();
    let watch = Stopwatch::start();
    get_all(&store)?;
    Ok((puts, watch.elapsed()))
}

fn disk_bare(dir: &std::path::Path) -> Result<Times, Failure> {
    let settings = DiskSettings::default();
    let db = fjall::Database::builder(dir)
        .cache_size(settings.cache_max_bytes)
        .max_journaling_size(settings.journal_max_bytes)
        .worker_threads(settings.worker_threads)
        .open()?;
    let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(settings.memtable_max_bytes);
    let tree = db.keyspace("partition", options)?;
    let watch = Stopwatch::start();
    for first in (0..KEYS).step_by(BATCH) {
        let mut batch = db.batch();
        for index in first..first + BATCH as u64 {
            batch.insert(&tree, key(index), value(index));
        }
        batch.commit()?;
    }
    let puts = watch.elapsed();
    let watch = Stopwatch::start();
    for index in read_order() {
        let value = tree.get(key(index))?.ok_or("a key is missing")?;
        black_box(&value[..]);
    }
    Ok((puts, watch.elapsed()))
}

/// Writes every key once, as batches that follow on what the store has.
fn put_all(store: &mut impl MemStore) -> Result<(), Failure> {
    let from = store.checkpoint().map_or(Offset(0), |c| c.next);
    for first in (0..KEYS).step_by(BATCH) {
        let entries: [([u8; KEY_BYTES], [u8; VALUE_BYTES]); BATCH] =
            std::array::from_fn(|i| (key(first + i as u64), value(first + i as u64)));
        let from = from.advance(first);
        let next = from.advance(BATCH as u64);
        let checkpoint = Checkpoint::new(TOPIC, next, Epoch(1), EventTime(1_800_000_000_000));
        let mut batch = Batch::new(from, checkpoint);
        batch.reserve(entries.len());
        for (index, (key, value)) in (first..).zip(&entries) {
            let version = Version::new(Epoch(1), Sequence(index));
            batch.put(StoreId::MAIN, key, Value::new(value, version));
        }
        store.apply(&batch)?;
    }
    Ok(())
}

fn get_all(store: &impl MemStore) -> Result<(), Failure> {
    for index in read_order() {
        let value = store.get(StoreId::MAIN, &key(index))?.ok_or("a key is missing")?;
        black_box((value.bytes(), value.version()));
    }
    Ok(())
}

/// Every index once, far from the order in which they were put.
fn read_order() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|i| i * 611_953 % KEYS)
}

/// Key number `index`: 16 bytes that look random (splitmix64) and are all different.
fn key(index: u64) -> [u8; KEY_BYTES] {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&mix(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    key[8..].copy_from_slice(&mix(index).to_be_bytes());
    key
}

/// A value for key number `index`: half of it repeats, as records do.
fn value(index: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0x5a; VALUE_BYTES];
    for part in 0..6 {
        value[part * 8..part * 8 + 8].copy_from_slice(&key(index + part as u64)[..8]);
    }
    value
}

/// Runs this benchmark once more to measure the memory of one side.
fn in_own_process(side: &str) -> Result<f64, Failure> {
    let output =
        Command::new(std::env::current_exe()?).args([MEMORY.name, "--json"]).env(MEMORY_OF, side).output()?;
    let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(line["ours"].as_f64().ok_or("no figure")?)
}

/// What the resident memory of this process grows by for each key.
fn memory_per_key(side: &str) -> Result<f64, Failure> {
    let before = resident_bytes()?;
    let grown = if side == "ours" {
        let mut store = MemoryStore::new(Limits::default());
        put_all(&mut store)?;
        let grown = resident_bytes()? - before;
        black_box(store.len(StoreId::MAIN));
        grown
    } else {
        let map = bare_map();
        let grown = resident_bytes()? - before;
        black_box(map.len());
        grown
    };
    Ok(grown / KEYS as f64)
}

pub(crate) fn resident_bytes() -> Result<f64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
