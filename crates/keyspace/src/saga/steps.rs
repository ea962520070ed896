//! A saga's function, run over what is known of its steps.

use std::error::Error;

use affinity_types::codec::{Decode, Encode};
use affinity_types::saga::{SagaStep, StepOutcome};
use bytes::Bytes;

use crate::Destination;

/// Most steps of a saga. One that would take more is undone.
pub const SAGA_STEPS_MAX: usize = 1024;

/// The steps that a saga takes.
pub struct Steps<'a> {
    /// What is known of them; a new one is added when the function comes to it.
    pub(super) steps: Vec<SagaStep>,
    /// Those that the function has come to.
    pub(super) at: usize,
    /// Those among them whose outcome it was told.
    pub(super) told: usize,
    /// Why the run counts for nothing, whatever the function says.
    pub(super) halt: Option<Halt>,
    /// New steps are refused, for this reason.
    pub(super) refused: Option<&'a str>,
}

/// Why a run ends before its function does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The last step has no outcome yet.
    Waiting,
    /// The function does not take the steps that it took before, or takes too many.
    Changed(String),
    /// What a step answered cannot be read.
    Unreadable(String),
}

/// A saga goes on no further in this run: a step waits for its answer, or was refused, or the function gives up. Its function passes it
/// on; only a [refusal](Stop::is_refusal) may be answered by other steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub(super) reason: String,
    refusal: bool,
}

impl Stop {
    /// Gives up for a reason of the saga's own: what was done is undone.
    pub fn because(reason: impl Into<String>) -> Stop {
        Stop { reason: reason.into(), refusal: false }
    }

    /// Whether a step was refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.refusal
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::because(error.to_string())
    }
}

impl Steps<'_> {
    /// Sends a message to a key, exactly once, and gives what its handler answers. `reverse` makes of that the message for the same
    /// key that undoes it; it may be none.
    ///
    /// # Errors
    /// The answer is not there yet, or the message was refused: pass it on.
    pub fn run<K, M, R, B>(
        &mut self,
        to: &Destination<K, M>,
        key: &K,
        message: &M,
        reverse: impl FnOnce(&R) -> B,
    ) -> Result<R, Stop>
    where
        K: Encode + ?Sized,
        M: Encode,
        R: Decode,
        B: Into<Option<M>>,
    {
        let result = self.take(to.keyspace(), key.to_body(), message.to_bytes())?;
        let result = self.read(&result)?;
        if let StepOutcome::Done { reversal: reversal @ None, .. } = &mut self.steps[self.at - 1].outcome {
            *reversal = reverse(&result).into().map(|message| message.to_bytes());
        }
        Ok(result)
    }

    /// Sends a message of which nothing has to be undone: a question, or the last step.
    ///
    /// # Errors
    /// As [`run`](Steps::run).
    pub fn ask<K, M, R>(&mut self, to: &Destination<K, M>, key: &K, message: &M) -> Result<R, Stop>
    where
        K: Encode + ?Sized,
        M: Encode,
        R: Decode,
    {
        let result = self.take(to.keyspace(), key.to_body(), message.to_bytes())?;
        self.read(&result)
    }

    fn read<R: Decode>(&mut self, result: &[u8]) -> Result<R, Stop> {
        R::decode(result).map_err(|error| {
            let reason = format!("what step {} answered cannot be read: {error}", self.at - 1);
            self.stop(Halt::Unreadable(reason))
        })
    }

    fn stop(&mut self, halt: Halt) -> Stop {
        let reason = match &halt {
            Halt::Waiting => "the saga waits for a step".to_owned(),
            Halt::Changed(why) | Halt::Unreadable(why) => why.clone(),
        };
        self.halt = Some(halt);
        Stop::because(reason)
    }

    /// What the next step has answered.
    fn take(&mut self, keyspace: &str, key: Bytes, message: Bytes) -> Result<Bytes, Stop> {
        if let Some(halt) = self.halt.clone() {
            // The function has not passed on what it was given.
            return Err(self.stop(halt));
        }
        let at = self.at;
        self.at += 1;
        let Some(step) = self.steps.get(at) else {
            return Err(self.begin(keyspace, key, message));
        };
        if step.keyspace != keyspace || step.key != key || step.message != message {
            return Err(self.stop(Halt::Changed(format!("its function takes another step {at} than before"))));
        }
        if step.outcome != StepOutcome::Asked {
            self.told = self.at;
        }
        match &step.outcome {
            StepOutcome::Done { result, .. } => Ok(result.clone()),
            StepOutcome::Refused(reason) => Err(Stop { reason: reason.clone(), refusal: true }),
            StepOutcome::Asked => Err(self.stop(Halt::Waiting)),
            StepOutcome::Undone | StepOutcome::Left => {
                Err(self.stop(Halt::Unreadable(format!("what step {at} answered was too long to be kept"))))
            }
        }
    }

    fn begin(&mut self, keyspace: &str, key: Bytes, message: Bytes) -> Stop {
        if self.steps.len() >= SAGA_STEPS_MAX {
            return self.stop(Halt::Changed(format!("a saga takes {SAGA_STEPS_MAX} steps at most")));
        }
        let refused = self.refused.map(str::to_owned);
        let outcome = refused.clone().map_or(StepOutcome::Asked, StepOutcome::Refused);
        self.steps.push(SagaStep { keyspace: keyspace.to_owned(), key, message, outcome });
        match refused {
            Some(reason) => Stop { reason, refusal: true },
            None => self.stop(Halt::Waiting),
        }
    }
}
