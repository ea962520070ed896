//! What schemas, their versions, and the places where they evolve are called.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind};

/// The number of a schema, as it stands in record frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl SchemaId {
    /// The lowest that a registry gives: some clients write 0 where they know none.
    pub const MIN: SchemaId = SchemaId(1);

    /// The highest: other people's clients read it as a signed number.
    pub const MAX: SchemaId = SchemaId(i32::MAX.unsigned_abs());
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a schema among those of its subject, from 1 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaVersion(pub u32);

impl SchemaVersion {
    /// The first.
    pub const FIRST: SchemaVersion = SchemaVersion(1);
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place where a schema evolves from version to version: the values of a topic (`orders-value`), its keys, a kind of message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Longest name, in bytes: that of a topic, a full name and more.
    pub const BYTES_MAX: usize = 1024;

    /// The subject of that name: 1 to [`BYTES_MAX`](Subject::BYTES_MAX) bytes without control characters.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the reason.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Subject, Error> {
        let name = name.into();
        if (1..=Subject::BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
            return Ok(Subject(name));
        }
        let shown: String = name.chars().take(64).collect();
        let max = Subject::BYTES_MAX;
        let message = format!("subject {shown:?} is not 1 to {max} bytes without control characters");
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_invalid() {
        let check = |name: &str, expected: bool| {
            assert_eq!(Subject::new(name).is_ok(), expected, "{name:?}");
        };
        check("orders-value", true);
        check("shop/ä: com.shop.Order", true);
        check(&"s".repeat(1024), true);
        for name in ["", "a\nb", "\0", "\u{85}", &"s".repeat(1025)] {
            check(name, false);
        }
    }
}
