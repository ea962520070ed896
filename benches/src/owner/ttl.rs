//! Values that expire.

use std::convert::Infallible;
use std::sync::Arc;

use affinity_keyspace::{Handle, Master, Partition, Store, View};
use affinity_log::Log;
use affinity_types::codec::Encode;
use affinity_types::{Clock, EventTime, SystemClock};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{Serving, ask_all, key, runtime};
use crate::harness::{Bench, Failure, Run, Side, median};
use crate::log::{PARTITIONS, VALUE_BYTES, open};

/// Writes, while others expire.
pub(crate) const TTL: Bench = Bench {
    name: "ttl",
    about: "asks that write 256 B with a time to live while 1 % of 1 million keys expire each second, against asks without",
    quick: false,
    run,
};

const PLAIN: Store<Bytes, Bytes> = Store::new("plain");
const FRESH: Store<Bytes, Bytes> = Store::new("fresh").expiring_after(HOUR_MS);
const HOUR_MS: u64 = 3_600_000;

const ASKS: u32 = 48_000;
/// Keys that are written, behind those that lie there.
const WRITTEN: u64 = 20_000;
const MANY: u64 = 1_000_000;
const FEW: u64 = 1_000;
/// Keys written in one command where it is not measured.
const AT_ONCE: u64 = 500;
/// 1 % of the keys expire each second, for longer than a side is measured.
const EXPIRING_SECONDS: u64 = 15;
const EXPIRING: u64 = MANY / 100 * EXPIRING_SECONDS;

struct Lapsing;

enum Command {
    Plain(Bytes),
    Fresh(Bytes),
    /// Writes a range of keys by their numbers, every so many of it; values expire where it says so, spread over some seconds from a moment on.
    Fill {
        range: std::ops::Range<u64>,
        step: usize,
        until: Option<EventTime>,
    },
}

impl Encode for Command {
    /// No request here has an id.
    fn encode(&self, _: &mut Vec<u8>) {}
}

const VALUE: Bytes = Bytes::from_static(&[0xa5; VALUE_BYTES]);

impl Partition for Lapsing {
    const STORES: &'static [&'static str] = &["main", "plain", "fresh"];
    type Command = Command;
    type Query = ();
    type Answer = ();
    type Error = Infallible;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<(), Infallible> {
        match command {
            Command::Plain(key) => cx.put(&PLAIN, key, &VALUE),
            Command::Fresh(key) => cx.put(&FRESH, key, &VALUE),
            Command::Fill { range, step, until } => {
                for n in range.clone().step_by(*step) {
                    match until {
                        Some(from) => {
                            let at = from.plus_ms(n * EXPIRING_SECONDS * 1000 / EXPIRING);
                            cx.put_until(&FRESH, &key(n), &VALUE, at);
                        }
                        None => {
                            cx.put(&PLAIN, &key(n), &VALUE);
                            cx.put(&FRESH, &key(n), &VALUE);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn query(&self, _: &View<'_>, (): &()) -> Result<(), Infallible> {
        Ok(())
    }
}

type Handles = [Handle<Lapsing>];

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log: Arc<dyn Log> = Arc::new(open(dir.path())?);
    let serving = runtime.block_on(Serving::promote(&log, PARTITIONS, || Lapsing))?;
    let handles = &serving.handles[..];
    let written = |n| key(MANY + u64::from(n) % WRITTEN);
    let fresh = move |n| Command::Fresh(written(n));
    fill(&runtime, handles, 0..FEW, None)?;
    ask_all(&runtime, handles, ASKS, fresh)?;
    let rates =
        |handles| (0..5).map(|_| ask_all(&runtime, handles, ASKS, fresh)).collect::<Result<Vec<_>, _>>();
    let few = median(rates(handles)?);
    fill(&runtime, handles, FEW..MANY, None)?;
    let many = median(rates(handles)?);
    run.figure("not-due.1k", "writes/s", few);
    run.figure("not-due.1m", "writes/s", many);
    run.figure("not-due.ratio", "", many / few);
    run.pair("writes/s", 0.85, |side, _| match side {
        Side::Ours => {
            let until = SystemClock.now().plus_ms(1000);
            fill(&runtime, handles, 0..EXPIRING, Some(until))?;
            let rate = ask_all(&runtime, handles, ASKS, fresh)?;
            // The other side is measured while nothing expires.
            fill(&runtime, handles, 0..EXPIRING, None)?;
            Ok(rate)
        }
        Side::Bare => ask_all(&runtime, handles, ASKS, move |n| Command::Plain(written(n))),
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

/// Writes keys, each to the partition that its number says.
fn fill(
    runtime: &Runtime,
    handles: &Handles,
    range: std::ops::Range<u64>,
    until: Option<EventTime>,
) -> Result<(), Failure> {
    let step = handles.len();
    let span = AT_ONCE * u64::try_from(step)?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (first, handle) in (range.start..).zip(handles) {
            let (handle, end) = (handle.clone(), range.end);
            tasks.spawn(async move {
                for from in (first..end).step_by(usize::try_from(span).unwrap_or(usize::MAX)) {
                    let fill = Command::Fill { range: from..end.min(from + span), step, until };
                    handle.ask(fill).await.map_err(|failure| failure.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()
    })?;
    Ok(())
}
