//! Scans through an owner.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use affinity_keyspace::{Handle, KeyRange};
use affinity_log::Log;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::values::{VALUES, Values};
use super::{Serving, fill, key, runtime};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};
use crate::log::{KEY_BYTES, open};

/// All of a store in memory, chunk by chunk.
pub(crate) const SCAN: Bench = Bench {
    name: "scan",
    about: "a scan of 1 million keys of 16 B with 100 B through an owner, against iterating a BTreeMap and cloning its bytes",
    quick: true,
    run,
};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
/// As many entries as a chunk of an owner has.
const CHUNK: usize = 1000;

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log = Arc::new(open(dir.path())?);
    runtime.block_on(fill(&log, 1, KEYS, VALUE_BYTES))?;
    let log: Arc<dyn Log> = log;
    let serving = runtime.block_on(Serving::start(&log, 1))?;
    // Written key by key as the owner's store was, so that the nodes of both maps lie as far apart.
    let mut map = BTreeMap::new();
    for n in 0..KEYS {
        map.insert(key(n), Bytes::from(vec![0xa5; VALUE_BYTES]));
    }
    run.pair("entries/s", 0.6, |side, _| match side {
        Side::Ours => scan(&runtime, &serving.handles[0]),
        Side::Bare => clone_all(&map),
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

/// By a task that looks at every entry.
fn scan(runtime: &Runtime, handle: &Handle<Values>) -> Result<f64, Failure> {
    let handle = handle.clone();
    let watch = Stopwatch::start();
    let scanned = runtime.spawn(async move {
        let (mut scan, mut entries, mut bytes) = (handle.scan(&VALUES, KeyRange::all()), 0, 0);
        while let Some(chunk) = scan.next().await {
            for entry in chunk.map_err(|failure| failure.to_string())? {
                entries += 1;
                bytes += black_box(entry.key).len() + black_box(entry.value).len();
            }
        }
        Ok::<_, String>((entries, bytes))
    });
    judge(watch, runtime.block_on(scanned)??)
}

fn clone_all(map: &BTreeMap<Bytes, Bytes>) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let (mut entries, mut bytes) = (0, 0);
    let mut rest = map.iter().peekable();
    while rest.peek().is_some() {
        let chunk: Vec<_> =
            rest.by_ref().take(CHUNK).map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, value) in chunk {
            entries += 1;
            bytes += black_box(key).len() + black_box(value).len();
        }
    }
    judge(watch, (entries, bytes))
}

fn judge(watch: Stopwatch, (entries, bytes): (usize, usize)) -> Result<f64, Failure> {
    let rate = watch.rate(entries);
    if entries as u64 == KEYS && bytes == entries * (KEY_BYTES + VALUE_BYTES) {
        Ok(rate)
    } else {
        Err(format!("{entries} entries with {bytes} bytes").into())
    }
}
