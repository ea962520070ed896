//! A keyspace of plain values.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use affinity_keyspace::{Destination, Incoming, Index, Indexed, Master, Partition, Refused, Store, View};
use affinity_types::codec::Encode;
use bytes::Bytes;

use crate::log::VALUE_BYTES;

/// The only store.
pub(super) const STORE: &str = "values";

/// The same, with its types.
pub(super) const VALUES: Store<Bytes, Bytes> = Store::new(STORE);

/// By the number that a value begins with.
const BY_NUMBER: Index<Bytes, Bytes, u64> = Index::new("by_number", 1, &VALUES, |value| {
    value.first_chunk().copied().map(u64::from_be_bytes).into_iter().collect()
});

/// Where effects go.
const KEYSPACE: Destination<Bytes, Bytes> = Destination::new("bench");

/// The handlers, of values that have an index or none.
#[derive(Default)]
pub(super) struct Values<const INDEXED: bool = false> {
    /// Effects that have come, to all that share it.
    pub(super) passed: Arc<AtomicU64>,
}

/// What changes a value.
pub(super) enum Command {
    /// Gives a key a value.
    Put(Bytes, Bytes),
    /// Sends a value to another key, as an effect.
    Pass(Bytes, Bytes),
    /// Reads a key's value, adds one to the number that it begins with, and writes it back; answers what was read.
    Add(Bytes),
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Put(key, value) => {
                out.push(0);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Command::Pass(key, value) => {
                out.push(2);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Command::Add(key) => {
                out.push(1);
                out.extend_from_slice(key);
            }
        }
    }
}

impl<const INDEXED: bool> Partition for Values<INDEXED> {
    const STORES: &'static [&'static str] = &[STORE];
    const INDICES: &'static [&'static dyn Indexed] = if INDEXED { &[&BY_NUMBER] } else { &[] };
    type Command = Command;
    type Query = Bytes;
    type Answer = Option<Bytes>;
    type Error = Infallible;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<Option<Bytes>, Infallible> {
        match command {
            Command::Put(key, value) => {
                cx.put(&VALUES, key, value);
                Ok(None)
            }
            Command::Pass(key, value) => {
                cx.emit(&KEYSPACE, key, value);
                Ok(None)
            }
            Command::Add(key) => {
                let before = cx.get(&VALUES, key);
                let mut value = before.clone().map_or_else(|| vec![0; VALUE_BYTES], Vec::from);
                let count = number(&value) + 1;
                value[..8].copy_from_slice(&count.to_be_bytes());
                cx.put(&VALUES, key, &Bytes::from(value));
                Ok(before)
            }
        }
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        cx.put(&VALUES, &effect.key::<Bytes>()?, &effect.message::<Bytes>()?);
        self.passed.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::new())
    }

    fn query(&self, cx: &View<'_>, key: &Bytes) -> Result<Option<Bytes>, Infallible> {
        Ok(cx.get(&VALUES, key))
    }
}

/// The number that a value begins with.
pub(super) fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
