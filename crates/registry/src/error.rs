//! What can go wrong with a registry, sorted by what the caller should do.

use std::fmt;

use thiserror::Error;

/// What a caller can do about an [`Error`](struct@Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call can never succeed as it is.
    Invalid,
    /// The schema may not follow the versions that are there; the message says where and what to do.
    Incompatible,
    /// Not now: nothing was done and nothing will be; try again later.
    Unavailable,
    /// It may have been done, or be done later: doing it again settles it.
    Unknown,
    /// What the registry keeps is damaged or not its own: somebody has to look at it.
    Corrupt,
}

/// An error of a registry: its kind and a sentence for the operator.
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
