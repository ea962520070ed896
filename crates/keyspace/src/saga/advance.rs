//! What follows for a saga from the outcome of a step: the only place that changes its record.

use affinity_types::codec::{Decode, Encode};
use affinity_types::effect::{Effect, EffectKind};
use affinity_types::saga::{SagaPhase, SagaRecord, StepOutcome, StepTag};
use bytes::Bytes;

use super::steps::{Halt, Steps};
use super::{AnySaga, NotResumed, Resume, Saga, SagaExists, SagaState, Sagas, records};
use crate::effects::{Emitted, To};
use crate::{Master, Partition, Refused, Store};

/// Bytes of a reason that are kept: it has to fit where nothing else does.
const REASON_MAX_BYTES: usize = 1024;
/// Bytes of a value that a saga's record leaves free while a step is on its way: for why that was refused, and why the saga is stuck.
pub(crate) const ROOM_BYTES: usize = 2 * REASON_MAX_BYTES + 16;

/// A step has an outcome.
pub struct SagaNews<'a> {
    /// Which step of which saga.
    pub(crate) tag: &'a StepTag,
    /// Its answer, or why it was refused.
    pub(crate) outcome: Result<Bytes, String>,
    /// How the saga takes it.
    pub(crate) pass: Pass<'a>,
}

/// How a saga takes news, by how often that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass<'a> {
    /// As its function says.
    Run,
    /// The same, but a new step is refused: it cannot be sent, for this reason.
    RefuseSteps(&'a str),
    /// It is stuck, for this reason.
    Stick(&'a str),
    /// The same, and what came is not kept: it is too long.
    StickWithout(&'a str),
}

impl<K: ?Sized + 'static, S: Saga> AnySaga for Sagas<K, S> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn advance(&self, cx: &mut Master<'_>, news: &SagaNews<'_>) -> Result<(), Refused> {
        let Some(mut record) = heard(cx, self.name(), news, true) else { return Ok(()) };
        let refused = match news.pass {
            Pass::RefuseSteps(reason) => Some(reason),
            _ => None,
        };
        let id = &news.tag.key;
        match (record.phase, &news.outcome) {
            (SagaPhase::Running, _) => forward(self, cx, id, record, refused),
            (_, Ok(_)) => backward(self, cx, id, record),
            (_, Err(why)) => {
                let reason = format!("{}; then step {} was not undone: {why}", record.reason, news.tag.step);
                put_stuck(cx, records(self.name()), id, &mut record, &reason);
                Ok(())
            }
        }
    }
}

/// The record with the outcome of a step; nothing if it does not wait for that.
fn heard(cx: &mut Master<'_>, store: &'static str, news: &SagaNews<'_>, keep: bool) -> Option<SagaRecord> {
    let StepTag { key, token, step: at, reversal, .. } = news.tag;
    // One that was deleted has no more to do with what comes, whatever has its key now.
    let mut record = cx.get(&records(store), key).filter(|record| record.token == *token)?;
    let undone = undoing(&record);
    let step = record.steps.get_mut(*at)?;
    match (record.phase, reversal, &step.outcome) {
        (SagaPhase::Running, false, StepOutcome::Asked) => {
            step.outcome = match &news.outcome {
                Ok(result) if keep => StepOutcome::Done { result: result.clone(), reversal: None },
                Ok(_) => StepOutcome::Left,
                Err(reason) => StepOutcome::Refused(shortened(reason)),
            };
        }
        (SagaPhase::Compensating, true, _) if undone == Some(*at) => {
            if news.outcome.is_ok() {
                step.outcome = StepOutcome::Undone;
            }
        }
        _ => return None,
    }
    Some(record)
}

/// The step that is to be undone next.
fn undoing(record: &SagaRecord) -> Option<usize> {
    let is_done = |outcome: &StepOutcome| matches!(outcome, StepOutcome::Done { reversal: Some(_), .. });
    record.steps.iter().rposition(|step| is_done(&step.outcome))
}

/// Goes on from the results that are there.
fn forward<K: ?Sized, S: Saga>(
    sagas: &Sagas<K, S>,
    cx: &mut Master<'_>,
    id: &Bytes,
    mut record: SagaRecord,
    refused: Option<&str>,
) -> Result<(), Refused> {
    let saga = S::decode(&record.saga)?;
    let known = record.steps.len();
    let mut steps = Steps { steps: record.steps, at: 0, told: 0, halt: None, refused };
    let end = saga.run(&mut steps);
    let Steps { steps, at, told, halt, .. } = steps;
    record.steps = steps;
    record.phase = SagaPhase::Running;
    record.reason.clear();
    let reason = match (halt, end) {
        (Some(Halt::Unreadable(why)), _) => return Err(Refused(why)),
        (Some(Halt::Changed(why)), _) => why,
        (Some(Halt::Waiting), _) => {
            let step = record.steps.len() - 1;
            send(cx, sagas.store.name(), id, &record, (step, false));
            cx.put(&records(sagas.store.name()), id, &record);
            return Ok(());
        }
        (None, Ok(_)) if at < known => format!("its function takes {at} steps, and took {known} before"),
        (None, Ok(answer)) => {
            record.phase = SagaPhase::Committed;
            record.answer = answer.to_bytes();
            put_ended(sagas, cx, id, &record);
            saga.ended(cx, &SagaState::Committed(answer));
            return Ok(());
        }
        (None, Err(stop)) => stop.reason,
    };
    let last = record.steps.last().map(|step| &step.outcome);
    if told < known && matches!(last, Some(StepOutcome::Done { reversal: None, .. })) {
        // It may have to be undone, and only the function could have said how.
        return Err(Refused(reason));
    }
    record.reason = shortened(&reason);
    backward(sagas, cx, id, record)
}

/// Undoes what was done last, if anything is left to undo.
fn backward<K: ?Sized, S: Saga>(
    sagas: &Sagas<K, S>,
    cx: &mut Master<'_>,
    id: &Bytes,
    mut record: SagaRecord,
) -> Result<(), Refused> {
    if let Some(step) = undoing(&record) {
        record.phase = SagaPhase::Compensating;
        send(cx, sagas.store.name(), id, &record, (step, true));
        cx.put(&records(sagas.store.name()), id, &record);
        return Ok(());
    }
    record.phase = SagaPhase::Compensated;
    let (saga, state) = (S::decode(&record.saga)?, SagaState::decode(&record.to_bytes())?);
    put_ended(sagas, cx, id, &record);
    saga.ended(cx, &state);
    Ok(())
}

fn put_ended<K: ?Sized, S: Saga>(sagas: &Sagas<K, S>, cx: &mut Master<'_>, id: &Bytes, record: &SagaRecord) {
    let store = records(sagas.store.name());
    match sagas.kept_ms {
        Some(ms) => {
            let expires = cx.now().plus_ms(ms);
            cx.put_until(&store, id, record, expires);
        }
        None => cx.put(&store, id, record),
    }
}

fn put_stuck(
    cx: &mut Master<'_>,
    store: Store<Bytes, SagaRecord>,
    id: &Bytes,
    record: &mut SagaRecord,
    reason: &str,
) {
    record.phase = match record.phase {
        SagaPhase::Compensating => SagaPhase::StuckCompensating,
        _ => SagaPhase::Stuck,
    };
    record.reason = shortened(reason);
    cx.put(&store, id, record);
    cx.note_stuck(store.name(), reason);
}

/// The saga goes on no further, whatever its function is: only its record is needed for that.
fn stick(cx: &mut Master<'_>, store: &'static str, news: &SagaNews<'_>, reason: &str) {
    let keep = !matches!(news.pass, Pass::StickWithout(_));
    if let Some(mut record) = heard(cx, store, news, keep) {
        put_stuck(cx, records(store), &news.tag.key, &mut record, reason);
    }
}

/// Tells a saga of the partition what became of a step.
pub(crate) fn tell<P: Partition>(
    cx: &mut Master<'_>,
    effect: &Effect,
    pass: Pass<'_>,
) -> Result<(), Refused> {
    let tag = &StepTag::decode(&effect.tag)?;
    let outcome = match effect.kind {
        EffectKind::StepAnswer => Ok(effect.message.clone()),
        _ => Err(effect.reason.clone()),
    };
    let news = SagaNews { tag, outcome, pass };
    let unknown = || Refused(format!("the partition has no sagas in a store {}", tag.store));
    if let Pass::Stick(reason) | Pass::StickWithout(reason) = pass {
        let store = P::STORES.iter().find(|store| **store == tag.store).ok_or_else(unknown)?;
        stick(cx, store, &news, reason);
        return Ok(());
    }
    let saga = P::SAGAS.iter().find(|saga| saga.name() == tag.store).ok_or_else(unknown)?;
    saga.advance(cx, &news)
}

/// Sends a step or its reversal.
fn send(cx: &mut Master<'_>, store: &'static str, id: &Bytes, record: &SagaRecord, which: (usize, bool)) {
    let (at, reversal) = which;
    let step = &record.steps[at];
    let message = match &step.outcome {
        StepOutcome::Done { reversal: Some(message), .. } if reversal => message,
        _ => &step.message,
    };
    let tag = StepTag { store: store.to_owned(), key: id.clone(), token: record.token, step: at, reversal };
    cx.emit_step(Emitted {
        to: To::Keyspace(step.keyspace.clone().into()),
        kind: EffectKind::Step,
        key: step.key.clone(),
        tag: tag.to_bytes(),
        message: message.clone(),
        reason: String::new(),
        delayed: None,
    });
}

/// As much of a reason as is kept.
pub(crate) fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(REASON_MAX_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

impl Master<'_> {
    /// Begins a saga: its first step is sent when this command's changes are acknowledged.
    ///
    /// # Errors
    /// [`SagaExists`]; nothing was changed by this call.
    pub fn begin<K: Encode + ?Sized, S: Saga>(
        &mut self,
        sagas: &Sagas<K, S>,
        id: &K,
        saga: &S,
    ) -> Result<(), SagaExists> {
        let id = id.to_bytes();
        if self.get(&records(sagas.store.name()), &id).is_some() {
            return Err(SagaExists);
        }
        let record = SagaRecord {
            saga: saga.to_bytes(),
            token: self.random(),
            phase: SagaPhase::Running,
            reason: String::new(),
            answer: Bytes::new(),
            steps: Vec::new(),
        };
        if let Err(Refused(why)) = forward(sagas, self, &id, record, None) {
            self.fail(format!("a saga cannot begin: {why}"));
        }
        Ok(())
    }

    /// Goes on with a saga that is stuck.
    ///
    /// # Errors
    /// If there is no such saga, it is not stuck, or cannot go on like this; nothing was changed by this call.
    pub fn resume<K: Encode + ?Sized, S: Saga>(
        &mut self,
        sagas: &Sagas<K, S>,
        id: &K,
        how: Resume,
    ) -> Result<(), NotResumed> {
        let id = id.to_bytes();
        let record = self.get(&records(sagas.store.name()), &id);
        let mut record = record.ok_or_else(|| NotResumed("there is no saga of this id".to_owned()))?;
        let resumed = match (record.phase, how) {
            (SagaPhase::Stuck, Resume::Again) => forward(sagas, self, &id, record, None),
            (SagaPhase::StuckCompensating, Resume::Again) => backward(sagas, self, &id, record),
            (SagaPhase::Stuck, Resume::Leave) => {
                let last =
                    record.steps.last_mut().filter(|step| matches!(step.outcome, StepOutcome::Done { .. }));
                if let Some(step) = last {
                    step.outcome = StepOutcome::Left;
                }
                backward(sagas, self, &id, record)
            }
            (SagaPhase::StuckCompensating, Resume::Leave) => {
                if let Some(step) = undoing(&record) {
                    record.steps[step].outcome = StepOutcome::Left;
                }
                backward(sagas, self, &id, record)
            }
            _ => return Err(NotResumed("the saga is not stuck".to_owned())),
        };
        resumed.map_err(|Refused(why)| NotResumed(why))
    }
}
