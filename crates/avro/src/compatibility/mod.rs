//! Whether values written with one schema can all be read as those of another, and what keeps them from it.
//!
//! A [`Plan`](crate::Plan) answers what becomes of one value; a verdict is about all of them, so it holds what a value may never meet: an
//! empty array hides an item that does not resolve, not from a verdict. It is stricter than the reader in one more way: at the
//! top and in fields the name of a record must be kept or be an alias, since a record of another name is most often another thing.
//!
//! The rules are those of `SchemaCompatibility` in Avro for Java, which registries apply, but that a verdict is never more
//! generous than the reader here: what is compatible is read, every value of it. They differ where
//! - a union holds several records, enums or fixed of the written short name: Java asks for one that takes the values, the reader takes one
//!   by its name, and the verdict is about what it takes;
//! - an alias names a field that the reader has under its own name as well: Java says compatible and cannot read. Here the field
//!   that is called so has it, and the other one needs a default.
//!
//! As in Java, and in registries, logical types play no part in it: a decimal of another scale is compatible, and read as another number.
//! [`misreadings`] finds that; it is asked before records are written to a store.
//!
//! ```
//! use affinity_avro::{Compatibility, Schema};
//!
//! let person = |zip: &str| {
//!     let address = format!(r#"{{"type": "record", "name": "Address", "fields": [{zip}]}}"#);
//!     Schema::parse(&format!(
//!         r#"{{"type": "record", "name": "Person", "fields": [{{"name": "address", "type": {address}}}]}}"#
//!     ))
//! };
//! let old = person("")?;
//! let new = person(r#"{"name": "zip", "type": "string"}"#)?;
//! let error = Compatibility::Backward.check(&new, &[&old]).expect_err("old values have no zip");
//! assert_eq!(
//!     error.to_string(),
//!     "Person.address.zip: older values do not have this field: give it a default, or an alias if it had another name",
//! );
//! # Ok::<(), affinity_avro::Error>(())
//! ```

mod walk;

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::schema::Schema;
use walk::{Walk, mismatches};

/// Differences that an error lists beside the first.
const LISTED_MAX: usize = 8;

/// What a new version of a schema must be able to do with the versions before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compatibility {
    /// Anything: what it can read is for its owner to know.
    None,
    /// The new one reads what the last one wrote: readers move first.
    #[default]
    Backward,
    /// The new one reads what any earlier one wrote.
    BackwardTransitive,
    /// The last one reads what the new one writes: writers move first.
    Forward,
    /// Every earlier one reads what the new one writes.
    ForwardTransitive,
    /// Backward and forward.
    Full,
    /// Backward and forward with every earlier one.
    FullTransitive,
}

impl Compatibility {
    /// All levels.
    pub const ALL: [Compatibility; 7] = [
        Compatibility::None,
        Compatibility::Backward,
        Compatibility::BackwardTransitive,
        Compatibility::Forward,
        Compatibility::ForwardTransitive,
        Compatibility::Full,
        Compatibility::FullTransitive,
    ];

    /// What registries call it: `BACKWARD`, `FULL_TRANSITIVE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compatibility::None => "NONE",
            Compatibility::Backward => "BACKWARD",
            Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Compatibility::Forward => "FORWARD",
            Compatibility::ForwardTransitive => "FORWARD_TRANSITIVE",
            Compatibility::Full => "FULL",
            Compatibility::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether `new` may follow `older`, which are in the order of their versions.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) with the path to what is in the way and what can be done about it, of the newest version that is;
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if schemas are too deep or too large to be compared.
    pub fn check(self, new: &Schema, older: &[&Schema]) -> Result<(), Error> {
        let seen = if self.is_transitive() { older } else { &older[older.len().saturating_sub(1)..] };
        for old in seen.iter().rev() {
            if self.reads_older() {
                told(&mismatches(old, new, Walk::NewReads)?)?;
            }
            if self.is_read_by_older() {
                told(&mismatches(new, old, Walk::OldReads)?)?;
            }
        }
        Ok(())
    }

    /// Whether more than the last version counts.
    #[must_use]
    pub fn is_transitive(self) -> bool {
        use Compatibility as C;
        matches!(self, C::BackwardTransitive | C::ForwardTransitive | C::FullTransitive)
    }

    fn reads_older(self) -> bool {
        use Compatibility as C;
        matches!(self, C::Backward | C::BackwardTransitive | C::Full | C::FullTransitive)
    }

    fn is_read_by_older(self) -> bool {
        use Compatibility as C;
        matches!(self, C::Forward | C::ForwardTransitive | C::Full | C::FullTransitive)
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compatibility {
    type Err = Error;

    /// Reads the name, in capitals or not.
    fn from_str(text: &str) -> Result<Compatibility, Error> {
        let named = |level: &Compatibility| level.name().eq_ignore_ascii_case(text);
        Compatibility::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Compatibility::ALL.map(Compatibility::name).join(", ");
            Error::invalid(format_args!("{text:?} is no level of compatibility: {names}"))
        })
    }
}

/// What keeps some values of one schema from being read as those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, as in `Person.addresses[].zip`: the name at the top, fields, `[]` for an item, `{}` for a value of a map, `<Name>` for one of
    /// several branches of a union.
    pub path: String,
    /// What is wrong and what can be done about it.
    pub message: String,
}

/// All that keeps values of `writer` from being read as those of `reader`, which is taken for the newer one where the messages
/// say what to do; empty if every value can be.
///
/// # Errors
/// [`TooLarge`](crate::ErrorKind::TooLarge) if the schemas are too deep or too large to be compared.
pub fn incompatibilities(writer: &Schema, reader: &Schema) -> Result<Vec<Mismatch>, Error> {
    mismatches(writer, reader, Walk::NewReads)
}

/// What of `writer` is read as `reader`, which is taken for the newer one, and means something else there: decimals of another scale, or of
/// fewer digits, and any other logical type in place of one. Empty if nothing is.
///
/// # Errors
/// As [`incompatibilities`].
pub fn misreadings(writer: &Schema, reader: &Schema) -> Result<Vec<Mismatch>, Error> {
    walk::misreadings(writer, reader)
}

/// The first mismatch as an error, which names where the others are.
fn told(found: &[Mismatch]) -> Result<(), Error> {
    let Some((first, others)) = found.split_first() else { return Ok(()) };
    let listed: Vec<&str> = others.iter().take(LISTED_MAX).map(|other| &*other.path).collect();
    let more = if others.len() > LISTED_MAX { ", ..." } else { "" };
    let also = if listed.is_empty() { String::new() } else { format!("; also {}{more}", listed.join(", ")) };
    let error = Error::incompatible(format_args!("{}{also}", first.message));
    Err(if first.path.is_empty() { error } else { error.within(&*first.path) })
}
