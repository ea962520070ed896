//! What can go wrong with a partition's state.

use thiserror::Error;

use affinity_types::Offset;
use affinity_types::wire::WireError;

/// Why a group could not be applied. None of these passes by itself: the partition stops, and somebody has to look.
#[derive(Debug, Error)]
pub enum Error {
    /// A record's metadata cannot be read: damaged, or of a later version.
    #[error("the group at offset {offset} cannot be read")]
    Unreadable {
        /// Offset of the group.
        offset: Offset,
        /// What is wrong with it.
        source: WireError,
    },
    /// Indices of earlier versions take all the numbers that there are for indices: open the store with fewer, and let it
    /// drop them.
    #[error("the store has too many indices of earlier versions")]
    TooManyIndices,
    /// The memstore did not take the changes.
    #[error("the store did not take what the log says")]
    Store(#[from] affinity_memstore::Error),
}

/// The result of applying.
pub type Result<T> = std::result::Result<T, Error>;
