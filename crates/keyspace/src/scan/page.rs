//! Scans by pages, for those who keep nothing between two of them but a token.

use affinity_types::codec::Decode;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Continuation, KeyValue, ScanAsk, ScanFrom};
use crate::message::Message;
use crate::{Failure, Handle, KeyRange, Partition, Reply, Store};

/// A part of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<K, V> {
    /// The entries, in the order of the range: none, or fewer than asked for, do not mean that it ends.
    pub entries: Vec<KeyValue<K, V>>,
    /// The token that the next page is asked for with; `None` after the last.
    pub next: Option<Bytes>,
}

/// Pages of a scan, all of one moment as those of a [`PartitionScan`](crate::PartitionScan) are, for as long as that lasts.
impl<P: Partition> Handle<P> {
    /// The first page of a range of a store: up to `entries`, and no more than a chunk has. Who does not go on to the last
    /// page should [end](Handle::end_pages) the scan.
    ///
    /// # Errors
    /// As [`PartitionScan::next`](crate::PartitionScan::next).
    pub async fn first_page<K, V: Decode>(
        &self,
        store: &Store<K, V>,
        range: KeyRange,
        entries: usize,
    ) -> Reply<Page<K::Owned, V>, P::Error>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        self.page(store, ScanFrom::Range(range), entries).await
    }

    /// The page behind another; with the same token again, the same page, but for that after the last page its scan is over.
    ///
    /// # Errors
    /// As [`first_page`](Handle::first_page); `ScanExpired` if the scan is over or was begun elsewhere, `Invalid` if no owner
    /// gave this token for this store.
    pub async fn next_page<K, V: Decode>(
        &self,
        store: &Store<K, V>,
        token: &[u8],
        entries: usize,
    ) -> Reply<Page<K::Owned, V>, P::Error>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        let continuation = Continuation::of_token(token).ok_or(Failure::Invalid(NO_TOKEN))?;
        self.page(store, ScanFrom::Continuation(continuation), entries).await
    }

    /// Nobody asks for the next page any more.
    ///
    /// # Errors
    /// `Invalid` if no owner gave this token, `Overloaded` or `Unavailable` if it was not sent; age ends the scan then.
    pub fn end_pages(&self, token: &[u8]) -> Result<(), Failure<P::Error>> {
        let continuation = Continuation::of_token(token).ok_or(Failure::Invalid(NO_TOKEN))?;
        self.submit(Message::EndScan { continuation })
    }

    async fn page<K, V: Decode>(
        &self,
        store: &Store<K, V>,
        from: ScanFrom,
        entries: usize,
    ) -> Reply<Page<K::Owned, V>, P::Error>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        let source = self.source(store);
        let store = self.store(source.store).ok_or(Failure::Invalid("the keyspace has no such store"))?;
        let ask = ScanAsk { store, from, limit: usize::MAX, most: entries };
        let (reply, chunk) = oneshot::channel();
        self.submit(Message::Scan { ask, deadline: None, reply })?;
        let chunk = chunk.await.unwrap_or(Err(Failure::Unavailable))?;
        let next = chunk.next.as_ref().map(Continuation::to_token);
        let entries = KeyValue::read_all(&source, chunk)?;
        Ok(Page { entries, next })
    }
}

const NO_TOKEN: &str = "this is no token of a scan";
