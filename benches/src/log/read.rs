//! Reading a log back: all partitions, decoded to groups.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Log, next_batch};
use affinity_types::Offset;

use super::{FRAME_BYTES, KEY_BYTES, Owner, PARTITIONS, VALUE_BYTES, open, topic_of};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};

const RECORDS: usize = 1_000_000;

/// A log of a million records.
pub(crate) const LOG_READ: Bench = Bench {
    name: "log-read",
    about: "all partitions of a log of 1 million records of 256 B, decoded to groups, against reading the same files and \
            checking CRC-32C",
    quick: true,
    run,
};

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let dir = run.fresh_dir()?;
    let log = open(dir.path())?;
    let mut owners = runtime.block_on(take_over(&log))?;
    let watch = Stopwatch::start();
    runtime.block_on(append(&mut owners, RECORDS))?;
    run.figure("fill", "records/s", watch.rate(RECORDS));
    log.compact()?;
    run.figure("disk-per-record", "bytes", log.usage().sorted as f64 / RECORDS as f64);
    run.pair("records/s", 0.6, |side, _| match side {
        Side::Ours => ours(&runtime, &log),
        Side::Bare => bare(dir.path()),
    })?;

    // Every key once more, until the log is as small as before.
    let (watch, journal) = (Stopwatch::start(), log.usage());
    runtime.block_on(append(&mut owners, RECORDS))?;
    log.compact()?;
    let overwritten = RECORDS as f64 * FRAME_BYTES as f64 / 1e6;
    run.figure("overwrite-and-compact", "MB/s", overwritten / watch.elapsed().as_secs_f64());
    run.figure("size-after", "of before", log.usage().sorted as f64 / journal.sorted as f64);

    runtime.block_on(append(&mut owners, RECORDS / 20))?;
    recover(run, &runtime, &log, dir.path())
}

async fn take_over(log: &EmbeddedLog) -> Result<Vec<Owner>, Failure> {
    let mut owners = Vec::new();
    for partition in 0..PARTITIONS {
        owners.push(Owner::take_over(log, partition).await?);
    }
    Ok(owners)
}

/// Appends records over all partitions, each with a key of its own.
async fn append(owners: &mut [Owner], records: usize) -> Result<(), Failure> {
    let in_flight = 512;
    for n in 0..records as u64 / u64::from(PARTITIONS) {
        for owner in &mut *owners {
            if owner.writer.in_flight() == in_flight {
                owner.acknowledged().await?;
            }
            owner.append(n)?;
        }
    }
    for owner in owners {
        while owner.writer.in_flight() > 0 {
            owner.acknowledged().await?;
        }
    }
    Ok(())
}

fn ours(runtime: &tokio::runtime::Runtime, log: &EmbeddedLog) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let (mut records, mut bytes) = (0, 0);
    runtime.block_on(async {
        for partition in 0..PARTITIONS {
            let place = topic_of(partition);
            let end = log.bounds(&place).await?.end;
            let mut tail = log.tail(&place, Offset::ZERO).await?;
            let mut next = Offset::ZERO;
            while next < end {
                let batch = next_batch(&mut *tail).await?;
                for record in batch.groups().flat_map(|group| group.records()) {
                    records += 1;
                    bytes += record.key().len() + record.value().map_or(0, <[u8]>::len);
                }
                next = batch.next();
            }
        }
        Ok::<_, Failure>(())
    })?;
    if records < RECORDS || bytes < RECORDS * (KEY_BYTES + VALUE_BYTES) {
        return Err(format!("{records} records of {bytes} bytes were read").into());
    }
    Ok(watch.rate(RECORDS))
}

fn bare(dir: &Path) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let mut buffer = vec![0; 256 << 10];
    let mut crc = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sorted-")) {
            continue;
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut at = 0;
        while at < length {
            let size = usize::try_from((buffer.len() as u64).min(length - at))?;
            file.read_exact_at(&mut buffer[..size], at)?;
            crc = crc32c::crc32c_append(crc, &buffer[..size]);
            at += size as u64;
        }
    }
    std::hint::black_box(crc);
    Ok(watch.rate(RECORDS))
}

/// How long a log takes to open whose process was killed: the files are copied as they are, in use.
fn recover(
    run: &mut Run<'_>,
    runtime: &tokio::runtime::Runtime,
    log: &EmbeddedLog,
    dir: &Path,
) -> Result<(), Failure> {
    let copy = run.fresh_dir()?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        std::fs::copy(&path, copy.path().join(path.file_name().ok_or("a file has a name")?))?;
    }
    let watch = Stopwatch::start();
    let recovered = open(copy.path())?;
    run.figure("recovery", "ms", watch.elapsed().as_secs_f64() * 1e3);
    for partition in 0..PARTITIONS {
        let place = topic_of(partition);
        if runtime.block_on(recovered.bounds(&place))? != runtime.block_on(log.bounds(&place))? {
            return Err(format!("{place} is not as it was").into());
        }
    }
    Ok(())
}
