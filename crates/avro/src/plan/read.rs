//! A generic value, read by a plan.

use std::collections::BTreeMap;

use super::{FieldStep, NO_SYMBOL, Plan, RecordStep, Step, StepId, UnionOf};
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
        let mut value = Value::Null;
        self.value(reader, self.0.root, &mut value)?;
        Ok(value)
    }

    /// Reads a value to where it belongs: handing it up through results costs more than reading it.
    fn value(&self, reader: &mut Reader<'_>, step: StepId, slot: &mut Value) -> Result<(), Error> {
        match self.step(step) {
            Step::Null => *slot = Value::Null,
            Step::Boolean => *slot = Value::Boolean(reader.boolean()?),
            Step::Int => *slot = Value::Int(reader.int()?),
            Step::Long => *slot = Value::Long(reader.long()?),
            Step::IntToLong => *slot = Value::Long(reader.int()?.into()),
            Step::Float => *slot = Value::Float(reader.float()?),
            Step::IntToFloat | Step::LongToFloat => *slot = Value::Float(float(reader, self.step(step))?),
            Step::Double => *slot = Value::Double(reader.double()?),
            Step::IntToDouble | Step::LongToDouble | Step::FloatToDouble => {
                *slot = Value::Double(double(reader, self.step(step))?);
            }
            Step::Bytes | Step::StringToBytes => *slot = Value::Bytes(owned(reader)?),
            Step::String => *slot = Value::String(text(reader)?),
            Step::BytesToString => *slot = Value::String(lossy(reader)?),
            Step::Fixed(size) => {
                let bytes = reader.take(*size)?;
                reader.charge(bytes.len())?;
                *slot = Value::Fixed(bytes.into());
            }
            Step::Enum(symbols) => *slot = Value::Enum(symbol(reader, symbols)?),
            Step::Array(items) => *slot = Value::Array(self.array(reader, *items)?),
            Step::Map(values) => *slot = Value::Map(self.map(reader, *values)?),
            Step::Record(record) => *slot = Value::Record(self.record(reader, step, record)?),
            Step::FromUnion(branches) => {
                let branch = branches[reader.index(branches.len())?];
                return self.value(reader, branch, slot);
            }
            Step::IntoUnion(_, inner, UnionOf::NullAndOther) => return self.value(reader, *inner, slot),
            Step::IntoUnion(branch, inner, UnionOf::More) => *slot = self.branch(reader, *branch, *inner)?,
            Step::Fail(why) => return Err(Error::incompatible(why)),
        }
        Ok(())
    }

    fn branch(&self, reader: &mut Reader<'_>, branch: u32, step: StepId) -> Result<Value, Error> {
        if let Step::Null = self.step(step) {
            return Ok(Value::Null);
        }
        reader.charge(size_of::<Value>())?;
        let mut value = Box::new(Value::Null);
        self.value(reader, step, &mut value)?;
        Ok(Value::Union(branch, value))
    }

    fn array(&self, reader: &mut Reader<'_>, step: StepId) -> Result<Vec<Value>, Error> {
        reader.enter()?;
        let mut items = Vec::new();
        loop {
            let count = reader.block()?;
            if count == 0 {
                reader.leave();
                return Ok(items);
            }
            items.reserve(reader.reserve::<Value>(count)?);
            for _ in 0..count {
                let item = items.push_mut(Value::Null);
                self.value(reader, step, item).map_err(|error| error.within("[]"))?;
            }
        }
    }

    fn map(&self, reader: &mut Reader<'_>, step: StepId) -> Result<BTreeMap<String, Value>, Error> {
        reader.enter()?;
        let mut entries = BTreeMap::new();
        loop {
            let count = reader.block()?;
            if count == 0 {
                reader.leave();
                return Ok(entries);
            }
            reader.reserve::<Entry>(count)?;
            for _ in 0..count {
                let key = text(reader)?;
                let mut value = Value::Null;
                self.value(reader, step, &mut value).map_err(|error| error.within("{}"))?;
                entries.insert(key, value);
            }
        }
    }

    fn record(&self, reader: &mut Reader<'_>, id: StepId, record: &RecordStep) -> Result<Vec<Value>, Error> {
        reader.enter()?;
        reader.count((record.fields.len() + record.defaults.len()) as u64)?;
        reader.charge(record.width.saturating_mul(size_of::<Value>()))?;
        let mut fields = Vec::with_capacity(record.width);
        // Cloning a null, as `vec!` does, is not free.
        fields.resize_with(record.width, || Value::Null);
        for field in &record.fields {
            match field {
                FieldStep::Read(at, step) => {
                    let read = self.value(reader, *step, &mut fields[*at as usize]);
                    read.map_err(|error| error.within(self.reader_field(id, *at)))?;
                }
                FieldStep::Skip(of) => self.skip(reader, *of)?,
            }
        }
        for (at, step) in &record.defaults {
            let (default, slot) = (self.default_bytes(id, *at), &mut fields[*at as usize]);
            reader.aside(default, |reader| self.value(reader, *step, slot))?;
        }
        reader.leave();
        Ok(fields)
    }
}

fn owned(reader: &mut Reader<'_>) -> Result<Vec<u8>, Error> {
    let bytes = reader.bytes()?;
    reader.charge(bytes.len())?;
    Ok(bytes.to_vec())
}

#[inline]
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
