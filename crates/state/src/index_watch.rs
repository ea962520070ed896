//! Watching who has an index key.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use thiserror::Error;

use crate::{Update, Watch};

/// A key that comes to an index key or leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexUpdate {
    /// The key has it now. One that had it already may be told so again, when its value's expiry changes.
    Entered(Bytes),
    /// The key does not have it any more, or has no value.
    Left(Bytes),
}

impl IndexUpdate {
    pub(crate) fn encode(enters: bool, key: &[u8]) -> Bytes {
        [&[u8::from(enters)], key].concat().into()
    }

    fn decode(event: &Bytes) -> Option<IndexUpdate> {
        match event.first()? {
            0 => Some(IndexUpdate::Left(event.slice(1..))),
            _ => Some(IndexUpdate::Entered(event.slice(1..))),
        }
    }
}

/// Why a watch of an index key has ended. Watch again, and look who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IndexWatchEnded {
    /// The partition is not led from here any more, or others have written to it.
    #[error("the index key is not watched from here any more")]
    Ended,
    /// The watcher came too late for what was kept for it.
    #[error("the watcher has missed some of what happened")]
    Missed,
}

/// A watch of an index key. Dropping it ends it.
#[derive(Debug)]
pub struct IndexWatch {
    watch: Watch,
    /// Nothing is told behind what was missed.
    missed: bool,
}

impl IndexWatch {
    /// A watch of all that begins with an index key's prefix, from `watch` of that in the index's store.
    #[must_use]
    pub fn new(watch: Watch) -> IndexWatch {
        IndexWatch { watch, missed: false }
    }

    /// The next key that enters or leaves, none left out; pending until there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`IndexWatchEnded`], and nothing after it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<IndexUpdate, IndexWatchEnded>> {
        if self.missed {
            return Poll::Ready(Err(IndexWatchEnded::Missed));
        }
        Poll::Ready(match ready!(self.watch.poll_counted(cx)) {
            Ok((0, Update::Event(event))) => IndexUpdate::decode(&event).ok_or(IndexWatchEnded::Ended),
            Ok(_) => {
                self.missed = true;
                Err(IndexWatchEnded::Missed)
            }
            Err(_) => Err(IndexWatchEnded::Ended),
        })
    }

    /// Waits for the next key that enters or leaves.
    ///
    /// # Errors
    /// As [`poll_next`](IndexWatch::poll_next).
    pub async fn next(&mut self) -> Result<IndexUpdate, IndexWatchEnded> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}
