//! A scan of one partition, as its asker sees it.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::Poll;
use std::time::Duration;

use affinity_memstore::StoreId;
use affinity_types::codec::Decode;
use tokio::sync::oneshot;

use super::{Chunk, KeyValue, ScanAsk, ScanFrom, Source};
use crate::message::Message;
use crate::{Failure, Handle, KeyRange, Partition, Reply, Store};

/// A scan of one partition, under way chunk by chunk: [`next`](PartitionScan::next) gives the entries of a chunk. Dropping it
/// ends it. It holds one chunk, and the owner may have sent the next.
///
/// All of it is what was acknowledged at one moment between its first `next` and the end of that, whatever is written
/// meanwhile; values that expired by then are left out. It lasts as long as the owner holds its snapshot: it begins with the
/// first chunk, and ends by age ([`snapshot_age_max`](affinity_memstore::Limits::snapshot_age_max), 60 s by default), when
/// too much is overwritten meanwhile, or with the mastership.
pub struct PartitionScan<P: Partition, K, V> {
    chunks: Chunks<P>,
    source: Source,
    types: PhantomData<fn() -> (K, V)>,
}

impl<P: Partition> Handle<P> {
    pub(crate) fn source<K: ?Sized, V>(&self, store: &Store<K, V>) -> Source {
        Source { store: store.name(), format: self.format(store.name()).clone() }
    }

    /// Scans a range of a store. Nothing is sent before the first [`next`](PartitionScan::next).
    pub fn scan<K, V>(&self, store: &Store<K, V>, range: KeyRange) -> PartitionScan<P, K::Owned, V>
    where
        K: ToOwned + ?Sized,
    {
        let chunks = Chunks::new(self, store.name(), range);
        PartitionScan { chunks, source: self.source(store), types: PhantomData }
    }
}

impl<P: Partition, K: Decode, V: Decode> PartitionScan<P, K, V> {
    /// The same scan, of at most `entries` from here on.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> PartitionScan<P, K, V> {
        self.chunks.limit(entries);
        self
    }

    /// The next entries, in the order of the range, at least one; `None` at its end. Cancel-safe.
    ///
    /// Where keys or values are [`Bytes`](bytes::Bytes), those of a chunk share its memory: who keeps one of them for long keeps
    /// all of the chunk, and had better copy it.
    ///
    /// # Errors
    /// After `Overloaded` (too many messages or scans) the next call tries the same again; after any other failure the scan
    /// is over. `ScanExpired` if the owner does not have its snapshot any more, `Invalid` for a store that is not there, a
    /// bound longer than a key can be, `Corrupt` for what is no such key or value;
    /// or the system's.
    pub async fn next(&mut self) -> Option<Reply<Vec<KeyValue<K, V>>, P::Error>> {
        loop {
            match self.chunks.next(None).await? {
                Ok(chunk) if chunk.len() == 0 => {}
                Ok(chunk) => {
                    let entries = KeyValue::read_all(&self.source, chunk);
                    if matches!(entries, Err(Failure::Corrupt(_))) {
                        self.chunks.finish();
                    }
                    return Some(entries);
                }
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}

const NO_STORE: &str = "the keyspace has no such store";

/// The chunks of a scan of one partition.
pub(crate) struct Chunks<P: Partition> {
    handle: Handle<P>,
    store: StoreId,
    /// Entries wanted from here on.
    left: usize,
    place: Place,
    asked: Option<oneshot::Receiver<Reply<Chunk, P::Error>>>,
    /// A chunk that has come, while its asker lets the owner begin with the next.
    come: Option<Chunk>,
}

/// Where a scan stands.
enum Place {
    From(ScanFrom),
    /// It cannot begin.
    Refused(&'static str),
    Over,
}

impl<P: Partition> Chunks<P> {
    pub(crate) fn new(handle: &Handle<P>, store: &str, range: KeyRange) -> Chunks<P> {
        let (store, place) = match handle.store(store) {
            Some(store) => (store, Place::From(ScanFrom::Range(range))),
            None => (StoreId::MAIN, Place::Refused(NO_STORE)),
        };
        Chunks { handle: handle.clone(), store, left: usize::MAX, place, asked: None, come: None }
    }

    pub(crate) fn limit(&mut self, entries: usize) {
        let mut rest = entries;
        if let Some(chunk) = &mut self.come {
            chunk.truncate(entries);
            rest -= chunk.len();
        }
        self.left = self.left.min(rest);
    }

    /// The next chunk, which may be empty; `None` at the end. `deadline` is the owner's. Cancel-safe.
    pub(crate) async fn next(&mut self, deadline: Option<Duration>) -> Option<Reply<Chunk, P::Error>> {
        match self.ask(deadline) {
            Ok(()) => self.take().await,
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Asks for the next chunk, unless it is asked for already or there is none.
    pub(crate) fn ask(&mut self, deadline: Option<Duration>) -> Result<(), Failure<P::Error>> {
        if self.asked.is_some() || self.come.is_some() {
            return Ok(());
        }
        if self.left == 0 {
            self.finish();
        }
        if let Place::Refused(why) = self.place {
            self.place = Place::Over;
            return Err(Failure::Invalid(why));
        }
        self.send(deadline).map_err(|failure| self.failed(failure))
    }

    fn send(&mut self, deadline: Option<Duration>) -> Result<(), Failure<P::Error>> {
        let Place::From(from) = &self.place else { return Ok(()) };
        let (reply, asked) = oneshot::channel();
        let ask = ScanAsk { store: self.store, from: from.clone(), limit: self.left, most: usize::MAX };
        self.handle.submit(Message::Scan { ask, deadline, reply })?;
        self.asked = Some(asked);
        Ok(())
    }

    /// Waits for the chunk that was asked for; `None` if none was. Cancel-safe.
    ///
    /// From the second chunk on the next one is asked for at once, so that owner and asker work at the same time: who wants
    /// no more than the first costs no more.
    pub(crate) async fn take(&mut self) -> Option<Reply<Chunk, P::Error>> {
        if let Some(chunk) = self.come.take() {
            return Some(Ok(chunk));
        }
        let answer = self.asked.as_mut()?.await.unwrap_or(Err(Failure::Unavailable));
        self.asked = None;
        let mut chunk = match answer {
            Ok(chunk) => chunk,
            Err(failure) => return Some(Err(self.failed(failure))),
        };
        let goes_on = matches!(self.place, Place::From(ScanFrom::Continuation(_)));
        // It may have been asked for under a wider limit.
        chunk.truncate(self.left);
        self.left -= chunk.len();
        self.place = after(&chunk);
        if goes_on && self.left > 0 {
            // If it cannot be sent now, the next call says so.
            let _ = self.send(None);
        }
        if self.asked.is_none() {
            return Some(Ok(chunk));
        }
        self.come = Some(chunk);
        to_the_end().await;
        self.come.take().map(Ok)
    }

    fn failed(&mut self, failure: Failure<P::Error>) -> Failure<P::Error> {
        if !matches!(failure, Failure::Overloaded) {
            self.finish();
        }
        failure
    }

    /// Ends the scan, so that the owner need not keep its snapshot.
    pub(crate) fn finish(&mut self) {
        let mut place = std::mem::replace(&mut self.place, Place::Over);
        self.come = None;
        if let Some(mut asked) = self.asked.take() {
            // From here on a first chunk that nobody takes ends its scan.
            asked.close();
            if let Ok(Ok(chunk)) = asked.try_recv() {
                place = after(&chunk);
            }
        }
        if let Place::From(ScanFrom::Continuation(continuation)) = place {
            // If the queue is full, age will end it.
            let _ = self.handle.submit(Message::EndScan { continuation });
        }
    }
}

fn after(chunk: &Chunk) -> Place {
    chunk.next.clone().map_or(Place::Over, |next| Place::From(ScanFrom::Continuation(next)))
}

/// Lets others run first. Who wakes the owner and goes on keeps it waiting: a runtime runs the woken next on the same thread,
/// and lets no other thread take it; who goes to the end is taken by one, if one has nothing to do.
async fn to_the_end() {
    let mut has_been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<P: Partition> Drop for Chunks<P> {
    fn drop(&mut self) {
        self.finish();
    }
}
