//! The limits of a memstore and what happens at them.

use std::time::Duration;

/// Longest name of a store on disk, in bytes.
pub(crate) const NAME_MAX: usize = 200;

/// Limits of one memstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes. A longer one is refused with its batch. Default 32 KiB; on disk at most 60 KiB.
    pub key_max_bytes: usize,
    /// Longest value in bytes. A longer one is refused with its batch. Default 16 MiB.
    pub value_max_bytes: usize,
    /// Longest [`attachment`](crate::Checkpoint::attachment) of a checkpoint. A longer one is refused with its batch.
    /// Default 64 KiB.
    pub attachment_max_bytes: usize,
    /// Most open snapshots. Opening one more is refused. Default 64.
    pub snapshots_max: usize,
    /// Greatest age of a snapshot. An older one is closed, and reading from it says so. Default 60 s.
    pub snapshot_age_max: Duration,
    /// Most bytes of overwritten values kept in memory for open snapshots. Beyond it the oldest snapshots are closed,
    /// and reading from them says so. Default 256 MiB. On disk they take no memory and this does not apply.
    pub snapshot_kept_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_max_bytes: 32 << 10,
            value_max_bytes: 16 << 20,
            attachment_max_bytes: 64 << 10,
            snapshots_max: 64,
            snapshot_age_max: Duration::from_secs(60),
            snapshot_kept_max_bytes: 256 << 20,
        }
    }
}
