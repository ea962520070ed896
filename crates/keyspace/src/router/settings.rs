//! The settings of a router.

/// Limits and times of a router, fixed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterSettings {
    /// How long a message may take if its sender does not say, in milliseconds. Default 10 000.
    pub deadline_ms: u64,
    /// The longest wait before a message is tried for the second time, in milliseconds; the shortest is half of it. It doubles
    /// with every try. Default 10.
    pub retry_first_ms: u64,
    /// Waits between tries are no longer than this, in milliseconds. Default 1000.
    pub retry_max_ms: u64,
    /// Partitions that one scattered query waits for at the same time; further ones are asked as answers come. At least 1.
    /// Default 64.
    pub scatter_max: usize,
}

impl Default for RouterSettings {
    fn default() -> RouterSettings {
        RouterSettings { deadline_ms: 10_000, retry_first_ms: 10, retry_max_ms: 1000, scatter_max: 64 }
    }
}
