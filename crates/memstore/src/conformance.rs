//! The law of [`MemStore`] as tests, for every backend: [`conformance_tests!`](crate::conformance_tests) makes one test
//! of each function here. Feature `conformance`.
//!
//! ```
//! mod tests {
//!     use affinity_memstore::conformance::Subject;
//!     use affinity_memstore::{MemoryStore, conformance_tests};
//!
//!     conformance_tests!(|limits| Subject::new(MemoryStore::new(limits), ()));
//! }
//! ```

mod expiring;
mod reading;
mod snapshots;
mod writing;

use std::any::Any;
use std::ops::ControlFlow;
use std::time::Duration;

use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};

use crate::{At, Batch, Checkpoint, Limits, MemStore, Scan, Scanned, StoreId, Value};

pub use expiring::*;
pub use reading::*;
pub use snapshots::*;
pub use writing::*;

/// Makes a test of each rule for the empty stores that `$open`, a `fn(Limits) -> Subject`, gives.
#[macro_export]
macro_rules! conformance_tests {
    ($open:expr) => {
        $crate::conformance_tests! { @each $open;
            an_empty_store_has_nothing,
            a_value_comes_back_with_its_version_and_expiry,
            keys_of_any_length_are_ordered_as_bytes,
            stores_are_apart,
            a_scan_shows_what_lies_between_its_bounds,
            keys_that_cannot_be_there_are_not,
            a_prefix_scan_shows_what_begins_with_it,
            a_scan_in_pieces_shows_what_a_whole_one_does,
            a_visitor_ends_a_scan,
            the_last_change_of_a_batch_wins,
            a_removed_key_is_gone,
            a_batch_moves_the_checkpoint,
            the_window_of_requests_grows_and_is_evicted,
            a_batch_that_does_not_follow_changes_nothing,
            a_batch_that_breaks_a_limit_changes_nothing,
            a_batch_that_contradicts_itself_changes_nothing,
            what_has_expired_is_due_until_it_is_changed,
            what_is_derived_is_never_due,
            of_many_that_are_due_some_come_at_a_time,
            a_snapshot_keeps_what_it_saw,
            snapshots_see_each_their_own,
            a_scan_over_a_snapshot_is_stable_while_writes_go_on,
            one_snapshot_too_many_is_refused,
            a_snapshot_that_is_too_old_is_closed,
            closing_one_snapshot_leaves_the_others,
        }
    };
    (@each $open:expr; $($rule:ident,)*) => {
        $(
            #[test]
            fn $rule() {
                $crate::conformance::$rule($open);
            }
        )*
    };
}

/// An empty store under test, with what must live as long as it does.
pub struct Subject {
    store: Box<dyn MemStore>,
    _kept: Box<dyn Any>,
}

/// How a backend gives an empty store.
pub type Open = fn(Limits) -> Subject;

/// The topic of all batches here.
const TOPIC: TopicId = TopicId(7);

/// When snapshots are opened unless a rule says otherwise.
const NOW: Duration = Duration::from_secs(1000);

impl Subject {
    /// `store`, which must be empty, and what must live as long.
    pub fn new(store: impl MemStore + 'static, kept: impl Any) -> Subject {
        Subject { store: Box::new(store), _kept: Box::new(kept) }
    }

    fn next(&self) -> Offset {
        self.store.checkpoint().map_or(Offset::ZERO, |c| c.next)
    }

    /// A batch of `records` records that follows.
    fn batch<'a>(&self, records: u64) -> Batch<'a> {
        Batch::new(self.next(), checkpoint(self.next().advance(records)))
    }

    /// Writes keys and values to the main store, as one batch.
    fn write(&mut self, changes: &[(&str, Option<&str>)]) {
        let mut batch = self.batch(changes.len() as u64);
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(StoreId::MAIN, key.as_bytes(), plain(value)),
                None => batch.remove(StoreId::MAIN, key.as_bytes()),
            }
        }
        self.store.apply(&batch).expect("a batch that follows");
    }

    /// What `key` of the main store has.
    fn value(&self, at: At<'_>, key: &str) -> Option<String> {
        let value = self.store.get_at(at, StoreId::MAIN, key.as_bytes()).expect("readable")?;
        Some(text(value.bytes()))
    }

    /// All that a scan shows, as `key=value` words.
    fn shown(&self, at: At<'_>, scan: &Scan) -> String {
        self.piece(at, scan).0
    }

    fn piece(&self, at: At<'_>, scan: &Scan) -> (String, Scanned) {
        let mut words = Vec::new();
        let mut visit = |key: &[u8], value: Value<'_>| {
            words.push(format!("{}={}", text(key), text(value.bytes())));
            ControlFlow::Continue(())
        };
        let scanned = self.store.scan(at, scan, &mut visit).expect("readable");
        (words.join(" "), scanned)
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn plain(value: &str) -> Value<'_> {
    Value::new(value.as_bytes(), version(1))
}

fn version(sequence: u64) -> Version {
    Version::new(Epoch(1), Sequence(sequence))
}

fn checkpoint(next: Offset) -> Checkpoint {
    Checkpoint::new(TOPIC, next, Epoch(1), EventTime(1))
}
