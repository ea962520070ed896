//! Clocks that drift and jump, each node its own, all from one true time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use affinity_types::{Clock, EventTime};

/// True time, in microseconds.
#[derive(Clone, Default)]
pub(crate) struct TrueTime(Arc<AtomicU64>);

impl TrueTime {
    pub(crate) fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms * 1000, Ordering::SeqCst);
    }

    pub(crate) fn micros(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A node's clocks.
pub(crate) struct NodeClock {
    time: TrueTime,
    /// How fast its seconds are, in percent of true ones.
    rate_percent: u64,
    wall_offset_ms: AtomicI64,
}

impl NodeClock {
    pub(crate) fn new(time: &TrueTime, rate_percent: u64) -> NodeClock {
        NodeClock { time: time.clone(), rate_percent, wall_offset_ms: AtomicI64::new(0) }
    }

    pub(crate) fn set_offset_ms(&self, ms: i64) {
        self.wall_offset_ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> EventTime {
        let ms = i64::try_from(self.time.micros() / 1000).unwrap();
        EventTime(1_700_000_000_000 + ms + self.wall_offset_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.time.micros() * self.rate_percent / 100)
    }
}
