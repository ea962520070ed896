//! What keeps the log right after a crash, by name, so that the crash tests can take one away and must then fail.

/// One of the log's protections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Groups and blocks are believed only if their checksum holds.
    Checksum,
    /// Checksums begin with the identity of the file.
    Salt,
    /// A bad block with a good one behind it is damage, not a torn tail.
    TailRule,
    /// A group is acknowledged only after the sync.
    SyncBeforeAck,
}

/// Whether a test has taken `protection` away: never, outside tests.
#[cfg(not(test))]
#[inline]
pub(super) fn removed(_: Protection) -> bool {
    false
}

#[cfg(test)]
pub(super) use test_switch::{removed, with_removed};

#[cfg(test)]
mod test_switch {
    use std::cell::Cell;

    use super::Protection;

    thread_local! {
        static REMOVED: Cell<Option<Protection>> = const { Cell::new(None) };
    }

    pub(in super::super) fn removed(protection: Protection) -> bool {
        REMOVED.get() == Some(protection)
    }

    /// Runs `body` on this thread without one protection.
    pub(in super::super) fn with_removed<T>(protection: Option<Protection>, body: impl FnOnce() -> T) -> T {
        REMOVED.set(protection);
        let result = body();
        REMOVED.set(None);
        result
    }
}
