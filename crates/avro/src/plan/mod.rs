//! How values written with one schema are read as those of another: compared once, then followed for every value.
//!
//! A plan is a table of [`Step`]s, one for each pair of types that meet, so that recursive schemas make cycles of numbers. A
//! pair that cannot meet is a step too: it fails when a value goes through it, since an empty array or another branch of a
//! union may never. Where both types have the same bytes the step says so, and a compiled record reads
//! them straight on without looking at the plan.

mod at;
mod compile;
mod read;
pub(crate) mod rules;
mod skip;

use std::sync::Arc;

pub use at::{At, FieldAt, SkipAt};

use crate::error::Error;
use crate::schema::{Field, Schema, TypeId, TypeKind};

/// The number of a step in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepId(u32);

/// How values of a writer's schema are read as those of a reader's. Cheap to clone, made once for each pair of schemas.
#[derive(Clone, Debug)]
pub struct Plan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Schema,
    reader: Schema,
    steps: Vec<Step>,
    /// Whether the bytes of a step's writer are those of its reader, all the way down.
    same: Vec<bool>,
    /// The reader's type of each step.
    types: Vec<TypeId>,
    root: StepId,
}

/// What to do for one pair of types.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    IntToLong,
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    StringToBytes,
    BytesToString,
    Array(StepId),
    Map(StepId),
    Fixed(usize),
    /// The reader's symbol for each of the writer's; [`NO_SYMBOL`] if it has none.
    Enum(Box<[u32]>),
    Record(RecordStep),
    /// The writer has a union: one step for each of its branches.
    FromUnion(Box<[StepId]>),
    /// The reader has a union and the writer has not: the branch it is.
    IntoUnion(u32, StepId, UnionOf),
    /// They do not resolve, and why.
    Fail(Box<str>),
}

/// What union a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnionOf {
    /// Null and one other: a generic value does not show it.
    NullAndOther,
    /// Anything else.
    More,
}

/// A writer's symbol that the reader does not have.
pub(crate) const NO_SYMBOL: u32 = u32::MAX;

/// How a record is read.
#[derive(Clone, Debug)]
pub(crate) struct RecordStep {
    /// One for each field of the writer, in the order of the bytes.
    pub(crate) fields: Box<[FieldStep]>,
    /// The reader's fields that the writer does not have, and how their defaults are read.
    pub(crate) defaults: Box<[(u32, StepId)]>,
    /// How many fields the reader has.
    pub(crate) width: usize,
}

/// What to do with a field of the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldStep {
    /// It is this field of the reader.
    Read(u32, StepId),
    /// The reader does not want it.
    Skip(TypeId),
}

impl Plan {
    /// How values of `writer` are read as values of `reader`.
    ///
    /// Whether every value can be is another question, which the compatibility of the schemas answers; the plan of a pair of which
    /// no value can be is refused here.
    ///
    /// # Errors
    /// If no value can be read, with the path to where the schemas differ.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Plan, Error> {
        compile::compile(writer, reader)
    }

    /// How values of `schema` are read as what they are.
    ///
    /// # Errors
    /// If the schema nests too deep to be read.
    pub fn same(schema: &Schema) -> Result<Plan, Error> {
        Plan::new(schema, schema)
    }

    /// The same for values of one of its types.
    pub(crate) fn same_from(schema: &Schema, of: TypeId) -> Result<Plan, Error> {
        compile::compile_from(schema, schema, (of, of))
    }

    /// The schema that values were written with.
    #[must_use]
    pub fn writer(&self) -> &Schema {
        &self.0.writer
    }

    /// The schema that they are read as.
    #[must_use]
    pub fn reader(&self) -> &Schema {
        &self.0.reader
    }

    /// Whether the bytes of both schemas are the same.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.0.same[self.0.root.0 as usize]
    }

    fn step(&self, id: StepId) -> &Step {
        &self.0.steps[id.0 as usize]
    }

    /// The reader's fields of the record of a step.
    fn reader_fields(&self, id: StepId) -> &[Field] {
        match &self.0.reader[self.0.types[id.0 as usize]].kind {
            TypeKind::Record(record) => &record.fields,
            _ => &[],
        }
    }

    #[cold]
    fn reader_field(&self, id: StepId, at: u32) -> Box<str> {
        self.reader_fields(id).get(at as usize).map_or_else(Box::default, |field| field.name.clone())
    }

    /// The default of a field; nothing, which no reader takes for a value, if it has none.
    fn default_bytes(&self, id: StepId, at: u32) -> &[u8] {
        self.reader_fields(id).get(at as usize).and_then(|field| field.default.as_deref()).unwrap_or_default()
    }

    fn is_same_at(&self, id: StepId) -> bool {
        self.0.same[id.0 as usize]
    }
}

impl Step {
    /// Why `wanted` cannot be read by this step.
    #[cold]
    pub(crate) fn unexpected(&self, wanted: &str) -> Error {
        match self {
            Step::Fail(why) => Error::incompatible(why),
            _ => Error::incompatible(format_args!("the plan is not one for {wanted}")),
        }
    }
}
