//! The settings of an owner.

use affinity_state::{RequestSettings, WatchSettings};

/// How a master may answer reads where the log does not know its newest writer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// From memory while the lease holds that is anchored in the log: needs clocks whose rates differ by no more than
    /// [`clock_drift_percent`](OwnerSettings::clock_drift_percent).
    Lease,
    /// After an append that was sent later than the read arrived: no clocks, one append a batch of reads.
    Strict,
}

/// Limits and times of an owner, fixed while it runs. A limit of 0 would let nothing happen, and counts as 1; so does a wait of 0 before
/// something is done again, which would never end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerSettings {
    /// Messages that wait for the owner; a further one is `Overloaded`. For effects there are
    /// [`effect_window`](OwnerSettings::effect_window) places more. Default 4096.
    pub queue_max: usize,
    /// Groups in flight; at the limit messages wait in the queue. The log's own limit counts too. Default 512.
    pub pending_max: usize,
    /// Reads that wait for their release, replies to writes that an earlier lease holds back, and those who asked again for an
    /// answer that is under way, together; at the limit messages wait in the queue. Default 4096.
    pub held_reads_max: usize,
    /// Messages handled before the owner lets other tasks run. Default 256.
    pub turn_max: usize,
    /// Bytes of an answer that is remembered under a request id. A longer one refuses the command. Default 4 KiB.
    pub result_max_bytes: usize,
    /// Entries of a scan that are looked at in one turn, and that one chunk has at most. At least 1. Default 1000.
    pub scan_chunk_max: usize,
    /// A chunk ends with the entry that takes it to so many bytes. At least 1. Default 1 MiB.
    pub scan_chunk_bytes_max: usize,
    /// Scans that are open at the same time; one more that takes more than a chunk is `Overloaded`. They have a snapshot of
    /// the memstore each, whose own limit counts too. Default 32.
    pub scans_max: usize,
    /// How reads are answered. Default [`Reads::Lease`].
    pub reads: Reads,
    /// Length of the read lease in milliseconds. Default 300.
    pub lease_ms: u64,
    /// How far the rates of two clocks may differ, in percent. Default 5; more than 50 counts as 50.
    pub clock_drift_percent: u64,
    /// An idle master appends a no-op so often, in milliseconds, so that others' appends show; where the log knows its
    /// newest writer at once it asks the log instead. Default 5000.
    pub idle_noop_ms: u64,
    /// Wait before a step of taking over that failed is tried again, in milliseconds. Default 50.
    pub retry_ms: u64,
    /// Longest call to the coordinator or the log while taking over, in milliseconds: then it counts as failed, or its outcome
    /// as unknown. Default 10 000.
    pub call_timeout_ms: u64,
    /// Values or entries that one poll of the owner handles while an index is built or dropped. Default 256.
    pub index_step_max: usize,
    /// Keys that a watch of an index key begins with; one of an index key that more have is `Invalid`. Default 10 000.
    pub index_watch_keys_max: usize,
    /// How often a receiver tries an effect that its handler refuses before it goes back to its sender. Default 3.
    pub effect_tries: u32,
    /// Effects on their way from one partition to another. Default 64.
    pub effect_window: usize,
    /// Effects to one partition that it has not acknowledged; at the limit commands that emit to it are `Overloaded`, and
    /// effects that come are still handled. What one command emits below the limit may take it beyond. Default 10 000.
    pub outbox_max: usize,
    /// How long an effect that is done may wait to be cleared from the log with others, in milliseconds. Default 20.
    pub effect_clear_ms: u64,
    /// Deletes of values that have expired are gathered so long before they are appended, in milliseconds; no read waits for it, since an
    /// expired value is none and one that is met is deleted at once. Default 20.
    pub expiry_gather_ms: u64,
    /// Deletes of expired values in one group, at most; a further group follows when it has landed. Default 1024; at most a group's
    /// [`RECORDS_MAX`](affinity_types::Group::RECORDS_MAX).
    pub expiry_group_max: usize,
    /// The window of request ids.
    pub requests: RequestSettings,
    /// Limits of watches.
    pub watches: WatchSettings,
    /// A protection that is taken away, for the proof that the proof can fail.
    #[cfg(feature = "mutants")]
    pub removed: Option<crate::owner::Protection>,
}

impl Default for OwnerSettings {
    fn default() -> OwnerSettings {
        OwnerSettings {
            queue_max: 4096,
            pending_max: 512,
            held_reads_max: 4096,
            turn_max: 256,
            result_max_bytes: 4096,
            scan_chunk_max: 1000,
            scan_chunk_bytes_max: 1 << 20,
            scans_max: 32,
            reads: Reads::Lease,
            lease_ms: 300,
            clock_drift_percent: 5,
            idle_noop_ms: 5000,
            retry_ms: 50,
            call_timeout_ms: 10_000,
            index_step_max: 256,
            index_watch_keys_max: 10_000,
            effect_tries: 3,
            effect_window: 64,
            outbox_max: 10_000,
            effect_clear_ms: 20,
            expiry_gather_ms: 20,
            expiry_group_max: 1024,
            requests: RequestSettings::default(),
            watches: WatchSettings::default(),
            #[cfg(feature = "mutants")]
            removed: None,
        }
    }
}

impl OwnerSettings {
    /// The same settings, with limits that let something happen and waits that end.
    pub(crate) fn bounded(self) -> OwnerSettings {
        OwnerSettings {
            queue_max: self.queue_max.max(1),
            pending_max: self.pending_max.max(1),
            held_reads_max: self.held_reads_max.max(1),
            turn_max: self.turn_max.max(1),
            idle_noop_ms: self.idle_noop_ms.max(1),
            retry_ms: self.retry_ms.max(1),
            index_step_max: self.index_step_max.max(1),
            effect_window: self.effect_window.max(1),
            outbox_max: self.outbox_max.max(1),
            effect_clear_ms: self.effect_clear_ms.max(1),
            ..self
        }
    }
}
