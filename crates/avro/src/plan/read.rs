//! A generic value, read by a plan.

use std::collections::BTreeMap;

use super::{FieldStep, NO_SYMBOL, Plan, RecordStep, Step, StepId};
use crate::error::Error;
use crate::reader::Reader;
use crate::value::Value;

/// What an entry of a map takes beside its key's text, the tree's share included.
type Entry = [(String, Value); 2];

impl Plan {
    /// Reads one value.
    ///
    /// # Errors
    /// As [`decode_value`](Plan::decode_value), but for what is left over.
    pub fn read_value(&self, reader: &mut Reader<'_>) -> Result<Value, Error> {
        self.value(reader, self.0.root)
    }

    fn value(&self, reader: &mut Reader<'_>, step: StepId) -> Result<Value, Error> {
        Ok(match self.step(step) {
            Step::Null => Value::Null,
            Step::Boolean => Value::Boolean(reader.boolean()?),
            Step::Int => Value::Int(reader.int()?),
            Step::Long => Value::Long(reader.long()?),
            Step::IntToLong => Value::Long(reader.int()?.into()),
            Step::Float => Value::Float(reader.float()?),
            Step::IntToFloat | Step::LongToFloat => Value::Float(float(reader, self.step(step))?),
            Step::Double => Value::Double(reader.double()?),
            Step::IntToDouble | Step::LongToDouble | Step::FloatToDouble => {
                Value::Double(double(reader, self.step(step))?)
            }
            Step::Bytes | Step::StringToBytes => Value::Bytes(owned(reader)?),
            Step::String => Value::String(text(reader)?),
            Step::BytesToString => Value::String(lossy(reader)?),
            Step::Fixed(size) => {
                let bytes = reader.take(*size)?;
                reader.charge(bytes.len())?;
                Value::Fixed(bytes.into())
            }
            Step::Enum(symbols) => Value::Enum(symbol(reader, symbols)?),
            Step::Array(items) => within(reader, |reader| self.array(reader, *items))?,
            Step::Map(values) => within(reader, |reader| self.map(reader, *values))?,
            Step::Record(record) => within(reader, |reader| self.record(reader, step, record))?,
            Step::FromUnion(branches) => {
                let branch = reader.index(branches.len())?;
                self.value(reader, branches[branch])?
            }
            Step::IntoUnion(branch, inner) => {
                reader.charge(size_of::<Value>())?;
                Value::Union(*branch, Box::new(self.value(reader, *inner)?))
            }
            Step::Fail(why) => return Err(Error::incompatible(why)),
        })
    }

    fn array(&self, reader: &mut Reader<'_>, step: StepId) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            let count = reader.block()?;
            if count == 0 {
                return Ok(Value::Array(items));
            }
            items.reserve(reader.reserve::<Value>(count)?);
            for _ in 0..count {
                items.push(self.value(reader, step).map_err(|error| error.within("[]"))?);
            }
        }
    }

    fn map(&self, reader: &mut Reader<'_>, step: StepId) -> Result<Value, Error> {
        let mut entries = BTreeMap::new();
        loop {
            let count = reader.block()?;
            if count == 0 {
                return Ok(Value::Map(entries));
            }
            reader.reserve::<Entry>(count)?;
            for _ in 0..count {
                let key = text(reader)?;
                let value = self.value(reader, step).map_err(|error| error.within("{}"))?;
                entries.insert(key, value);
            }
        }
    }

    fn record(&self, reader: &mut Reader<'_>, id: StepId, record: &RecordStep) -> Result<Value, Error> {
        reader.count((record.fields.len() + record.defaults.len()) as u64)?;
        reader.charge(record.width.saturating_mul(size_of::<Value>()))?;
        let named = |error: Error, at: u32| error.within(self.reader_field(id, at));
        if self.is_same_at(id) {
            let mut fields = Vec::with_capacity(record.width);
            for field in &record.fields {
                if let FieldStep::Read(at, step) = field {
                    fields.push(self.value(reader, *step).map_err(|error| named(error, *at))?);
                }
            }
            return Ok(Value::Record(fields));
        }
        let mut fields = vec![Value::Null; record.width];
        for field in &record.fields {
            match field {
                FieldStep::Read(at, step) => {
                    fields[*at as usize] = self.value(reader, *step).map_err(|error| named(error, *at))?;
                }
                FieldStep::Skip(of) => self.skip(reader, *of)?,
            }
        }
        for (at, step) in &record.defaults {
            let default = self.default_bytes(id, *at);
            fields[*at as usize] = reader.aside(default, |reader| self.value(reader, *step))?;
        }
        Ok(Value::Record(fields))
    }
}

/// Reads what lies one level deeper.
#[inline]
fn within<T>(
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    reader.enter()?;
    let value = read(reader)?;
    reader.leave();
    Ok(value)
}

fn owned(reader: &mut Reader<'_>) -> Result<Vec<u8>, Error> {
    let bytes = reader.bytes()?;
    reader.charge(bytes.len())?;
    Ok(bytes.to_vec())
}

pub(crate) fn text(reader: &mut Reader<'_>) -> Result<String, Error> {
    let text = reader.string()?;
    reader.charge(text.len())?;
    Ok(text.to_owned())
}

/// Bytes that are read as a text: what is not in UTF-8 becomes U+FFFD, as others do it. Nobody promised that it was text.
pub(crate) fn lossy(reader: &mut Reader<'_>) -> Result<String, Error> {
    let bytes = reader.bytes()?;
    // U+FFFD has three bytes, and stands for one at the least.
    reader.charge(bytes.len().saturating_mul(3))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The reader's number of the symbol that comes next.
pub(crate) fn symbol(reader: &mut Reader<'_>, symbols: &[u32]) -> Result<u32, Error> {
    let written = reader.index(symbols.len())?;
    match symbols[written] {
        NO_SYMBOL => Err(Error::incompatible("the symbol is unknown, and the enum has no default")),
        known => Ok(known),
    }
}

/// A float, from what was written.
#[expect(clippy::cast_precision_loss, reason = "what promotion is")]
pub(crate) fn float(reader: &mut Reader<'_>, step: &Step) -> Result<f32, Error> {
    match step {
        Step::Float => reader.float(),
        Step::IntToFloat => Ok(reader.int()? as f32),
        Step::LongToFloat => Ok(reader.long()? as f32),
        other => Err(other.unexpected("a float")),
    }
}

/// A double, from what was written.
#[expect(clippy::cast_precision_loss, reason = "what promotion is")]
pub(crate) fn double(reader: &mut Reader<'_>, step: &Step) -> Result<f64, Error> {
    match step {
        Step::Double => reader.double(),
        Step::IntToDouble => Ok(reader.int()?.into()),
        Step::LongToDouble => Ok(reader.long()? as f64),
        Step::FloatToDouble => Ok(reader.float()?.into()),
        other => Err(other.unexpected("a double")),
    }
}
