//! Why a message has no answer.

use thiserror::Error;

/// What an asker gets.
pub type Reply<A, E> = Result<A, Failure<E>>;

/// Why a message has no answer: the handler's own error, or one of the system's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure<E> {
    /// The handler refused; nothing changed.
    #[error("{0}")]
    Handler(E),
    /// The message is not possible as it is; nothing changed.
    #[error("{0}")]
    Invalid(&'static str),
    /// More messages wait than the limit allows; nothing changed. Try again later.
    #[error("the partition has more to do than its limits allow")]
    Overloaded,
    /// The partition is not served from here now, or the log refused; nothing changed. Try again.
    #[error("the partition is not available")]
    Unavailable,
    /// It may have happened. With a request id, asking again is safe.
    #[error("the outcome is unknown")]
    Unknown,
    /// Another request was made under the same id; nothing changed.
    #[error("another request was made under this id")]
    Conflict,
    /// The request may have been answered and forgotten; nothing changes any more.
    #[error("the request is older than requests are remembered")]
    RequestExpired,
    /// The scan is not open any more: it took too long, too much was overwritten meanwhile, or its mastership is over. Begin
    /// again.
    #[error("the scan has expired")]
    ScanExpired,
    /// The deadline had passed before the message was handled; nothing changed.
    #[error("the deadline has passed")]
    DeadlinePassed,
    /// A key or value that the handler wants to write is too long, or its changes do not fit into a group; nothing changed.
    #[error("{bytes} bytes to write: {max} are taken at most")]
    TooLarge {
        /// Their size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Another key has the same index key, and the index is unique; nothing changed.
    #[error("another key has the same key of index {index}")]
    NotUnique {
        /// Name of the index.
        index: &'static str,
    },
    /// The index does not have all its entries yet; nothing changed. Try again later.
    #[error("index {index} is being built")]
    IndexBuilding {
        /// Name of the index.
        index: &'static str,
    },
    /// The handler panicked; nothing changed.
    #[error("the handler panicked")]
    Panicked,
    /// What is stored cannot be read; nothing changed. Somebody has to look.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

/// No error of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Never {}

impl Failure<Never> {
    /// A failure of the system, as one of any handler set's.
    pub(crate) fn widen<E>(self) -> Failure<E> {
        self.of_system().unwrap_or(Failure::Unknown)
    }
}

impl<E> Failure<E> {
    /// The same failure of another handler set; `None` for a handler's own error.
    pub fn of_system<F>(self) -> Option<Failure<F>> {
        Some(match self {
            Failure::Handler(_) => return None,
            Failure::Invalid(why) => Failure::Invalid(why),
            Failure::Overloaded => Failure::Overloaded,
            Failure::Unavailable => Failure::Unavailable,
            Failure::Unknown => Failure::Unknown,
            Failure::Conflict => Failure::Conflict,
            Failure::RequestExpired => Failure::RequestExpired,
            Failure::ScanExpired => Failure::ScanExpired,
            Failure::DeadlinePassed => Failure::DeadlinePassed,
            Failure::TooLarge { bytes, max } => Failure::TooLarge { bytes, max },
            Failure::NotUnique { index } => Failure::NotUnique { index },
            Failure::IndexBuilding { index } => Failure::IndexBuilding { index },
            Failure::Panicked => Failure::Panicked,
            Failure::Corrupt(what) => Failure::Corrupt(what),
        })
    }
}
