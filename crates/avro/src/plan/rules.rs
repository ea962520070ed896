//! The rules of resolution, for plans and for verdicts.
//!
//! They are the specification's; where it leaves something open they are those of Avro in Java, which wrote most of the values
//! there are.

use std::collections::HashMap;

use super::Step;
use crate::schema::{RecordType, TypeKind};

/// Pairs of types that meet, at most: two schemas of a thousand types each can be made to meet in all pairs.
pub(crate) const PAIRS_MAX: usize = 1 << 17;

/// Fields, symbols and branches that are looked at, at most: each pair may have thousands of them.
pub(crate) const LOOKS_MAX: usize = 1 << 21;

/// Types within types, at most. Types refer to earlier ones, so a short text can be deep.
pub(crate) const DEPTH_MAX: u32 = 256;

/// Which fields of two records are the same.
pub(crate) struct Matched {
    /// The reader's field for each of the writer's.
    pub(crate) target: Vec<Option<usize>>,
    /// The reader's fields that the writer does not have.
    pub(crate) missing: Vec<usize>,
}

/// Finds each field of the reader by its own name, else by its aliases: a name says more than an alias, so a field is never
/// taken from the one that is called so.
pub(crate) fn match_fields(writer: &RecordType, reader: &RecordType) -> Matched {
    let own: HashMap<&str, usize> =
        writer.fields.iter().enumerate().map(|(at, field)| (&*field.name, at)).collect();
    let mut target: Vec<Option<usize>> = vec![None; writer.fields.len()];
    let mut missing = Vec::new();
    for (at, field) in reader.fields.iter().enumerate() {
        match own.get(&*field.name) {
            Some(from) => target[*from] = Some(at),
            None => missing.push(at),
        }
    }
    missing.retain(|at| {
        let aliases = reader.fields[*at].aliases.iter().filter_map(|alias| own.get(&**alias));
        let from = aliases.copied().find(|from| target[*from].is_none());
        if let Some(from) = from {
            target[from] = Some(*at);
        }
        from.is_none()
    });
    Matched { target, missing }
}

/// What to do where a type is read as a wider one.
pub(crate) fn promotion(from: &TypeKind, to: &TypeKind) -> Option<Step> {
    use TypeKind as T;
    Some(match (from, to) {
        (T::Int, T::Long) => Step::IntToLong,
        (T::Int, T::Float) => Step::IntToFloat,
        (T::Int, T::Double) => Step::IntToDouble,
        (T::Long, T::Float) => Step::LongToFloat,
        (T::Long, T::Double) => Step::LongToDouble,
        (T::Float, T::Double) => Step::FloatToDouble,
        (T::String, T::Bytes) => Step::StringToBytes,
        (T::Bytes, T::String) => Step::BytesToString,
        _ => return None,
    })
}

/// Whether both have the same name, without namespace, or the reader had the writer's before.
pub(crate) fn names_match(from: &TypeKind, to: &TypeKind) -> bool {
    let (Some(writer), Some(reader)) = (from.name(), to.name()) else { return false };
    writer.short() == reader.short() || full_names_match(from, to)
}

/// The same, with namespace.
pub(crate) fn full_names_match(from: &TypeKind, to: &TypeKind) -> bool {
    let (Some(writer), Some(reader)) = (from.name(), to.name()) else { return false };
    writer == reader || to.aliases().contains(writer)
}
