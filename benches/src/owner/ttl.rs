//! Values that expire.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

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

/// Writes, while others expire. Beside it: writes with a time to live and without, while few or many keys that are not due lie
/// there; a bigger map costs both.
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
/// For as long the first of them live: time enough to write them all.
const FILL_MS: u64 = 2000;
const EXPIRING: u64 = MANY / 100 * EXPIRING_SECONDS;

struct Lapsing;

enum Command {
    Plain(Bytes),
    Fresh(Bytes),
    /// Writes a range of keys by their numbers, every so many of it.
    Fill(Range<u64>, usize, Kind),
}

/// What keys are filled with.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Fresh,
    /// Values that expire one after the other, from a moment on.
    Expiring(EventTime),
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
            Command::Fill(range, step, kind) => {
                for n in range.clone().step_by(*step) {
                    match kind {
                        Kind::Plain => cx.put(&PLAIN, &key(n), &VALUE),
                        Kind::Fresh => cx.put(&FRESH, &key(n), &VALUE),
                        Kind::Expiring(from) => {
                            let at = from.plus_ms(n * EXPIRING_SECONDS * 1000 / EXPIRING);
                            cx.put_until(&FRESH, &key(n), &VALUE, at);
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
    let (plain, fresh) = (move |n| Command::Plain(written(n)), move |n| Command::Fresh(written(n)));
    for (keys, name) in [(0..FEW, "1k"), (FEW..MANY, "1m")] {
        fill(&runtime, handles, keys.clone(), Kind::Plain)?;
        fill(&runtime, handles, keys, Kind::Fresh)?;
        ask_all(&runtime, handles, ASKS, plain)?;
        ask_all(&runtime, handles, ASKS, fresh)?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            without.push(ask_all(&runtime, handles, ASKS, plain)?);
            with.push(ask_all(&runtime, handles, ASKS, fresh)?);
        }
        let (without, with) = (median(without), median(with));
        run.figure(&format!("beside-{name}.plain"), "writes/s", without);
        run.figure(&format!("beside-{name}.ttl"), "writes/s", with);
        run.figure(&format!("beside-{name}.ratio"), "", with / without);
    }
    // Both sides write as many keys before they are measured, and as many after.
    run.pair("writes/s", 0.85, |side, _| {
        let from = SystemClock.now().plus_ms(FILL_MS);
        let expiring = 0..EXPIRING;
        match side {
            Side::Ours => {
                fill(&runtime, handles, expiring.clone(), Kind::Expiring(from))?;
                wait_until(&runtime, from);
                let rate = ask_all(&runtime, handles, ASKS, fresh)?;
                // The other side is measured while nothing expires.
                fill(&runtime, handles, expiring, Kind::Fresh)?;
                Ok(rate)
            }
            Side::Bare => {
                fill(&runtime, handles, expiring.clone(), Kind::Plain)?;
                wait_until(&runtime, from);
                let rate = ask_all(&runtime, handles, ASKS, plain)?;
                fill(&runtime, handles, expiring, Kind::Plain)?;
                Ok(rate)
            }
        }
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

fn wait_until(runtime: &Runtime, time: EventTime) {
    let wait = u64::try_from(time.0 - SystemClock.now().0).unwrap_or(0);
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(wait)).await });
}

/// Writes keys, each to the partition that its number says.
fn fill(runtime: &Runtime, handles: &Handles, range: Range<u64>, kind: Kind) -> Result<(), Failure> {
    let step = handles.len();
    let span = AT_ONCE * u64::try_from(step)?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (first, handle) in (range.start..).zip(handles) {
            let (handle, end) = (handle.clone(), range.end);
            tasks.spawn(async move {
                for from in (first..end).step_by(usize::try_from(span).unwrap_or(usize::MAX)) {
                    let fill = Command::Fill(from..end.min(from + span), step, kind);
                    handle.ask(fill).await.map_err(|failure| failure.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()
    })?;
    Ok(())
}
