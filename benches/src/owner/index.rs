//! Asks that write values which have an index.

use std::sync::Arc;

use affinity_log::Log;
use bytes::Bytes;

use super::values::{Command, Values};
use super::write::{ASKS, KEYS};
use super::{Serving, ask_all, key, runtime, spread};
use crate::harness::{Bench, Failure, Run, Side};
use crate::log::{PARTITIONS, VALUE_BYTES, open};

/// Every write moves its key to another index key: an entry goes and an entry comes.
pub(crate) const INDEX_WRITE: Bench = Bench {
    name: "index-write",
    about: "asks that write 256 B under another index key each, 64 in flight over 16 partitions, against writes without an index",
    quick: true,
    run: index_write,
};

fn index_write(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let (ours_dir, bare_dir) = (run.fresh_dir()?, run.fresh_dir()?);
    let ours_log: Arc<dyn Log> = Arc::new(open(ours_dir.path())?);
    let bare_log: Arc<dyn Log> = Arc::new(open(bare_dir.path())?);
    let ours: Serving<Values<true>> = runtime.block_on(Serving::start(&ours_log, PARTITIONS))?;
    let bare: Serving<Values> = runtime.block_on(Serving::start(&bare_log, PARTITIONS))?;
    let mut round = 0;
    run.pair("writes/s", 0.7, |side, _| {
        round += u64::from(ASKS);
        match side {
            Side::Ours => ask_all(&runtime, &ours.handles, ASKS, move |n| put(n, round)),
            Side::Bare => ask_all(&runtime, &bare.handles, ASKS, move |n| put(n, round)),
        }
    })?;
    runtime.block_on(ours.end());
    runtime.block_on(bare.end());
    Ok(())
}

/// A put of a value that begins with a number no other has.
fn put(n: u32, round: u64) -> Command {
    let mut value = [0xa5; VALUE_BYTES];
    value[..8].copy_from_slice(&spread(round + u64::from(n)).to_be_bytes());
    Command::Put(key(u64::from(n % KEYS)), Bytes::copy_from_slice(&value))
}
