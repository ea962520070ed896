//! The bytes of a group's metadata, alike in every log. Settled in `docs/adr/0001-changelog-bytes.md`.
//!
//! Three pieces, each used where a log needs it:
//!
//! ```text
//! attributes        { tag: varint, length: varint, bytes }*       of a group, or of a record
//! record header     version: u8 = 1 | kind: u8 | epoch, sequence, index, count: varint
//!                   | length: varint | record attributes | group attributes (last record of the group only)
//! ```
//!
//! Kafka carries the record header in one header named [`HEADER`] on every record; the embedded log carries what it
//! says once per group. A reader skips attributes with an **even** tag that it does not know and refuses **odd** ones:
//! so later versions add what may be overlooked under even tags, and what may not under odd ones.

use bytes::Bytes;
use thiserror::Error;

use crate::{Attributes, Epoch, EventTime, InputPosition, Offset, Record, RecordKind, Request, RequestId};
use crate::{Sequence, Version, varint};

/// Name of the one header that a record of ours has on Kafka.
pub const HEADER: &str = "aff";

/// Version of the record header that this build writes, and the newest it reads.
pub const HEADER_VERSION: u8 = 1;

const GROUP_REQUEST: u64 = 1;
const GROUP_POSITION: u64 = 3;
const RECORD_EXPIRES: u64 = 1;
const RECORD_EVENT_TIME: u64 = 2;
const RECORD_REPAIRS: u64 = 3;

/// Bytes that are not what this module writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end too early, or a number in them is too large.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// An attribute that must be understood and is not: a newer version wrote it.
    #[error("{what} attribute {tag} is unknown: a newer version wrote it")]
    UnknownAttribute {
        /// Of a group or of a record.
        what: &'static str,
        /// Its tag.
        tag: u64,
    },
    /// A record header of a version that this build does not read.
    #[error("record header version {0} is unknown: a newer version wrote it")]
    UnknownVersion(u8),
}

impl RecordKind {
    /// The number that stands for it in any log.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            RecordKind::Main => 0,
            RecordKind::Store => 1,
            RecordKind::Control => 2,
        }
    }

    /// The kind that `number` stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<RecordKind> {
        [RecordKind::Main, RecordKind::Store, RecordKind::Control].into_iter().find(|k| k.number() == number)
    }
}

fn put_attribute(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    varint::put(out, tag);
    varint::put(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Takes the next attribute: its tag and its bytes.
fn take_attribute<'a>(input: &mut &'a [u8], what: &'static str) -> Result<(u64, &'a [u8]), WireError> {
    let mut take = || {
        let tag = varint::take(input)?;
        let length = varint::take(input)?;
        Some((tag, varint::take_bytes(input, length)?))
    };
    take().ok_or(WireError::Malformed(what))
}

fn unknown(what: &'static str, tag: u64) -> Result<(), WireError> {
    if tag.is_multiple_of(2) { Ok(()) } else { Err(WireError::UnknownAttribute { what, tag }) }
}

/// Appends the attributes of a group.
pub fn put_group_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let mut value = Vec::new();
    if let Some(request) = &attributes.request {
        value.extend_from_slice(&request.id.client.to_le_bytes());
        value.extend_from_slice(&request.hash.to_le_bytes());
        varint::put(&mut value, request.id.sequence);
        match request.id.issued {
            None => value.push(0),
            Some(at) => {
                value.push(1);
                varint::put_signed(&mut value, at.0);
            }
        }
        value.extend_from_slice(&request.result);
        put_attribute(out, GROUP_REQUEST, &value);
    }
    for position in &attributes.positions {
        value.clear();
        varint::put(&mut value, position.offset.0);
        value.extend_from_slice(position.input.as_bytes());
        put_attribute(out, GROUP_POSITION, &value);
    }
}

/// Reads the attributes of a group, all of `input`.
///
/// # Errors
/// [`WireError::Malformed`] and [`WireError::UnknownAttribute`].
pub fn group_attributes(mut input: &[u8]) -> Result<Attributes, WireError> {
    const WHAT: &str = "group";
    let mut attributes = Attributes::default();
    while !input.is_empty() {
        let (tag, value) = take_attribute(&mut input, WHAT)?;
        match tag {
            GROUP_REQUEST => {
                attributes.request = Some(request(value).ok_or(WireError::Malformed("request"))?);
            }
            GROUP_POSITION => {
                attributes.positions.push(position(value).ok_or(WireError::Malformed("input position"))?);
            }
            tag => unknown(WHAT, tag)?,
        }
    }
    Ok(attributes)
}

/// Finds the request id and its issue time among a group's attributes without decoding the rest.
///
/// # Errors
/// [`WireError::Malformed`]; attributes of other tags are not judged.
pub fn group_request_id(mut input: &[u8]) -> Result<Option<RequestId>, WireError> {
    while !input.is_empty() {
        let (tag, mut value) = take_attribute(&mut input, "group")?;
        if tag == GROUP_REQUEST {
            let (id, _) = take_request_id(&mut value).ok_or(WireError::Malformed("request"))?;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn take_request_id(input: &mut &[u8]) -> Option<(RequestId, u64)> {
    let client = u128::from_le_bytes(varint::take_bytes(input, 16)?.try_into().ok()?);
    let hash = u64::from_le_bytes(varint::take_bytes(input, 8)?.try_into().ok()?);
    let sequence = varint::take(input)?;
    let issued = match varint::take(input)? {
        0 => None,
        1 => Some(EventTime(varint::take_signed(input)?)),
        _ => return None,
    };
    Some((RequestId { client, sequence, issued }, hash))
}

fn request(mut input: &[u8]) -> Option<Request> {
    let (id, hash) = take_request_id(&mut input)?;
    Some(Request { id, hash, result: Bytes::copy_from_slice(input) })
}

fn position(mut input: &[u8]) -> Option<InputPosition> {
    let offset = Offset(varint::take(&mut input)?);
    Some(InputPosition { input: String::from_utf8(input.to_vec()).ok()?, offset })
}

/// A number that fills its bytes.
fn whole(mut input: &[u8]) -> Option<u64> {
    let value = varint::take(&mut input)?;
    input.is_empty().then_some(value)
}

fn whole_signed(mut input: &[u8]) -> Option<i64> {
    let value = varint::take_signed(&mut input)?;
    input.is_empty().then_some(value)
}

/// What a record says of itself beside key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordAttributes {
    /// See [`Record::event_time`].
    pub event_time: Option<EventTime>,
    /// See [`Record::expires`].
    pub expires: Option<EventTime>,
    /// See [`Record::repairs`].
    pub repairs: Option<Version>,
}

/// Appends the attributes of a record: nothing for a plain one.
pub fn put_record_attributes(out: &mut Vec<u8>, record: &Record) {
    let mut value = Vec::new();
    if let Some(at) = record.expires {
        varint::put_signed(&mut value, at.0);
        put_attribute(out, RECORD_EXPIRES, &value);
    }
    if let Some(at) = record.event_time {
        value.clear();
        varint::put_signed(&mut value, at.0);
        put_attribute(out, RECORD_EVENT_TIME, &value);
    }
    if let Some(version) = record.repairs {
        value.clear();
        varint::put(&mut value, version.epoch.0);
        varint::put(&mut value, version.sequence.0);
        put_attribute(out, RECORD_REPAIRS, &value);
    }
}

/// Reads the attributes of a record, all of `input`.
///
/// # Errors
/// [`WireError::Malformed`] and [`WireError::UnknownAttribute`].
pub fn record_attributes(mut input: &[u8]) -> Result<RecordAttributes, WireError> {
    const WHAT: &str = "record";
    let mut attributes = RecordAttributes::default();
    while !input.is_empty() {
        let (tag, mut value) = take_attribute(&mut input, WHAT)?;
        match tag {
            RECORD_EXPIRES => {
                let at = whole_signed(value).ok_or(WireError::Malformed("expiry"))?;
                attributes.expires = Some(EventTime(at));
            }
            RECORD_EVENT_TIME => {
                let at = whole_signed(value).ok_or(WireError::Malformed("event time"))?;
                attributes.event_time = Some(EventTime(at));
            }
            RECORD_REPAIRS => {
                let mut version =
                    || Some(Version::new(Epoch(varint::take(&mut value)?), Sequence(whole(value)?)));
                attributes.repairs = Some(version().ok_or(WireError::Malformed("repaired version"))?);
            }
            tag => unknown(WHAT, tag)?,
        }
    }
    Ok(attributes)
}

/// The record header: what the header named [`HEADER`] of a record on Kafka says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Whose record it is.
    pub kind: RecordKind,
    /// Epoch and sequence of the group.
    pub version: Version,
    /// Place of the record in its group, from 0.
    pub index: u16,
    /// Records in the group when it was appended.
    pub count: u16,
    /// The record's attributes, encoded.
    pub record_attributes: &'a [u8],
    /// The group's attributes, encoded; on the group's last record only.
    pub group_attributes: &'a [u8],
}

impl<'a> RecordHeader<'a> {
    /// Appends the header's bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(HEADER_VERSION);
        out.push(self.kind.number());
        varint::put(out, self.version.epoch.0);
        varint::put(out, self.version.sequence.0);
        varint::put(out, u64::from(self.index));
        varint::put(out, u64::from(self.count));
        varint::put(out, self.record_attributes.len() as u64);
        out.extend_from_slice(self.record_attributes);
        out.extend_from_slice(self.group_attributes);
    }

    /// Reads a header, all of `input`.
    ///
    /// # Errors
    /// [`WireError::UnknownVersion`] and [`WireError::Malformed`]. The attributes are not looked into.
    pub fn parse(input: &'a [u8]) -> Result<RecordHeader<'a>, WireError> {
        let (&version, rest) = input.split_first().ok_or(WireError::Malformed("record header"))?;
        if version != HEADER_VERSION {
            return Err(WireError::UnknownVersion(version));
        }
        Self::parse_body(rest).filter(|h| h.index < h.count).ok_or(WireError::Malformed("record header"))
    }

    fn parse_body(mut input: &'a [u8]) -> Option<RecordHeader<'a>> {
        let kind = RecordKind::from_number(*varint::take_bytes(&mut input, 1)?.first()?)?;
        let epoch = Epoch(varint::take(&mut input)?);
        let sequence = Sequence(varint::take(&mut input)?);
        let index = u16::try_from(varint::take(&mut input)?).ok()?;
        let count = u16::try_from(varint::take(&mut input)?).ok()?;
        let length = varint::take(&mut input)?;
        let record_attributes = varint::take_bytes(&mut input, length)?;
        let version = Version::new(epoch, sequence);
        Some(RecordHeader { kind, version, index, count, record_attributes, group_attributes: input })
    }
}

#[cfg(test)]
mod tests;
