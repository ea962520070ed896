//! Time as a component: nothing below the composition root reads the machine's clocks by itself (law 8).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::EventTime;

/// The two clocks of a machine. They are unrelated: the wall clock may jump, the elapsed time never goes back.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, as accurate as the machine keeps it.
    fn now(&self) -> EventTime;

    /// Time since some fixed moment of this process; it counts on while the machine is suspended, so that a read lease
    /// ends in a sleeping laptop too.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`. For the composition root.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        let now = clock_gettime(ClockId::Realtime);
        EventTime(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
    }

    fn elapsed(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let part = |n: i64| u64::try_from(n).expect("the time since boot is not negative");
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: EventTime) -> ManualClock {
        ManualClock { now_ms: AtomicI64::new(now.0), elapsed_ms: AtomicU64::new(0) }
    }

    /// Moves both clocks on by `ms` milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.now_ms.fetch_add(i64::try_from(ms).expect("less than 292 million years"), Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, backwards too.
    pub fn jump_to(&self, now: EventTime) {
        self.now_ms.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        EventTime(self.now_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
