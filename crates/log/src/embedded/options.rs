//! The settings of the embedded log.

/// Limits and sizes of an [`EmbeddedLog`](super::EmbeddedLog), fixed while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Size of a segment of the journal in bytes: preallocated, and the step in which space is given back. Default
    /// 32 MiB; 64 KiB to 1 GiB.
    pub segment_bytes: u32,
    /// Most bytes of a group. Default 1 MiB; at most a quarter of a segment. A larger group is refused at once.
    pub group_bytes_max: u32,
    /// Most groups of one partition that wait for their acknowledgement. Default 1024; a further append is `Full`.
    pub in_flight_max: u32,
    /// Bytes of all partitions that wait to be written from which on appends are `Full`. Default 16 MiB.
    pub pending_bytes_max: usize,
    /// Bytes that a reader is given at once, if there are so many. Default 256 KiB.
    pub read_bytes: u32,
    /// Memory for the keys of one compaction pass. Default 128 MiB, about four million keys; more keys take more passes.
    pub compaction_map_bytes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> EmbeddedOptions {
        EmbeddedOptions {
            segment_bytes: 32 << 20,
            group_bytes_max: 1 << 20,
            in_flight_max: 1024,
            pending_bytes_max: 16 << 20,
            read_bytes: 256 << 10,
            compaction_map_bytes: 128 << 20,
        }
    }
}

impl EmbeddedOptions {
    /// Says what is wrong with the settings, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let quarter = self.segment_bytes / 4;
        if !(64 << 10..=1 << 30).contains(&self.segment_bytes) {
            return Some(format!("segment_bytes is {}: 64 KiB to 1 GiB are possible", self.segment_bytes));
        }
        if self.group_bytes_max == 0 || self.group_bytes_max > quarter {
            return Some(format!(
                "group_bytes_max is {}: 1 to a quarter of segment_bytes ({quarter}) are possible",
                self.group_bytes_max
            ));
        }
        let zero = [
            ("in_flight_max", self.in_flight_max == 0),
            ("pending_bytes_max", self.pending_bytes_max == 0),
            ("read_bytes", self.read_bytes == 0),
            ("compaction_map_bytes", self.compaction_map_bytes < 1024),
        ];
        zero.into_iter().find(|(_, bad)| *bad).map(|(name, _)| format!("{name} is too small"))
    }
}
