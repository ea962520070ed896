//! Sagas: steps over several partitions that are all done in the end, or all undone, whatever fails.
//!
//! ```text
//!   handler: begin ─▶ record: step 0 asked ──▶ step 0 at its key
//!                     record: result 0, how to undo it, step 1 asked ──▶ step 1 at its key
//!                     ...                                                refused: no
//!                     record: undoing 0 ──▶ reversal 0 at its key
//!                     record: undone
//! ```
//!
//! A saga is a value of a store in the partition that began it. Its function is written as the plain sequence of its steps and run
//! anew whenever an answer comes, with the results that are in the record, up to the step that has none yet; that one is sent
//! as an effect, in the group of the record. So a saga is as durable as any value, each step happens exactly once, and
//! after a crash it goes on where it was, on whatever node.
//!
//! **It ends** committed, or compensated: a step that is refused, or a function that gives up, has the steps before it undone,
//! from the last to the first, by messages that were put down with their results. Or it is **stuck**, with the reason in its
//! record, when a reversal is refused or its function fails, until somebody [resumes](crate::Master::resume) it. It waits as
//! long as a partition that it needs has no master.
//!
//! **It isolates nothing.** Between two steps, and until all is undone, others see what is done so far, and may change it: money that
//! is withdrawn and not yet deposited is in no account. So a reversal is a new decision, not a return to what was: it has to be
//! possible whatever happened meanwhile. Where that hurts, let a step reserve (put a mark or a part aside, which the reversal takes
//! back), let the last step be the one that cannot be undone, and let handlers refuse what is reserved.

mod advance;
mod steps;

use std::marker::PhantomData;

use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::saga::{SagaPhase, SagaRecord, StepOutcome};
use bytes::Bytes;
use thiserror::Error;

use crate::{Master, Refused, Store};

pub use advance::SagaNews;
pub(crate) use advance::{Pass, ROOM_BYTES, shortened, tell};
pub use steps::{SAGA_STEPS_MAX, Steps, Stop};

/// Steps over several partitions.
///
/// ```
/// use affinity_keyspace::{Destination, Saga, Steps, Stop};
/// use affinity_types::codec::{CodecError, Decode, Encode};
///
/// /// What the keyspace `accounts` takes: an amount to add. It answers the balance.
/// const ACCOUNTS: Destination<str, i64> = Destination::new("accounts");
///
/// struct Transfer {
///     amount: i64,
/// }
///
/// impl Saga for Transfer {
///     type Answer = i64;
///
///     fn run(&self, steps: &mut Steps<'_>) -> Result<i64, Stop> {
///         let left = steps.run(&ACCOUNTS, "ada", &-self.amount, |_: &i64| self.amount)?;
///         if left < 10 {
///             return Err(Stop::because("ada has to keep 10"));
///         }
///         steps.run(&ACCOUNTS, "ben", &self.amount, |_: &i64| -self.amount)?;
///         Ok(left)
///     }
/// }
///
/// impl Encode for Transfer {
///     fn encode(&self, out: &mut Vec<u8>) {
///         self.amount.encode(out);
///     }
/// }
///
/// impl Decode for Transfer {
///     fn decode(bytes: &[u8]) -> Result<Transfer, CodecError> {
///         Ok(Transfer { amount: i64::decode(bytes)? })
///     }
/// }
/// ```
pub trait Saga: Encode + Decode + 'static {
    /// What it has to say when all is done.
    type Answer: Encode + Decode;

    /// Takes the steps, one after the other. It is a function of the saga and of what the steps answer, nothing else: it runs
    /// again for each answer, and has to take the same steps then. One whose code has changed so that it would not is undone;
    /// but for the step that was done last, whose reversal it would have had to name: with that it is stuck until its code is mended, or
    /// somebody leaves the step as it is.
    ///
    /// # Errors
    /// What steps give, passed on; or a reason of its own. Everything done so far is undone then.
    fn run(&self, steps: &mut Steps<'_>) -> Result<Self::Answer, Stop>;

    /// Hears that it has ended, committed or compensated, in the group which says so.
    fn ended(&self, _cx: &mut Master<'_>, _state: &SagaState<Self::Answer>) {}
}

/// How far a saga is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SagaState<A> {
    /// It takes its steps.
    Running {
        /// How many are done.
        done: usize,
    },
    /// What was done is being undone.
    Compensating {
        /// Why.
        reason: String,
    },
    /// All steps are done.
    Committed(A),
    /// All that was done is undone.
    Compensated {
        /// Why.
        reason: String,
        /// Steps that are left as they are, because somebody said so.
        left: usize,
    },
    /// It cannot go on until somebody resumes it.
    Stuck {
        /// Why.
        reason: String,
    },
}

impl<A> SagaState<A> {
    /// Whether it goes on no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self, SagaState::Committed(_) | SagaState::Compensated { .. })
    }

    /// Whether it waits for somebody to look at it.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        matches!(self, SagaState::Stuck { .. })
    }
}

impl<A: Decode> Decode for SagaState<A> {
    fn decode(bytes: &[u8]) -> Result<SagaState<A>, CodecError> {
        let SagaRecord { phase, reason, answer, steps, .. } = SagaRecord::decode(bytes)?;
        let count = |is: fn(&StepOutcome) -> bool| steps.iter().filter(|step| is(&step.outcome)).count();
        Ok(match phase {
            SagaPhase::Running => {
                SagaState::Running { done: count(|step| matches!(step, StepOutcome::Done { .. })) }
            }
            SagaPhase::Compensating => SagaState::Compensating { reason },
            SagaPhase::Committed => SagaState::Committed(A::decode(&answer)?),
            SagaPhase::Compensated => {
                SagaState::Compensated { reason, left: count(|step| *step == StepOutcome::Left) }
            }
            SagaPhase::Stuck | SagaPhase::StuckCompensating => SagaState::Stuck { reason },
        })
    }
}

/// Sagas of one kind, with the store of the partition that has their records: see [`Partition::SAGAS`](crate::Partition::SAGAS).
pub struct Sagas<K: ?Sized, S: Saga> {
    store: Store<K, SagaState<S::Answer>>,
    kept_ms: Option<u64>,
    saga: PhantomData<fn(S)>,
}

impl<K: ?Sized, S: Saga> Sagas<K, S> {
    /// Sagas whose records are in the store `store`, which must be among [`Partition::STORES`](crate::Partition::STORES) and is for
    /// them alone.
    #[must_use]
    pub const fn new(store: &'static str) -> Sagas<K, S> {
        Sagas { store: Store::new(store), kept_ms: None, saga: PhantomData }
    }

    /// The same, but what has ended is deleted so many milliseconds later; else it is there until it is deleted.
    #[must_use]
    pub const fn kept_for(self, ms: u64) -> Sagas<K, S> {
        Sagas { store: self.store, kept_ms: Some(ms), saga: PhantomData }
    }

    /// The store of how far they are: to read, watch, index and scan. One whose value is deleted ends there, with what
    /// it has done so far; another one may begin under its id, and does not hear of it.
    #[must_use]
    pub const fn store(&self) -> &Store<K, SagaState<S::Answer>> {
        &self.store
    }
}

/// There is a saga of this id: running, or kept after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is a saga of this id")]
pub struct SagaExists;

/// A saga was not resumed, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotResumed(pub String);

/// How a saga that is stuck goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It tries again what it is stuck at.
    Again,
    /// It leaves what it is stuck at as it is, and undoes what it has done before.
    Leave,
}

/// Sagas of any kind.
pub trait AnySaga: Send + Sync + 'static {
    /// Name of the store of their records.
    fn name(&self) -> &'static str;

    /// Goes on with one of which there is news.
    ///
    /// # Errors
    /// If it cannot be read, or sends what it must not.
    fn advance(&self, cx: &mut Master<'_>, news: &SagaNews<'_>) -> Result<(), Refused>;
}

/// A key whose bytes are at hand.
type Id = Bytes;

/// The records in a store of sagas.
const fn records(store: &'static str) -> Store<Id, SagaRecord> {
    Store::new(store)
}
