//! The contract of a coordinator.

use std::future::Future;
use std::pin::Pin;

use crate::{AttemptId, Error, ErrorKind, Mastership, PartitionName, Revision, Seen};

/// A boxed future: what the calls of the contract return, so that it can be used behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A coordinator: of each partition one entry, its [`Mastership`], which changes by compare-and-set alone.
///
/// ```text
///   candidate a                       bank/3                        candidate b
///                            r0: epoch 0, nobody
///   read ──────────────────▶ r0                  r0 ◀────────────────────── read
///   (prepares its writer)                             (prepares its writer, longer)
///   compare_and_set(r0, 1) ▶ r1: epoch 1, a
///   ◀───────────── Won(r1)                        r1 ◀── compare_and_set(r0, 1)
///                                                    Lost(r1: epoch 1, a) ─────▶
/// ```
///
/// # The law
/// 1. **One order**: the calls for one partition are linearizable: each takes effect at one moment between its beginning
///    and its answer. So a read sees every compare-and-set that was answered before it began, and reads never go
///    back. Partitions have nothing to do with each other.
/// 2. **One winner a revision**: a compare-and-set is won if the entry has the expected revision at that moment. It
///    gets a higher revision then, so of all that expect the same one at most one is won, ever.
/// 3. **Epochs grow**: at the expected revision, a mastership that [may not follow](Mastership::may_follow) the one seen
///    is `Invalid`. Epochs may be skipped: a candidate takes one above what its log has seen. A stale expectation is
///    [`Cas::Lost`] before anything else is judged, so that a candidate which is merely late learns what is there.
/// 4. **Kept**: what was won stays until the next one is won, whatever becomes of its owner. Nothing expires: a
///    coordinator does not judge who is alive.
/// 5. **Never a guess**: `Unavailable` means that nothing was done *and nothing will be*. After `Unknown`, and when the
///    future is dropped before its answer, the call may have been done or be done later: see [`settled`].
///
/// Data lost or restored from a backup break all of it, and a coordinator cannot know. That is why epochs are also
/// held against the log: a candidate takes `max(coordinator, highest in the log) + 1`, and never serves if its replay
/// meets its epoch or a higher one in another's hand.
///
/// Calls begin when their future is first polled.
pub trait Coordinator: Send + Sync + 'static {
    /// The entry of a partition, linearizable: never from a follower that may lag. One that was never taken has
    /// [`Mastership::NONE`] at [`Revision::NONE`].
    ///
    /// # Errors
    /// `Invalid` for a name that is [not possible](PartitionName::validate), `Unavailable`; never `Unknown`, since a read
    /// does nothing.
    fn read<'a>(&'a self, partition: &'a PartitionName) -> BoxFuture<'a, Result<Seen, Error>>;

    /// Puts `new` into the entry if its revision is `expected`.
    ///
    /// # Errors
    /// `Invalid` if the name is not possible, or if `new` may not follow what is there; `Unavailable`, `Unknown`.
    fn compare_and_set<'a>(
        &'a self,
        partition: &'a PartitionName,
        expected: Revision,
        new: Mastership,
    ) -> BoxFuture<'a, Result<Cas, Error>>;
}

/// The answer to a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    /// It was done; the entry has this revision now.
    Won(Revision),
    /// It was not done and never will be: another one came first, and this is there.
    Lost(Seen),
}

/// What became of `attempt`, which expected `expected` and whose answer was lost, now that the entry is `seen`. Pure:
/// every candidate, coordinator and simulation decides it the same way.
///
/// ```text
///   seen                                   means
///   ─────────────────────────────────────  ─────────────────────────────────────────────────────────────
///   one's own attempt                      Won
///   another attempt, another revision      Lost: for ever, since the expected revision is gone. It may have
///                                          been won and followed since, which is the same for the candidate
///   the expected revision still            None, open: it may yet be done
/// ```
///
/// While it is open, *repeating the same attempt* settles it ([`resolve`]): the two expect one revision, so at most one of
/// them is done, whichever comes first. Not so a new attempt: the old one may come before it and make it lose.
#[must_use]
pub fn settled(seen: &Seen, expected: Revision, attempt: AttemptId) -> Option<Cas> {
    if seen.mastership.attempt == attempt {
        Some(Cas::Won(seen.revision))
    } else if seen.revision != expected {
        Some(Cas::Lost(seen.clone()))
    } else {
        None
    }
}

/// Settles a compare-and-set that answered `Unknown`, or whose future was dropped, by repeating it, so that a candidate
/// who wanted to win may win now. Call it with exactly what was attempted, again and again until it answers. Who no longer
/// wants to win reads and asks [`settled`].
///
/// # Errors
/// `Unknown` as long as it is not settled, whatever kept the coordinator from answering: that the repetition was
/// `Unavailable` says nothing of the first one. `Invalid` if it is not what was attempted.
pub async fn resolve<C: Coordinator + ?Sized>(
    coordinator: &C,
    partition: &PartitionName,
    expected: Revision,
    attempted: &Mastership,
) -> Result<Cas, Error> {
    match coordinator.compare_and_set(partition, expected, attempted.clone()).await {
        Ok(Cas::Lost(seen)) => Ok(settled(&seen, expected, attempted.attempt).unwrap_or(Cas::Lost(seen))),
        Err(error) if error.kind() != ErrorKind::Invalid => {
            let message = format!("attempt {} at {partition} is not settled yet", attempted.attempt);
            Err(Error::new(ErrorKind::Unknown, message).caused_by(error))
        }
        answer => answer,
    }
}
