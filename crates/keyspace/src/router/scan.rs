//! A scan of all partitions, merged in the order of the keys.
//!
//! ```text
//!   partition 0   a  d  e │ next chunk, asked for when these are used up
//!   partition 1   b  c    │                                               ─▶  a b c │ d e …
//!   partition 2   f  g  h │ …
//! ```

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::time::Duration;

use affinity_memstore::Direction;
use affinity_types::codec::Decode;

use super::Router;
use crate::scan::{Chunk, Chunks, Cursor, KeyValue, Raw, Source};
use crate::{Failure, KeyRange, Partition, Reply, Store};

/// Entries given at once.
const MERGED_MAX: usize = 1000;

/// A scan of all partitions of a keyspace, under way: [`next`](KeyspaceScan::next) gives entries in the order of their keys'
/// bytes. Dropping it ends it.
///
/// It holds one chunk a partition, and the owner may have sent the next. Of each partition it shows one moment, as [`PartitionScan`](crate::PartitionScan) does;
/// there is none at which all of it was true. A key that several partitions have, in a further store, comes once for each.
pub struct KeyspaceScan<P: Partition, K, V> {
    router: Router<P>,
    source: Source,
    within: Option<Duration>,
    direction: Direction,
    /// Entries wanted from here on.
    left: usize,
    sources: Vec<Chunks<P>>,
    /// Of each partition with a chunk, its next entry.
    heads: BinaryHeap<Head>,
    /// Partitions without one, that may have more.
    empty: Vec<usize>,
    /// What is merged and not yet given.
    merged: Vec<KeyValue<K, V>>,
    types: PhantomData<fn() -> (K, V)>,
}

/// The next entry of a partition, and what follows in its chunk.
struct Head {
    entry: Raw,
    rest: Cursor,
    source: usize,
    direction: Direction,
}

impl Ord for Head {
    /// The greatest comes first.
    fn cmp(&self, other: &Head) -> Ordering {
        let by_key = match self.direction {
            Direction::Forward => other.entry.key.cmp(&self.entry.key),
            Direction::Backward => self.entry.key.cmp(&other.entry.key),
        };
        by_key.then_with(|| other.source.cmp(&self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl<P: Partition> Router<P> {
    /// Scans a range of a store in all partitions. Each chunk has to come `within` this time. Nothing is sent before the
    /// first [`next`](KeyspaceScan::next).
    #[must_use]
    pub fn scan<K, V>(
        &self,
        store: &Store<K, V>,
        range: &KeyRange,
        within: Option<Duration>,
    ) -> KeyspaceScan<P, K::Owned, V>
    where
        K: ToOwned + ?Sized,
    {
        let chunks = |handle| Chunks::new(handle, store.name(), range.clone());
        let sources: Vec<_> = self.shared.handles.iter().map(chunks).collect();
        KeyspaceScan {
            router: self.clone(),
            source: self.shared.handles[0].source(store),
            within,
            direction: range.direction(),
            left: usize::MAX,
            heads: BinaryHeap::with_capacity(sources.len()),
            empty: (0..sources.len()).collect(),
            sources,
            merged: Vec::new(),
            types: PhantomData,
        }
    }

    /// The next chunk, if it comes by the deadline.
    async fn await_chunk(
        &self,
        chunks: &mut Chunks<P>,
        deadline: Duration,
    ) -> Option<Reply<Chunk, P::Error>> {
        let late = tokio::select! {
            biased;
            chunk = chunks.take() => return chunk,
            () = self.shared.parts.timer.sleep_until(deadline) => Failure::DeadlinePassed,
        };
        chunks.finish();
        Some(Err(late))
    }
}

impl<P: Partition, K: Decode, V: Decode> KeyspaceScan<P, K, V> {
    /// The same scan, of at most `entries` from here on.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> KeyspaceScan<P, K, V> {
        // What is merged counts already, and is given first.
        self.merged.truncate(entries);
        let rest = entries - self.merged.len();
        self.left = self.left.min(rest);
        self.sources.iter_mut().for_each(|source| source.limit(rest));
        self
    }

    /// The next entries, in the order of the range, at least one; `None` at its end. Cancel-safe.
    ///
    /// # Errors
    /// As [`PartitionScan::next`](crate::PartitionScan::next), of any partition; and `DeadlinePassed`. After `Overloaded` the
    /// next call tries the same again, after any other failure the scan is over: nothing is left out silently.
    pub async fn next(&mut self) -> Option<Reply<Vec<KeyValue<K, V>>, P::Error>> {
        while self.left > 0 && self.merged.len() < MERGED_MAX {
            if let Err(failure) = self.fill().await {
                return Some(Err(self.failed(failure)));
            }
            if self.heads.is_empty() {
                break;
            }
            if let Err(failure) = self.merge() {
                return Some(Err(self.failed(failure)));
            }
        }
        if self.left == 0 {
            self.end();
        }
        let merged = std::mem::take(&mut self.merged);
        (!merged.is_empty()).then_some(Ok(merged))
    }

    /// Sees to it that each partition with more to come has a chunk.
    async fn fill(&mut self) -> Result<(), Failure<P::Error>> {
        if self.empty.is_empty() {
            return Ok(());
        }
        let deadline = self.router.deadline(self.within);
        let most = self.router.shared.parts.settings.scatter_max.max(1);
        while !self.empty.is_empty() {
            // From the end, so that what is done can be taken off.
            let first = self.empty.len().saturating_sub(most);
            for at in &self.empty[first..] {
                self.sources[*at].ask(Some(deadline))?;
            }
            while let Some(&at) = self.empty.get(first..).and_then(<[usize]>::last) {
                let Some(chunk) = self.router.await_chunk(&mut self.sources[at], deadline).await else {
                    self.empty.pop();
                    continue;
                };
                let mut rest = chunk?.into_cursor();
                match rest.next() {
                    Some(entry) => {
                        self.empty.pop();
                        let direction = self.direction;
                        self.heads.push(Head { entry, rest, source: at, direction });
                    }
                    // It had expired entries only.
                    None => self.sources[at].ask(Some(deadline))?,
                }
            }
        }
        Ok(())
    }

    /// Merges until a partition's chunk is used up, or there is enough.
    fn merge(&mut self) -> Result<(), Failure<P::Error>> {
        while self.left > 0 && self.merged.len() < MERGED_MAX {
            let Some(mut head) = self.heads.peek_mut() else { break };
            match head.rest.next() {
                Some(next) => {
                    let entry = std::mem::replace(&mut head.entry, next);
                    drop(head);
                    self.merged.push(KeyValue::read(&self.source, entry)?);
                    self.left -= 1;
                }
                None => {
                    let Head { entry, source, .. } = std::collections::binary_heap::PeekMut::pop(head);
                    self.empty.push(source);
                    self.merged.push(KeyValue::read(&self.source, entry)?);
                    self.left -= 1;
                    break;
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, failure: Failure<P::Error>) -> Failure<P::Error> {
        if !matches!(failure, Failure::Overloaded) {
            self.end();
            self.merged.clear();
        }
        failure
    }

    /// Nothing comes any more; owners need not keep their snapshots.
    fn end(&mut self) {
        self.left = 0;
        self.heads.clear();
        self.empty.clear();
        self.sources.iter_mut().for_each(Chunks::finish);
    }
}
