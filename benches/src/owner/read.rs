//! Asks that read.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use affinity_keyspace::Handle;
use affinity_log::Log;
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::values::Values;
use super::{ASKERS, Serving, fill, key, runtime};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};
use crate::log::{VALUE_BYTES, open};

/// From memory.
pub(crate) const READ: Bench = Bench {
    name: "read",
    about: "asks that read 256 B of 100 000 keys, 64 in flight, one partition, against a task that owns a BTreeMap",
    quick: true,
    run,
};

const KEYS: u32 = 100_000;
const READS: u32 = 320_000;

/// A key on its way to the bare owner.
type Asked = (Bytes, oneshot::Sender<Option<Bytes>>);

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log = Arc::new(open(dir.path())?);
    runtime.block_on(fill(&log, 1, u64::from(KEYS), VALUE_BYTES))?;
    let log: Arc<dyn Log> = log;
    let serving = runtime.block_on(Serving::<Values>::start(&log, 1))?;
    let bare = bare_owner(&runtime);
    run.pair("reads/s", 0.7, |side, _| match side {
        Side::Ours => read_all(&runtime, &serving.handles[0]),
        Side::Bare => read_all(&runtime, &bare),
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

fn bare_owner(runtime: &Runtime) -> mpsc::Sender<Asked> {
    let map: BTreeMap<Bytes, Bytes> =
        (0..u64::from(KEYS)).map(|n| (key(n), Bytes::from(vec![0xa5; VALUE_BYTES]))).collect();
    let (send, mut mailbox) = mpsc::channel::<Asked>(4096);
    runtime.spawn(async move {
        while let Some((key, reply)) = mailbox.recv().await {
            let _ = reply.send(map.get(&key).cloned());
        }
    });
    send
}

/// Who can be asked for a value.
trait Asks: Clone + Send + Sync + 'static {
    fn value(&self, key: Bytes) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

impl Asks for Handle<Values> {
    async fn value(&self, key: Bytes) -> Result<Option<Bytes>, String> {
        self.read(key).await.map_err(|failure| failure.to_string())
    }
}

impl Asks for mpsc::Sender<Asked> {
    async fn value(&self, key: Bytes) -> Result<Option<Bytes>, String> {
        let (reply, answer) = oneshot::channel();
        self.try_send((key, reply)).map_err(|error| error.to_string())?;
        answer.await.map_err(|error| error.to_string())
    }
}

/// Reads from tasks that each wait for their answer.
fn read_all(runtime: &Runtime, asks: &impl Asks) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for asker in 0..ASKERS {
            let asks = asks.clone();
            tasks.spawn(async move {
                for n in 0..READS / ASKERS {
                    let value = asks.value(key(u64::from((n * ASKERS + asker) % KEYS))).await?;
                    if value.is_none_or(|value| value.len() != VALUE_BYTES) {
                        return Err("a value is missing".to_owned());
                    }
                }
                Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()
    })?;
    Ok(watch.rate(READS as usize))
}
