//! The conformance suite: the law of [`Log`] as tests, which every backend runs.
//!
//! A backend writes a [`Subject`] and lets [`log_conformance`](crate::log_conformance) make one test of each case:
//!
//! ```
//! use std::sync::Arc;
//! use affinity_log::conformance::{Case, Subject};
//! use affinity_log::{Log, memory::MemoryLog};
//! use affinity_types::EventTime;
//!
//! struct Plain(Arc<MemoryLog>);
//!
//! impl Subject for Plain {
//!     fn log(&self) -> Arc<dyn Log> {
//!         self.0.clone()
//!     }
//!     fn fences(&self) -> bool {
//!         true
//!     }
//!     fn now(&self) -> EventTime {
//!         EventTime(0)
//!     }
//! }
//!
//! fn run(case: &Case) {
//!     let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//!     runtime.block_on(case.run(&Plain(Arc::default())));
//! }
//!
//! affinity_log::log_conformance!(run);
//! # fn main() { affinity_log::conformance::CASES.iter().for_each(run) }
//! ```
//!
//! The cases need no runtime of their own: they spawn nothing and wait for conditions, never for a time. A backend that
//! breaks the law may hang one, so the runner puts a timeout around it.

mod appending;
mod bell;
mod forgetting;
mod lasting;
mod owner;
mod reading;
mod takeover;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use affinity_types::EventTime;

use crate::{BoxFuture, Log, TopicPartition};

/// A log under test, fresh for each case, and what the contract cannot do to it. The methods that answer `bool` say whether
/// they could; a case that needs what a subject cannot do passes.
pub trait Subject: Send + Sync {
    /// The log, as it was opened last. It takes at least 32 groups in flight and 128 KiB in a group.
    fn log(&self) -> Arc<dyn Log>;

    /// What the names of topics begin with, where several subjects share a server.
    fn prefix(&self) -> String {
        String::new()
    }

    /// Whether the log refuses the groups of an older writer.
    fn fences(&self) -> bool;

    /// Whether the log knows its newest writer at once: whether [`newest`](crate::Writer::newest) answers, and lower epochs
    /// are refused.
    fn knows_newest(&self) -> bool {
        false
    }

    /// The time of the clock that cleanup goes by.
    fn now(&self) -> EventTime;

    /// Moves that clock on.
    fn advance(&self, _by: Duration) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// Closes the log and opens it again on the same data. The case holds no handle, writer or reader meanwhile.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// Forgets now what compaction may forget. The cases write about 2 MiB: a log that forgets in larger units than some
    /// 100 KiB must be made with smaller ones.
    fn compact<'a>(&'a self, _place: &'a TopicPartition) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    /// Forgets now what retention lets go, in such units too.
    fn retain<'a>(&'a self, _place: &'a TopicPartition) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// One behaviour, named as a sentence.
pub struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Subject) -> BoxFuture<'a, ()>,
}

impl Case {
    /// The sentence.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the subject breaks the law.
    pub async fn run(&self, subject: &dyn Subject) {
        (self.run)(subject).await;
    }

    /// The case of that name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn named(name: &str) -> &'static Case {
        CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name}"))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Runs all cases, each on a subject of its own.
///
/// # Panics
/// If a subject breaks the law.
pub async fn run<S: Subject>(mut subject: impl AsyncFnMut() -> S) {
    for case in CASES {
        case.run(&subject().await).await;
    }
}

/// Lists the cases once: for [`CASES`] and for the macro that makes tests of them.
macro_rules! cases {
    ($d:tt $($module:ident: $($name:ident)+;)+) => {
        /// All cases.
        pub const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: |subject| Box::pin($module::$name(subject)) },
        )+)+];

        /// Makes one test of each case: it calls the given `fn(&Case)`.
        #[macro_export]
        macro_rules! log_conformance {
            ($d run:path) => {$($(
                #[test]
                fn $name() {
                    $d run($d crate::conformance::Case::named(stringify!($name)));
                }
            )+)+};
        }
    };
}

cases! { $
    topics:
        a_topic_is_created_once_and_found
        a_topic_as_it_cannot_be_is_invalid
        a_topic_made_again_is_another_one
        deleting_a_topic_ends_its_writers_and_readers
        what_is_not_there_is_not_found;
    appending:
        groups_come_back_exactly
        groups_at_the_limits_come_back_whole
        a_group_over_the_limit_takes_nothing
        an_invalid_group_takes_nothing
        acknowledgements_come_in_order_with_their_offsets
        a_full_writer_tells_and_wakes
        bounds_tell_what_is_there
        dropping_a_writer_does_no_harm;
    reading:
        a_tail_begins_with_the_group_that_contains_its_offset
        a_waiting_tail_is_woken
        a_tail_outside_of_the_log_is_out_of_range
        a_time_finds_the_first_group_that_is_not_older
        many_writers_and_readers_see_the_same;
    takeover:
        preparing_and_opening_fence_nobody
        a_newer_writer_fences_the_older
        groups_in_flight_land_before_the_barrier_or_never
        two_candidates_in_any_order_leave_one_master
        a_lower_epoch_is_refused_where_the_log_knows
        newest_is_never_wrong
        contiguity_finds_the_other_writer;
    lasting:
        what_was_acknowledged_outlasts_reopening
        a_writer_goes_on_after_reopening;
    forgetting:
        compaction_keeps_the_newest_record_of_every_key
        a_forgotten_deletion_brings_nothing_back
        a_reader_amid_compaction_sees_the_newest_of_every_key
        requests_are_remembered_within_their_window
        the_newest_group_keeps_its_attributes
        retention_moves_the_start;
}
