//! Waiting for a moment, as a component (law 8).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A wait under way.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for moments of a clock's elapsed time. The composition root provides it, beside the [`Clock`](affinity_types::Clock)
/// that it belongs to.
pub trait Timer: Send + Sync + 'static {
    /// Ready when the elapsed time is `at` or later; at once if it is so now.
    fn sleep_until(&self, at: Duration) -> Sleep;
}
