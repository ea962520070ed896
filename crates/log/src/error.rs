//! What can go wrong with a log, sorted by what the caller should do.

use std::fmt;

use thiserror::Error;

use affinity_types::wire::WireError;

/// What a caller can do about an [`Error`](struct@Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call can never succeed as it is.
    Invalid,
    /// There is no such topic or partition.
    NotFound,
    /// It is there already, and different.
    Conflict,
    /// The offset lies before the log's start or behind its end.
    OutOfRange,
    /// A newer writer owns the partition.
    Fenced,
    /// Not now: nothing was done; try again later.
    Unavailable,
    /// It may have happened.
    Unknown,
    /// The log's own data are damaged; somebody has to look.
    Corrupt,
}

/// An error of a log: its kind and a sentence for the operator.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Error {
        Error { kind, message: message.to_string(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error { source: Some(source.into()), ..self }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Error {
        Error::new(ErrorKind::Corrupt, "a record's metadata cannot be read").caused_by(error)
    }
}
