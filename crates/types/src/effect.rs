//! Effects in the changelog: messages that a handler has sent to other partitions, as records of the group that decided them.
//!
//! ```text
//!   key (Control)                value (Effect, or Control)
//!   sent     receiver  0         the number of the last effect sent to that partition
//!   effect   receiver  n         the effect, until the receiver has it
//!   applied  sender    0         the number of the last effect applied that came from that partition
//!   delayed  token     0         an effect whose time has not come: it has no number yet
//! ```
//!
//! Numbers are dense for each pair of partitions and never begin again. All these are keyed records: compaction keeps the
//! last of each for ever.

use bytes::Bytes;

use crate::control::{Control, frame_body, frame_head, put_avro_bytes, take_avro_bytes, take_avro_str};
use crate::wire::WireError;
use crate::{EventTime, varint};

/// Avro schema of an effect.
pub const EFFECT_SCHEMA: &str = r#"{"type":"record","name":"Effect","namespace":"affinity","doc":"A message from one partition to another: not data.","fields":[{"name":"kind","type":"long"},{"name":"to","type":"string"},{"name":"key","type":"bytes"},{"name":"tag","type":"bytes"},{"name":"message","type":"bytes"},{"name":"reason","type":"string"},{"name":"due","type":"long"}]}"#;

/// What an effect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// A message, which nobody answers.
    Tell,
    /// A message whose answer comes back as an effect.
    Ask,
    /// The answer to one.
    Answer,
    /// A message that was refused comes back.
    Refusal,
    /// A step of a saga, or its reversal: a message whose answer comes back to the saga.
    Step,
    /// The answer to one.
    StepAnswer,
    /// A step that was refused comes back.
    StepRefusal,
}

const KINDS: [EffectKind; 7] = [
    EffectKind::Tell,
    EffectKind::Ask,
    EffectKind::Answer,
    EffectKind::Refusal,
    EffectKind::Step,
    EffectKind::StepAnswer,
    EffectKind::StepRefusal,
];

/// A message from one partition to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What it is.
    pub kind: EffectKind,
    /// The receiver: a keyspace, and for a numbered effect its partition, as `keyspace/partition`.
    pub to: String,
    /// The key that it is for; of an answer or refusal, the key that the message was for.
    pub key: Bytes,
    /// What the sender wants to see again with answer or refusal.
    pub tag: Bytes,
    /// The message, or the answer to it; of a refusal, the message that was refused.
    pub message: Bytes,
    /// Of a refusal, why it was refused.
    pub reason: String,
    /// Not before this time.
    pub due: EventTime,
}

impl Effect {
    /// The record frame under the id that the `Effect` schema has in this changelog.
    #[must_use]
    pub fn frame(&self, schema_id: u32) -> Bytes {
        let bytes = self.to.len() + self.key.len() + self.tag.len() + self.message.len() + self.reason.len();
        let mut out = frame_head(schema_id, 24 + bytes);
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(0);
        varint::put_signed(&mut out, i64::try_from(kind).unwrap_or(0));
        put_avro_bytes(&mut out, self.to.as_bytes());
        put_avro_bytes(&mut out, &self.key);
        put_avro_bytes(&mut out, &self.tag);
        put_avro_bytes(&mut out, &self.message);
        put_avro_bytes(&mut out, self.reason.as_bytes());
        varint::put_signed(&mut out, self.due.0);
        out.into()
    }

    /// Reads a record frame, whatever its schema id; what it holds shares the frame's bytes.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if it is not a frame of the `Effect` schema.
    pub fn parse(frame: &Bytes) -> Result<Effect, WireError> {
        let parse = || {
            let mut input = frame_body(frame)?;
            let kind = *KINDS.get(usize::try_from(varint::take_signed(&mut input)?).ok()?)?;
            let to = std::str::from_utf8(take_avro_bytes(&mut input)?).ok()?.to_owned();
            let mut bytes = || Some(frame.slice_ref(take_avro_bytes(&mut input)?));
            let (key, tag, message) = (bytes()?, bytes()?, bytes()?);
            let reason = take_avro_str(&mut input)?.to_owned();
            let due = EventTime(varint::take_signed(&mut input)?);
            input.is_empty().then_some(Effect { kind, to, key, tag, message, reason, due })
        };
        parse().ok_or(WireError::Malformed("effect"))
    }
}

/// The key of the number of the last effect sent to `receiver`.
#[must_use]
pub fn sent(receiver: &str) -> Control<'_> {
    Control { kind: "sent", scope: receiver, number: 0 }
}

/// The key of the number of the last effect applied from `sender`.
#[must_use]
pub fn applied(sender: &str) -> Control<'_> {
    Control { kind: "applied", scope: sender, number: 0 }
}

/// The key of effect number `number` to `receiver`.
#[must_use]
pub fn outgoing(receiver: &str, number: u64) -> Control<'_> {
    Control { kind: "effect", scope: receiver, number }
}

/// The key of an effect whose time has not come.
#[must_use]
pub fn delayed(token: &str) -> Control<'_> {
    Control { kind: "delayed", scope: token, number: 0 }
}

/// Whether a record with this key is part of a partition's state.
#[must_use]
pub fn is_state(key: &Control<'_>) -> bool {
    matches!(key.kind, "sent" | "applied" | "effect" | "delayed")
}

/// The value that stands for a number.
#[must_use]
pub fn number(number: u64) -> Control<'static> {
    Control { kind: "number", scope: "", number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_a_confluent_frame_of_its_schema() {
        for kind in KINDS {
            let effect = Effect {
                kind,
                to: "bank/3".into(),
                key: "ada".into(),
                tag: Bytes::new(),
                message: "7".into(),
                reason: "no".into(),
                due: EventTime(-1),
            };
            let frame = effect.frame(258);
            assert_eq!(Effect::parse(&frame), Ok(effect));
            assert!(Effect::parse(&frame.slice(..frame.len() - 1)).is_err());
        }
        let tell = Effect {
            kind: EffectKind::Tell,
            to: "b/0".into(),
            key: "k".into(),
            tag: Bytes::new(),
            message: "m".into(),
            reason: String::new(),
            due: EventTime(0),
        };
        assert_eq!(&tell.frame(3)[..], b"\0\0\0\0\x03\0\x06b/0\x02k\0\x02m\0\0");
        assert!(Effect::parse(&Bytes::from_static(b"\0\0\0\0\x03\x08")).is_err());
    }
}
