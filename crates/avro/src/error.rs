//! What can go wrong with schemas and values, sorted by what the caller should do.

use std::fmt;

use thiserror::Error;

/// What a caller can do about an [`Error`](struct@Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text, schema or value that was handed in is not one: it has to be changed.
    Invalid,
    /// The bytes are not those of a value of the schema.
    Corrupt,
    /// A limit of [`Limits`](crate::Limits) or [`SchemaLimits`](crate::SchemaLimits) is passed.
    TooLarge,
    /// The two schemas do not resolve where the path says.
    Incompatible,
}

/// An error, and the path to where it is, as in `customer.lines[]`: small, since most results hold none.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    kind: ErrorKind,
    message: String,
    /// Innermost first, as they are met on the way out.
    path: Vec<Box<str>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Error {
        Error(Box::new(Details { kind, message: message.to_string(), path: Vec::new() }))
    }

    #[cold]
    pub(crate) fn invalid(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    #[cold]
    pub(crate) fn corrupt(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    #[cold]
    pub(crate) fn too_large(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::TooLarge, message)
    }

    #[cold]
    pub(crate) fn incompatible(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Incompatible, message)
    }

    /// The same error, found below `step`: a field's name, `[]` for an item, `{}` for a value of a map.
    #[cold]
    #[must_use]
    pub fn within(mut self, step: impl Into<Box<str>>) -> Error {
        self.0.path.push(step.into());
        self
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong, without where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it is, from the outside in; empty at the top.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.path.iter().rev() {
            if !path.is_empty() && !step.starts_with(['[', '{']) {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        // A path as long as a stranger's nesting is cut.
        const STEPS_SHOWN: usize = 32;
        let steps: Vec<_> = self.path.iter().rev().take(STEPS_SHOWN).collect();
        for (index, step) in steps.iter().enumerate() {
            let dot = if index > 0 && !step.starts_with(['[', '{']) { "." } else { "" };
            write!(f, "{dot}{step}")?;
        }
        let more = if self.path.len() > STEPS_SHOWN { "..." } else { "" };
        write!(f, "{more}: {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_it_is() {
        let error = Error::corrupt("cut short").within("[]").within("lines").within("order");
        assert_eq!(error.to_string(), "order.lines[]: cut short");
        assert_eq!(error.path(), "order.lines[]");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(Error::invalid("no name").to_string(), "no name");
    }
}
