//! A place in a plan, as compiled types follow it.

use super::read::{double, float, lossy, symbol, text};
use super::{FieldStep, Plan, Step, StepId};
use crate::datum::Datum;
use crate::error::Error;
use crate::reader::Reader;
use crate::schema::TypeId;

/// A place in a plan: how the value that comes next is to be read. What a type asks for that the plan does not have there is an
/// [`Incompatible`](crate::ErrorKind::Incompatible) error.
#[derive(Clone, Copy, Debug)]
pub struct At<'p> {
    plan: &'p Plan,
    step: StepId,
}

/// What to do with the field that comes next.
#[derive(Clone, Copy, Debug)]
pub enum FieldAt<'p> {
    /// It is this field of the reader.
    Read(u32, At<'p>),
    /// It is to be passed over.
    Skip(SkipAt<'p>),
}

/// A value to pass over.
#[derive(Clone, Copy, Debug)]
pub struct SkipAt<'p> {
    plan: &'p Plan,
    of: TypeId,
}

impl SkipAt<'_> {
    /// Passes over it.
    ///
    /// # Errors
    /// If it is malformed or passes a limit.
    pub fn skip(self, reader: &mut Reader<'_>) -> Result<(), Error> {
        reader.count(1)?;
        self.plan.skip(reader, self.of)
    }
}

impl Plan {
    /// The place of the whole value.
    #[must_use]
    pub fn root(&self) -> At<'_> {
        At { plan: self, step: self.0.root }
    }
}

#[expect(clippy::missing_errors_doc, reason = "the type says when")]
impl<'p> At<'p> {
    #[inline]
    fn now(self) -> &'p Step {
        self.plan.step(self.step)
    }

    fn at(self, step: StepId) -> At<'p> {
        At { plan: self.plan, step }
    }

    /// Whether the bytes are those of the reader's own schema.
    #[inline]
    #[must_use]
    pub fn is_same(self) -> bool {
        self.plan.is_same_at(self.step)
    }

    /// Nothing comes.
    pub fn null(self, reader: &mut Reader<'_>) -> Result<(), Error> {
        match self.settled(reader)?.now() {
            Step::Null => Ok(()),
            other => Err(other.unexpected("null")),
        }
    }

    /// A boolean.
    pub fn boolean(self, reader: &mut Reader<'_>) -> Result<bool, Error> {
        match self.settled(reader)?.now() {
            Step::Boolean => reader.boolean(),
            other => Err(other.unexpected("a boolean")),
        }
    }

    /// An int.
    #[inline]
    pub fn int(self, reader: &mut Reader<'_>) -> Result<i32, Error> {
        match self.settled(reader)?.now() {
            Step::Int => reader.int(),
            other => Err(other.unexpected("an int")),
        }
    }

    /// A long, or an int.
    #[inline]
    pub fn long(self, reader: &mut Reader<'_>) -> Result<i64, Error> {
        match self.settled(reader)?.now() {
            Step::Long => reader.long(),
            Step::IntToLong => reader.int().map(i64::from),
            other => Err(other.unexpected("a long")),
        }
    }

    /// A float, or a number that becomes one.
    pub fn float(self, reader: &mut Reader<'_>) -> Result<f32, Error> {
        let step = self.settled(reader)?.now();
        float(reader, step)
    }

    /// A double, or a number that becomes one.
    pub fn double(self, reader: &mut Reader<'_>) -> Result<f64, Error> {
        let step = self.settled(reader)?.now();
        double(reader, step)
    }

    /// Bytes, or a text.
    pub fn bytes<'a>(self, reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
        match self.settled(reader)?.now() {
            Step::Bytes => reader.bytes(),
            Step::StringToBytes => reader.string().map(str::as_bytes),
            other => Err(other.unexpected("bytes")),
        }
    }

    /// A text or bytes, to be read as a text.
    #[cfg(feature = "uuid")]
    pub(crate) fn bytes_or_text<'a>(self, reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
        match self.settled(reader)?.now() {
            Step::String | Step::BytesToString => reader.bytes(),
            other => Err(other.unexpected("a text")),
        }
    }

    /// A text, or bytes.
    #[inline]
    pub fn string(self, reader: &mut Reader<'_>) -> Result<String, Error> {
        match self.settled(reader)?.now() {
            Step::String => text(reader),
            Step::BytesToString => lossy(reader),
            other => Err(other.unexpected("a text")),
        }
    }

    /// `N` bytes.
    pub fn fixed<const N: usize>(self, reader: &mut Reader<'_>) -> Result<[u8; N], Error> {
        match self.settled(reader)?.now() {
            Step::Fixed(size) if *size == N => reader.fixed(),
            other => Err(other.unexpected("a fixed")),
        }
    }

    /// The number of a symbol.
    pub fn symbol(self, reader: &mut Reader<'_>) -> Result<u32, Error> {
        match self.settled(reader)?.now() {
            Step::Enum(symbols) => symbol(reader, symbols),
            other => Err(other.unexpected("an enum")),
        }
    }

    /// The place of an array's items.
    pub fn items(self, reader: &mut Reader<'_>) -> Result<At<'p>, Error> {
        match self.settled(reader)?.now() {
            Step::Array(items) => Ok(self.at(*items)),
            other => Err(other.unexpected("an array")),
        }
    }

    /// The place of a map's values.
    pub fn values(self, reader: &mut Reader<'_>) -> Result<At<'p>, Error> {
        match self.settled(reader)?.now() {
            Step::Map(values) => Ok(self.at(*values)),
            other => Err(other.unexpected("a map")),
        }
    }

    /// The number of the reader's branch, and the place of its value.
    pub fn branch(self, reader: &mut Reader<'_>) -> Result<(u32, At<'p>), Error> {
        let mut step = self.now();
        if let Step::FromUnion(branches) = step {
            let written = reader.index(branches.len())?;
            step = self.plan.step(branches[written]);
        }
        match step {
            Step::IntoUnion(branch, inner, _) => Ok((*branch, self.at(*inner))),
            other => Err(other.unexpected("a union")),
        }
    }

    /// The place of the value of a type that is no union here; the writer's may have been one.
    #[inline]
    pub fn settled(self, reader: &mut Reader<'_>) -> Result<At<'p>, Error> {
        match self.now() {
            Step::FromUnion(branches) => Ok(self.at(branches[reader.index(branches.len())?])),
            _ => Ok(self),
        }
    }

    /// What to do with a record's fields, in the order of the bytes. The place has to be [`settled`](At::settled).
    #[inline]
    pub fn fields(self) -> Result<impl Iterator<Item = FieldAt<'p>>, Error> {
        match self.now() {
            Step::Record(record) => Ok(record.fields.iter().map(move |field| match *field {
                FieldStep::Read(at, step) => FieldAt::Read(at, self.at(step)),
                FieldStep::Skip(of) => FieldAt::Skip(SkipAt { plan: self.plan, of }),
            })),
            other => Err(other.unexpected("a record")),
        }
    }

    /// The default of a record's field, which was not written.
    pub fn default<T: Datum>(self, reader: &mut Reader<'_>, field: u32) -> Result<T, Error> {
        reader.aside(self.plan.default_bytes(self.step, field), T::decode)
    }
}
