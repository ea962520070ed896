//! A saga's record: what it has done so far, and how to undo that. It is a value of a store, like any other.

use bytes::Bytes;

use crate::codec::{CodecError, Decode, Encode};
use crate::control::{put_avro_bytes, take_avro_bytes, take_avro_str};
use crate::varint;

/// Avro schema of the record.
pub const SAGA_SCHEMA: &str = r#"{"type":"record","name":"Saga","namespace":"affinity","doc":"Steps over several partitions, and how each is undone.","fields":[{"name":"saga","type":"bytes"},{"name":"token","type":"long"},{"name":"phase","type":"int"},{"name":"reason","type":"string"},{"name":"answer","type":"bytes"},{"name":"steps","type":{"type":"array","items":{"type":"record","name":"SagaStep","fields":[{"name":"keyspace","type":"string"},{"name":"key","type":"bytes"},{"name":"message","type":"bytes"},{"name":"outcome","type":"int"},{"name":"result","type":"bytes"},{"name":"reversal","type":["null","bytes"]},{"name":"reason","type":"string"}]}}}]}"#;

/// How far a saga is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SagaPhase {
    /// A step is on its way.
    Running,
    /// What was done is being undone.
    Compensating,
    /// All steps are done.
    Committed,
    /// All that was done is undone.
    Compensated,
    /// It cannot go on.
    Stuck,
    /// It cannot go on undoing.
    StuckCompensating,
}

const PHASES: [SagaPhase; 6] = [
    SagaPhase::Running,
    SagaPhase::Compensating,
    SagaPhase::Committed,
    SagaPhase::Compensated,
    SagaPhase::Stuck,
    SagaPhase::StuckCompensating,
];

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It is on its way.
    Asked,
    /// It is done.
    Done {
        /// What its receiver has answered.
        result: Bytes,
        /// The message that undoes it.
        reversal: Option<Bytes>,
    },
    /// Its receiver has refused it, for this reason.
    Refused(String),
    /// It is undone.
    Undone,
    /// It is left as it is, though the saga is undone.
    Left,
}

/// A message to a key, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaStep {
    /// The receiver's keyspace.
    pub keyspace: String,
    /// The key that it is for.
    pub key: Bytes,
    /// The message.
    pub message: Bytes,
    /// What became of it.
    pub outcome: StepOutcome,
}

/// All that is known of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaRecord {
    /// The saga itself, as the application encodes it.
    pub saga: Bytes,
    /// Drawn when it began: tells it from an earlier one of the same key.
    pub token: u64,
    /// How far it is.
    pub phase: SagaPhase,
    /// Why it is undone, or stuck.
    pub reason: String,
    /// What a committed saga has answered.
    pub answer: Bytes,
    /// Its steps, in order.
    pub steps: Vec<SagaStep>,
}

impl Encode for SagaRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        put_avro_bytes(out, &self.saga);
        varint::put_signed(out, self.token.cast_signed());
        put_number(out, PHASES.iter().position(|phase| *phase == self.phase).unwrap_or(0));
        put_avro_bytes(out, self.reason.as_bytes());
        put_avro_bytes(out, &self.answer);
        if !self.steps.is_empty() {
            put_number(out, self.steps.len());
            self.steps.iter().for_each(|step| step.encode(out));
        }
        put_number(out, 0);
    }
}

impl Decode for SagaRecord {
    fn decode(bytes: &[u8]) -> Result<SagaRecord, CodecError> {
        let mut input = bytes;
        let record = take_record(&mut input).filter(|_| input.is_empty());
        record.ok_or_else(|| CodecError("it is no saga".to_owned()))
    }
}

impl SagaStep {
    fn encode(&self, out: &mut Vec<u8>) {
        put_avro_bytes(out, self.keyspace.as_bytes());
        put_avro_bytes(out, &self.key);
        put_avro_bytes(out, &self.message);
        let (number, result, reversal, reason) = match &self.outcome {
            StepOutcome::Asked => (0, None, None, ""),
            StepOutcome::Done { result, reversal } => (1, Some(result), reversal.as_ref(), ""),
            StepOutcome::Refused(reason) => (2, None, None, reason.as_str()),
            StepOutcome::Undone => (3, None, None, ""),
            StepOutcome::Left => (4, None, None, ""),
        };
        put_number(out, number);
        put_avro_bytes(out, result.map_or(&[], |result| result));
        put_number(out, usize::from(reversal.is_some()));
        if let Some(reversal) = reversal {
            put_avro_bytes(out, reversal);
        }
        put_avro_bytes(out, reason.as_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    varint::put_signed(out, i64::try_from(number).expect("what is counted here is in memory"));
}

fn take_number(input: &mut &[u8]) -> Option<usize> {
    usize::try_from(varint::take_signed(input)?).ok()
}

fn take_owned(input: &mut &[u8]) -> Option<Bytes> {
    take_avro_bytes(input).map(Bytes::copy_from_slice)
}

fn take_record(input: &mut &[u8]) -> Option<SagaRecord> {
    let saga = take_owned(input)?;
    let token = varint::take_signed(input)?.cast_unsigned();
    let phase = *PHASES.get(take_number(input)?)?;
    let reason = take_avro_str(input)?.to_owned();
    let answer = take_owned(input)?;
    let mut steps = Vec::new();
    for _ in 0..take_number(input)? {
        steps.push(take_step(input)?);
    }
    let ended = steps.is_empty() || take_number(input)? == 0;
    ended.then_some(SagaRecord { saga, token, phase, reason, answer, steps })
}

fn take_step(input: &mut &[u8]) -> Option<SagaStep> {
    let keyspace = take_avro_str(input)?.to_owned();
    let (key, message) = (take_owned(input)?, take_owned(input)?);
    let number = take_number(input)?;
    let result = take_owned(input)?;
    let reversal = match take_number(input)? {
        0 => None,
        1 => Some(take_owned(input)?),
        _ => return None,
    };
    let reason = take_avro_str(input)?.to_owned();
    let outcome = match number {
        0 => StepOutcome::Asked,
        1 => StepOutcome::Done { result, reversal },
        2 => StepOutcome::Refused(reason),
        3 => StepOutcome::Undone,
        4 => StepOutcome::Left,
        _ => return None,
    };
    Some(SagaStep { keyspace, key, message, outcome })
}

/// Which step of which saga an answer is for: what a step's effect has as its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTag {
    /// The store of the saga's record.
    pub store: String,
    /// The saga's key there.
    pub key: Bytes,
    /// The saga's token.
    pub token: u64,
    /// Number of the step, from 0.
    pub step: usize,
    /// Whether it is the step's reversal.
    pub reversal: bool,
}

impl Encode for StepTag {
    fn encode(&self, out: &mut Vec<u8>) {
        put_avro_bytes(out, self.store.as_bytes());
        put_avro_bytes(out, &self.key);
        varint::put_signed(out, self.token.cast_signed());
        put_number(out, self.step);
        put_number(out, usize::from(self.reversal));
    }
}

impl Decode for StepTag {
    fn decode(bytes: &[u8]) -> Result<StepTag, CodecError> {
        let take = |mut input: &[u8]| {
            let (store, key) = (take_avro_str(&mut input)?.to_owned(), take_owned(&mut input)?);
            let token = varint::take_signed(&mut input)?.cast_unsigned();
            let (step, reversal) = (take_number(&mut input)?, take_number(&mut input)? == 1);
            input.is_empty().then_some(StepTag { store, key, token, step, reversal })
        };
        take(bytes).ok_or_else(|| CodecError("it names no step of a saga".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_no_cut_one_does() {
        let outcomes = [
            StepOutcome::Asked,
            StepOutcome::Done { result: "7".into(), reversal: Some("back".into()) },
            StepOutcome::Done { result: Bytes::new(), reversal: None },
            StepOutcome::Refused("no".into()),
            StepOutcome::Undone,
            StepOutcome::Left,
        ];
        let step = |outcome: &StepOutcome| SagaStep {
            keyspace: "accounts".into(),
            key: "ada".into(),
            message: "30".into(),
            outcome: outcome.clone(),
        };
        for (phase, steps) in PHASES.iter().zip((0..=5).rev()) {
            let record = SagaRecord {
                saga: "transfer".into(),
                token: u64::MAX - steps as u64,
                phase: *phase,
                reason: "why".into(),
                answer: "a".into(),
                steps: outcomes.iter().take(steps).map(step).collect(),
            };
            let bytes = record.to_bytes();
            assert_eq!(SagaRecord::decode(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                assert!(SagaRecord::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_schema() {
        let done = StepOutcome::Done { result: "r".into(), reversal: Some("b".into()) };
        let step = SagaStep { keyspace: "k".into(), key: "a".into(), message: "m".into(), outcome: done };
        let record = SagaRecord {
            saga: "s".into(),
            token: 3,
            phase: SagaPhase::Compensating,
            reason: "y".into(),
            answer: Bytes::new(),
            steps: vec![step],
        };
        assert_eq!(&record.to_bytes()[..], b"\x02s\x06\x02\x02y\0\x02\x02k\x02a\x02m\x02\x02r\x02\x02b\0\0");
    }

    #[test]
    fn a_tag_comes_back() {
        let (store, key) = ("transfers".into(), "7".into());
        let tag = StepTag { store, key, token: 1 << 63, step: 300, reversal: true };
        assert_eq!(StepTag::decode(&tag.to_bytes()), Ok(tag));
        assert!(StepTag::decode(b"\x02").is_err());
    }
}
