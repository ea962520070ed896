//! What can go wrong with a memstore.

use affinity_types::{Epoch, Offset};
use thiserror::Error;

use crate::StoreId;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [error](enum@Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call can never succeed as it is.
    Invalid,
    /// What was read from is gone: begin again.
    NotFound,
    /// It does not follow from what is there, or somebody else has it.
    Conflict,
    /// Not now: nothing was done. After a failure of the disk the store must be opened again.
    Unavailable,
    /// The store's own data are damaged: set it aside and rebuild it from the log.
    Corrupt,
}

/// An error of a memstore. Whatever it is, the store is as before the call, or unusable until it is opened again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than a limit allows.
    #[error("{what} of {length} bytes: at most {max} are possible")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A store number that is the memstore's own.
    #[error("store {0} is reserved")]
    StoreReserved(StoreId),
    /// An epoch that no chain of take-overs reaches.
    #[error("epoch {0} is out of range")]
    EpochOutOfRange(Epoch),
    /// A name that a store on disk cannot have.
    #[error("store name {0:?} is not 1 to {max} bytes long", max = crate::limits::NAME_MAX)]
    Name(String),
    /// The batch does not begin where the store stands: records are missing, or were applied before.
    #[error("the batch begins at offset {from}, the store stands at {next}")]
    NotContiguous {
        /// Where the store stands.
        next: Offset,
        /// Where the batch begins.
        from: Offset,
    },
    /// The batch contradicts itself or the store.
    #[error("the batch {0}")]
    Contradiction(&'static str),
    /// As many snapshots are open as may be.
    #[error("{max} snapshots are open already")]
    TooManySnapshots {
        /// The limit.
        max: usize,
    },
    /// The snapshot was closed: it was too old, or too much was kept for it.
    #[error("the snapshot has expired")]
    SnapshotExpired,
    /// The store of that name is open already; a store has one owner.
    #[error("store {0:?} is open already")]
    AlreadyOpen(String),
    /// Bytes that this crate did not write.
    #[error("damaged {0}")]
    Damaged(&'static str),
    /// The database on disk is damaged.
    #[error("the database is damaged")]
    DatabaseDamaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk failed, or the database on it cannot be used now.
    #[error("the database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::TooLong { .. }
            | Error::StoreReserved(_)
            | Error::EpochOutOfRange(_)
            | Error::Name(_)
            | Error::Contradiction(_) => ErrorKind::Invalid,
            Error::SnapshotExpired => ErrorKind::NotFound,
            Error::NotContiguous { .. } | Error::AlreadyOpen(_) => ErrorKind::Conflict,
            Error::TooManySnapshots { .. } | Error::Database(_) => ErrorKind::Unavailable,
            Error::Damaged(_) | Error::DatabaseDamaged(_) => ErrorKind::Corrupt,
        }
    }
}
