//! Goes through the pairs of types that meet, each once, and notes what does not fit.
//!
//! Where several branches of a union could be meant it follows the one that the reader takes (`plan::compile`), so there is nothing to try and
//! to take back: what is noted stays.

use std::collections::HashSet;

use super::Mismatch;
use crate::error::Error;
use crate::plan::rules::{DEPTH_MAX, LOOKS_MAX, full_names_match, match_fields, names_match, promotion};
use crate::schema::{EnumType, LogicalType, Name, RecordType, Schema, TypeId, TypeKind};

/// Mismatches noted at most: each costs text, and nobody reads them all.
const MISMATCHES_MAX: usize = 64;

/// Names of symbols in a message at most.
const SYMBOLS_SHOWN: usize = 8;

/// Bytes of a path at most, since paths are as deep as a stranger's schema: its end says more than its beginning.
const PATH_BYTES_MAX: usize = 1024;

/// Which of the two schemas is the new one: it is the one that can still be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The reader.
    NewReads,
    /// The writer.
    OldReads,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// What is not read.
    Mismatch,
    /// What is read, and means something else.
    Misreading,
}

/// What keeps values of `writer` from being read as those of `reader`.
pub(super) fn mismatches(writer: &Schema, reader: &Schema, walk: Walk) -> Result<Vec<Mismatch>, Error> {
    walk_through(writer, reader, walk, Wanted::Mismatch)
}

/// What of `writer` means something else in `reader`, which is the new one.
pub(super) fn misreadings(writer: &Schema, reader: &Schema) -> Result<Vec<Mismatch>, Error> {
    walk_through(writer, reader, Walk::NewReads, Wanted::Misreading)
}

fn walk_through(
    writer: &Schema,
    reader: &Schema,
    walk: Walk,
    wanted: Wanted,
) -> Result<Vec<Mismatch>, Error> {
    let name = reader.name().map_or(String::new(), |name| name.full().to_owned());
    let mut walker = Walker {
        writer,
        reader,
        walk,
        wanted,
        seen: HashSet::new(),
        depth: 0,
        looks_left: LOOKS_MAX,
        path: vec![name],
        found: Vec::new(),
    };
    walker.pair(writer.root_id(), reader.root_id())?;
    Ok(walker.found)
}

struct Walker<'a> {
    writer: &'a Schema,
    reader: &'a Schema,
    walk: Walk,
    wanted: Wanted,
    seen: HashSet<(TypeId, TypeId)>,
    depth: u32,
    /// Pairs, fields, symbols and branches that may still be looked at.
    looks_left: usize,
    /// The steps to the pair, outermost first.
    path: Vec<String>,
    found: Vec<Mismatch>,
}

impl<'a> Walker<'a> {
    /// Looks at a pair when it is first met: a type that contains itself is no reason to go round.
    fn pair(&mut self, writer: TypeId, reader: TypeId) -> Result<(), Error> {
        if self.found.len() >= MISMATCHES_MAX || !self.seen.insert((writer, reader)) {
            return Ok(());
        }
        self.charge(1)?;
        if self.depth >= DEPTH_MAX {
            return Err(Error::too_large("the schemas are too deep to compare"));
        }
        self.depth += 1;
        self.meaning(writer, reader);
        self.compare(writer, reader)?;
        self.depth -= 1;
        Ok(())
    }

    fn compare(&mut self, writer: TypeId, reader: TypeId) -> Result<(), Error> {
        use TypeKind as T;
        let (writers, readers): (&'a Schema, &'a Schema) = (self.writer, self.reader);
        match (&writers[writer].kind, &readers[reader].kind) {
            (T::Union(branches), _) => branches.iter().try_for_each(|branch| self.pair(*branch, reader))?,
            (from, T::Union(branches)) => self.union_expected(writer, from, branches)?,
            (T::Array(from), T::Array(to)) => self.below("[]", *from, *to)?,
            (T::Map(from), T::Map(to)) => self.below("{}", *from, *to)?,
            (from @ T::Record(old), to @ T::Record(new)) => {
                if !names_match(from, to) {
                    self.other_name(from, to);
                }
                self.record(old, new)?;
            }
            (from @ T::Enum(old), to @ T::Enum(new)) => {
                if names_match(from, to) {
                    self.charge(old.symbols.len() + new.symbols.len())?;
                    self.symbols(old, new);
                } else {
                    self.other_name(from, to);
                }
            }
            (from @ T::Fixed(old), to @ T::Fixed(new)) => {
                if !names_match(from, to) {
                    self.other_name(from, to);
                } else if old.size != new.size {
                    let (old, new) = (old.size, new.size);
                    self.note(format!(
                        "{old} bytes are written, {new} are expected: keep the size, or use another field"
                    ));
                }
            }
            (from, to) if from.keyword() == to.keyword() || promotion(from, to).is_some() => {}
            (from, to) => self.other_type(from, to),
        }
        Ok(())
    }

    /// Two logical types on what is read as it is. A decimal may get more digits, since its bytes are those of the number without its point.
    fn meaning(&mut self, writer: TypeId, reader: TypeId) {
        use LogicalType::Decimal;
        let (Some(old), Some(new)) = (self.writer[writer].logical, self.reader[reader].logical) else {
            return;
        };
        let is_kept = match (old, new) {
            (Decimal { precision: old, scale }, Decimal { precision: new, scale: other }) => {
                scale == other && old <= new
            }
            _ => old == new,
        };
        if !is_kept {
            self.add(
                format!("older values are {old}, and would be read as {new}: keep it, or use another field"),
                Wanted::Misreading,
            );
        }
    }

    fn charge(&mut self, looks: usize) -> Result<(), Error> {
        let left = self.looks_left.checked_sub(looks);
        self.looks_left = left.ok_or_else(|| Error::too_large("the schemas are too large to compare"))?;
        Ok(())
    }

    fn below(&mut self, step: &str, writer: TypeId, reader: TypeId) -> Result<(), Error> {
        self.path.push(step.to_owned());
        self.pair(writer, reader)?;
        self.path.pop();
        Ok(())
    }

    /// The branches that the reader may take for a writer's type: of the same name; else the records of the same short
    /// name; else the first that it can be promoted to.
    fn union_expected(&mut self, writer: TypeId, from: &TypeKind, branches: &[TypeId]) -> Result<(), Error> {
        self.charge(branches.len())?;
        let kind = |branch: &TypeId| &self.reader[*branch].kind;
        let is_kind = |branch: &&TypeId| kind(branch).keyword() == from.keyword();
        let is_short = |branch: &&TypeId| names_match(from, kind(branch));
        let own = branches
            .iter()
            .filter(is_kind)
            .find(|branch| from.name().is_none() || full_names_match(from, kind(branch)));
        let records = matches!(from, TypeKind::Record(_));
        let chosen: Vec<TypeId> = if let Some(own) = own {
            vec![*own]
        } else if records {
            branches.iter().filter(is_kind).filter(is_short).copied().collect()
        } else {
            let takes = |branch: &&TypeId| {
                promotion(from, kind(branch)).is_some() || is_kind(branch) && is_short(branch)
            };
            branches.iter().find(takes).copied().into_iter().collect()
        };
        if chosen.is_empty() {
            self.no_branch(from);
        }
        let plain = branches.iter().filter(|branch| !matches!(kind(branch), TypeKind::Null)).count() < 2;
        for branch in chosen {
            let to = kind(&branch);
            if self.path.iter().all(|step| step.is_empty()) {
                self.below(to.name().map_or("", Name::full), writer, branch)?;
            } else if plain || to.name().is_none() {
                self.pair(writer, branch)?;
            } else {
                self.below(&format!("<{}>", to.branch_name()), writer, branch)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, writer: &'a RecordType, reader: &'a RecordType) -> Result<(), Error> {
        self.charge(writer.fields.len() + reader.fields.len())?;
        let fields = match_fields(writer, reader);
        for at in fields.missing {
            let field = &reader.fields[at];
            if field.default.is_none() {
                self.path.push(field.name.to_string());
                self.note(match self.walk {
                    Walk::NewReads => "older values do not have this field: give it a default, or an alias if it had another name",
                    Walk::OldReads => "older readers need this field, and have no default for it: keep it",
                }.to_owned());
                self.path.pop();
            }
        }
        for (from, at) in fields.target.iter().enumerate() {
            if let Some(at) = at {
                let field = &reader.fields[*at];
                self.below(&field.name, writer.fields[from].schema, field.schema)?;
            }
        }
        Ok(())
    }

    fn symbols(&mut self, writer: &EnumType, reader: &EnumType) {
        let known: HashSet<&str> = reader.symbols.iter().map(|symbol| &**symbol).collect();
        let unknown = writer.symbols.iter().map(|symbol| &**symbol).filter(|symbol| !known.contains(symbol));
        let unknown: Vec<&str> = unknown.collect();
        if reader.default.is_some() || unknown.is_empty() {
            return;
        }
        let shown = unknown[..unknown.len().min(SYMBOLS_SHOWN)].join(", ");
        let more = if unknown.len() > SYMBOLS_SHOWN { ", ..." } else { "" };
        self.note(match self.walk {
            Walk::NewReads => {
                format!("older values hold symbols that are gone ({shown}{more}): keep them, or give the enum a default")
            }
            Walk::OldReads => format!(
                "older readers do not know the symbols {shown}{more}, and have no default for them: give the enum a default in a version before"
            ),
        });
    }

    fn other_name(&mut self, from: &TypeKind, to: &TypeKind) {
        let (from, to) = (from.branch_name(), to.branch_name());
        self.note(match self.walk {
            Walk::NewReads => format!("{from} is called {to} now: keep the name, or make {from:?} an alias"),
            Walk::OldReads => format!("older readers know {to}, not {from}: keep the name"),
        });
    }

    fn other_type(&mut self, from: &TypeKind, to: &TypeKind) {
        let (from, to) = (from.branch_name(), to.branch_name());
        self.note(match self.walk {
            Walk::NewReads => format!(
                "older values are {from}, which is not read as {to}: keep the type, or use another field"
            ),
            Walk::OldReads => format!(
                "older readers expect {to} and do not read {from}: keep the type, or use another field"
            ),
        });
    }

    fn no_branch(&mut self, from: &TypeKind) {
        let from = from.branch_name();
        self.note(match self.walk {
            Walk::NewReads => {
                format!("older values may be {from}, which no branch of the union takes: keep the branch")
            }
            Walk::OldReads => {
                format!(
                    "older readers have no branch for {from}: add it in a version that nobody writes with yet"
                )
            }
        });
    }

    fn note(&mut self, message: String) {
        self.add(message, Wanted::Mismatch);
    }

    fn add(&mut self, message: String, what: Wanted) {
        if what == self.wanted && self.found.len() < MISMATCHES_MAX {
            let path = self.shown_path();
            let mismatch = Mismatch { path, message };
            if !self.found.contains(&mismatch) {
                self.found.push(mismatch);
            }
        }
    }

    fn shown_path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if !path.is_empty() && !step.starts_with(['[', '{', '<']) {
                path.push('.');
            }
            path.push_str(step);
        }
        if path.len() <= PATH_BYTES_MAX {
            return path;
        }
        // Names are ASCII.
        let from = path.len() - PATH_BYTES_MAX;
        format!("...{}", path.get(from..).unwrap_or_default())
    }
}
