//! Compares two schemas: which types meet, and what has to be done where they do.
//!
//! What the names of records are does not matter where only one can be meant; in a union they decide.

use std::collections::HashMap;
use std::sync::Arc;

use super::rules::{
    DEPTH_MAX, LOOKS_MAX, Matched, PAIRS_MAX, full_names_match, match_fields, names_match, promotion,
};
use super::{FieldStep, Inner, NO_SYMBOL, Plan, RecordStep, Step, StepId, UnionOf};
use crate::error::Error;
use crate::schema::{EnumType, RecordType, Schema, TypeId, TypeKind};

/// Bytes of a reason at most: each record around a pair that fails puts its name before it, and there are as many reasons as pairs.
const WHY_BYTES_MAX: usize = 512;

pub(super) fn compile(writer: &Schema, reader: &Schema) -> Result<Plan, Error> {
    compile_from(writer, reader, (writer.root_id(), reader.root_id()))
}

/// Compares the types of the pair `from`.
pub(super) fn compile_from(writer: &Schema, reader: &Schema, from: (TypeId, TypeId)) -> Result<Plan, Error> {
    let mut compiler = Compiler {
        writer,
        reader,
        alone: false,
        known: HashMap::new(),
        steps: Vec::new(),
        types: Vec::new(),
        depth: 0,
        looks_left: LOOKS_MAX,
    };
    let root = compiler.pair(from.0, from.1)?;
    let Compiler { steps, types, .. } = compiler;
    if let Step::Fail(why) = &steps[root.0 as usize] {
        return Err(Error::incompatible(why));
    }
    let same = same(&steps);
    let (writer, reader) = (writer.clone(), reader.clone());
    Ok(Plan(Arc::new(Inner { writer, reader, steps, same, types, root })))
}

struct Compiler<'a> {
    writer: &'a Schema,
    reader: &'a Schema,
    /// Whether the writer is the reader for now.
    alone: bool,
    known: HashMap<(bool, TypeId, TypeId), StepId>,
    steps: Vec<Step>,
    /// The reader's type of each step.
    types: Vec<TypeId>,
    depth: u32,
    /// Fields, symbols and branches that may still be looked at.
    looks_left: usize,
}

impl Compiler<'_> {
    fn charge(&mut self, looks: usize) -> Result<(), Error> {
        let left = self.looks_left.checked_sub(looks);
        self.looks_left = left.ok_or_else(|| Error::too_large("the schemas are too large to resolve"))?;
        Ok(())
    }

    /// The step of a pair, made when it is first met. Its number is known before it is made, for pairs that contain themselves.
    fn pair(&mut self, writer: TypeId, reader: TypeId) -> Result<StepId, Error> {
        if let Some(known) = self.known.get(&(self.alone, writer, reader)) {
            return Ok(*known);
        }
        if self.steps.len() >= PAIRS_MAX || self.depth >= DEPTH_MAX {
            return Err(Error::too_large("the schemas are too large or too deep to resolve"));
        }
        let id = StepId(u32::try_from(self.steps.len()).map_err(Error::too_large)?);
        // Stands for the pair while it is compared with itself: a record of the same shape as far as is known.
        self.steps.push(Step::Record(RecordStep { fields: Box::new([]), defaults: Box::new([]), width: 0 }));
        self.types.push(reader);
        self.known.insert((self.alone, writer, reader), id);
        self.depth += 1;
        let step = self.compare(writer, reader)?;
        self.depth -= 1;
        self.steps[id.0 as usize] = step;
        Ok(id)
    }

    /// The step for values that were written with the reader's schema: defaults.
    fn reader_alone(&mut self, id: TypeId) -> Result<StepId, Error> {
        let writer = std::mem::replace(&mut self.writer, self.reader);
        let alone = std::mem::replace(&mut self.alone, true);
        let step = self.pair(id, id);
        (self.writer, self.alone) = (writer, alone);
        step
    }

    fn compare(&mut self, writer: TypeId, reader: TypeId) -> Result<Step, Error> {
        use TypeKind as T;
        let (from, to) = (self.writer, self.reader);
        Ok(match (&from[writer].kind, &to[reader].kind) {
            (T::Union(branches), _) => {
                let steps = branches
                    .iter()
                    .map(|branch| self.pair(*branch, reader))
                    .collect::<Result<Box<[_]>, _>>()?;
                self.union_written(branches.len(), steps)
            }
            (_, T::Union(branches)) => self.union_expected(writer, branches)?,
            (T::Null, T::Null) => Step::Null,
            (T::Boolean, T::Boolean) => Step::Boolean,
            (T::Int, T::Int) => Step::Int,
            (T::Long, T::Long) => Step::Long,
            (T::Float, T::Float) => Step::Float,
            (T::Double, T::Double) => Step::Double,
            (T::Bytes, T::Bytes) => Step::Bytes,
            (T::String, T::String) => Step::String,
            (T::Array(from), T::Array(to)) => Step::Array(self.pair(*from, *to)?),
            (T::Map(from), T::Map(to)) => Step::Map(self.pair(*from, *to)?),
            (T::Record(from), T::Record(to)) => self.record(from, to)?,
            (T::Enum(from_enum), T::Enum(to_enum)) if names_match(&from[writer].kind, &to[reader].kind) => {
                self.charge(from_enum.symbols.len() + to_enum.symbols.len())?;
                Step::Enum(symbols(from_enum, to_enum))
            }
            (T::Fixed(from_fixed), T::Fixed(to_fixed))
                if names_match(&from[writer].kind, &to[reader].kind) =>
            {
                if from_fixed.size == to_fixed.size {
                    Step::Fixed(to_fixed.size)
                } else {
                    let why =
                        format!("{} bytes were written, {} are expected", from_fixed.size, to_fixed.size);
                    failed(why)
                }
            }
            (from, to) => promotion(from, to).unwrap_or_else(|| fail(from, to)),
        })
    }

    /// A union of which no branch resolves fails as a whole.
    fn union_written(&self, count: usize, steps: Box<[StepId]>) -> Step {
        let why = |id: &StepId| match &self.steps[id.0 as usize] {
            Step::Fail(why) => Some(why.clone()),
            _ => None,
        };
        match steps.iter().find(|id| why(id).is_none()) {
            None if count > 0 => Step::Fail(why(&steps[0]).unwrap_or_default()),
            _ => Step::FromUnion(steps),
        }
    }

    /// The branch that a writer's type without a union becomes: of the same name; else the first record of the same shape,
    /// rather one of the same short name; else the first that it can be promoted to.
    fn union_expected(&mut self, writer: TypeId, branches: &[TypeId]) -> Result<Step, Error> {
        self.charge(branches.len())?;
        let (from_schema, to_schema) = (self.writer, self.reader);
        let from = &from_schema[writer].kind;
        let mut shape = None;
        for (at, branch) in branches.iter().enumerate() {
            let to = &to_schema[*branch].kind;
            if from.keyword() != to.keyword() {
                continue;
            }
            if from.name().is_none() || full_names_match(from, to) {
                return self.branch(writer, branches, at);
            }
            if let TypeKind::Record(_) = to {
                let same_short = names_match(from, to);
                let step = self.pair(writer, *branch)?;
                if (shape.is_none() || same_short) && self.fits(step) {
                    shape = Some(at);
                }
            }
        }
        if let Some(at) = shape {
            return self.branch(writer, branches, at);
        }
        for (at, branch) in branches.iter().enumerate() {
            let to = &to_schema[*branch].kind;
            let short =
                matches!(to, TypeKind::Enum(_) | TypeKind::Fixed(_)) && from.keyword() == to.keyword();
            if promotion(from, to).is_some() || short && names_match(from, to) {
                return self.branch(writer, branches, at);
            }
        }
        Ok(failed(format!("{} was written, no branch of the union takes it", from.branch_name())))
    }

    fn branch(&mut self, writer: TypeId, branches: &[TypeId], at: usize) -> Result<Step, Error> {
        let of = match self.reader.beside_null(branches) {
            Some(_) => UnionOf::NullAndOther,
            None => UnionOf::More,
        };
        let step = self.pair(writer, branches[at])?;
        let at = u32::try_from(at).map_err(Error::too_large)?;
        Ok(match &self.steps[step.0 as usize] {
            Step::Fail(why) => Step::Fail(why.clone()),
            _ => Step::IntoUnion(at, step, of),
        })
    }

    /// Whether a record resolves, its own fields included.
    fn fits(&self, step: StepId) -> bool {
        let failed = |id: StepId| matches!(self.steps[id.0 as usize], Step::Fail(_));
        let Step::Record(record) = &self.steps[step.0 as usize] else { return false };
        !record.fields.iter().any(|field| matches!(field, FieldStep::Read(_, step) if failed(*step)))
    }

    /// The writer's fields in their order.
    fn record(&mut self, writer: &RecordType, reader: &RecordType) -> Result<Step, Error> {
        self.charge(writer.fields.len() + reader.fields.len())?;
        let Matched { target, missing } = match_fields(writer, reader);
        let mut defaults = Vec::new();
        for at in missing {
            let field = &reader.fields[at];
            if field.default.is_none() {
                let why = format!("{} has no field {:?}, nor has it a default", writer.name, field.name);
                return Ok(failed(why));
            }
            let step = self.reader_alone(field.schema)?;
            defaults.push((u32::try_from(at).map_err(Error::too_large)?, step));
        }
        let mut fields = Vec::with_capacity(writer.fields.len());
        for (field, target) in writer.fields.iter().zip(target) {
            fields.push(match target {
                None => FieldStep::Skip(field.schema),
                Some(at) => {
                    let step = self.pair(field.schema, reader.fields[at].schema)?;
                    if let Step::Fail(why) = &self.steps[step.0 as usize] {
                        return Ok(failed(format!("{}.{}: {why}", reader.name, field.name)));
                    }
                    FieldStep::Read(u32::try_from(at).map_err(Error::too_large)?, step)
                }
            });
        }
        Ok(Step::Record(RecordStep {
            fields: fields.into(),
            defaults: defaults.into(),
            width: reader.fields.len(),
        }))
    }
}

/// The reader's symbol for each of the writer's: the same, else the reader's default.
fn symbols(writer: &EnumType, reader: &EnumType) -> Box<[u32]> {
    let own: HashMap<&str, u32> = reader.symbols.iter().map(|symbol| &**symbol).zip(0..).collect();
    let default = reader.default.unwrap_or(NO_SYMBOL);
    writer.symbols.iter().map(|symbol| own.get(&**symbol).copied().unwrap_or(default)).collect()
}

fn fail(from: &TypeKind, to: &TypeKind) -> Step {
    failed(format!("{} was written, {} is expected", from.branch_name(), to.branch_name()))
}

fn failed(mut why: String) -> Step {
    if why.len() > WHY_BYTES_MAX {
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        why.push_str("...");
    }
    Step::Fail(why.into())
}

/// For each step, whether the writer's bytes are the reader's. All are taken to be until something differs, and what reaches
/// a difference differs: so types that contain themselves come out right.
fn same(steps: &[Step]) -> Vec<bool> {
    let mut above: Vec<Vec<StepId>> = vec![Vec::new(); steps.len()];
    for (step, id) in steps.iter().zip((0..).map(StepId)) {
        below(step, |child| above[child.0 as usize].push(id));
    }
    let mut same = vec![true; steps.len()];
    let differ = steps.iter().zip((0..).map(StepId)).filter(|(step, _)| !is_same_here(step, steps));
    let mut found: Vec<StepId> = differ.map(|(_, id)| id).collect();
    while let Some(id) = found.pop() {
        if std::mem::replace(&mut same[id.0 as usize], false) {
            found.extend(&above[id.0 as usize]);
        }
    }
    for (same, step) in same.iter_mut().zip(steps) {
        // Alone, it has no number of a branch in its bytes.
        *same &= !matches!(step, Step::IntoUnion(..));
    }
    same
}

/// Whether nothing differs in the step itself.
fn is_same_here(step: &Step, steps: &[Step]) -> bool {
    let becomes_union = |id: StepId| matches!(steps[id.0 as usize], Step::IntoUnion(..));
    match step {
        Step::Null | Step::Boolean | Step::Int | Step::Long | Step::Float | Step::Double => true,
        Step::Bytes | Step::String | Step::Fixed(_) | Step::IntoUnion(..) => true,
        Step::Array(of) | Step::Map(of) => !becomes_union(*of),
        Step::Enum(symbols) => symbols.iter().zip(0..).all(|(to, from)| *to == from),
        Step::Record(record) => {
            let in_place = |(at, field): (u32, &FieldStep)| matches!(field, FieldStep::Read(to, step) if *to == at && !becomes_union(*step));
            record.defaults.is_empty() && (0..).zip(&record.fields).all(in_place)
        }
        Step::FromUnion(branches) => (0..).zip(branches).all(
            |(at, branch): (u32, _)| matches!(steps[branch.0 as usize], Step::IntoUnion(to, ..) if to == at),
        ),
        _ => false,
    }
}

fn below(step: &Step, mut child: impl FnMut(StepId)) {
    match step {
        Step::Array(of) | Step::Map(of) | Step::IntoUnion(_, of, _) => child(*of),
        Step::FromUnion(branches) => branches.iter().for_each(|of| child(*of)),
        Step::Record(record) => {
            for field in &record.fields {
                if let FieldStep::Read(_, of) = field {
                    child(*of);
                }
            }
        }
        _ => {}
    }
}
