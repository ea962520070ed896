//! What the disk under the other benchmarks does: without it no figure about durability can be read.
//! A few microseconds mean that the directory lies in memory (`--dir` names another).

use std::fs::File;
use std::io::Write;

use crate::harness::{Bench, Failure, Run, Stopwatch, median};

const SYNCS: usize = 200;
const BLOCK: [u8; 4096] = [0xa5; 4096];

/// How long `fdatasync` takes here.
pub(crate) const DISK_SYNC: Bench = Bench {
    name: "disk-sync",
    about: "no comparison: 200 times 4 KiB written and made durable, for reading the other figures",
    quick: true,
    run,
};

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.fresh_dir()?;
    let mut file = File::create(dir.path().join("synced"))?;
    let mut micros = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let watch = Stopwatch::start();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        micros.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    run.figure("median", "us", median(micros.iter().copied()));
    run.figure("worst", "us", micros.iter().copied().fold(0.0, f64::max));
    Ok(())
}
