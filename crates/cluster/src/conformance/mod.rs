//! The conformance suite: the law of [`Coordinator`] as tests, which every backend runs.
//!
//! A backend writes a [`Subject`] and lets [`coordinator_conformance`](crate::coordinator_conformance) make one test of each
//! case:
//!
//! ```
//! use std::sync::Arc;
//! use affinity_cluster::conformance::{Case, Subject};
//! use affinity_cluster::{Coordinator, memory::MemoryCoordinator};
//!
//! struct Plain(MemoryCoordinator);
//!
//! impl Subject for Plain {
//!     fn coordinator(&self) -> Arc<dyn Coordinator> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! fn run(case: &Case) {
//!     let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//!     runtime.block_on(case.run(&Plain(MemoryCoordinator::new())));
//! }
//!
//! affinity_cluster::coordinator_conformance!(run);
//! # fn main() { affinity_cluster::conformance::CASES.iter().for_each(run) }
//! ```
//!
//! The cases need no runtime of their own: they spawn nothing and wait for answers, never for a time. A backend that breaks
//! the law may hang one, so the runner puts a timeout around it.

mod candidate;
mod entries;
mod lasting;
mod losing;
mod racing;

use std::fmt;
use std::sync::Arc;

use crate::{BoxFuture, Coordinator};

/// A coordinator under test, fresh for each case, and what the contract cannot do to it. The methods that answer `bool` say
/// whether they could; a case that needs what a subject cannot do passes.
pub trait Subject: Send + Sync {
    /// A handle to the coordinator, as it was opened last: where it lies behind a network, a connection of its own, so
    /// that each candidate has one.
    fn coordinator(&self) -> Arc<dyn Coordinator>;

    /// What the names of keyspaces begin with, where several subjects share a server. The cases add up to 32 bytes.
    fn prefix(&self) -> String {
        String::new()
    }

    /// The next compare-and-set through any handle answers `Unknown`.
    fn lose(&self, _what: Loss) -> bool {
        false
    }

    /// The next call through any handle answers `Unavailable`.
    fn refuse(&self) -> bool {
        false
    }

    /// Lets all be done that was delayed or given up. It makes no difference where nothing can be.
    fn land(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Stops the coordinator and opens it again on the same data. The case holds no handle meanwhile.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What is lost of a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its answer: it is done.
    Answer,
    /// All of it: it is not done.
    Request,
    /// Its time: it is not done before [`Subject::land`].
    Time,
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
        macro_rules! coordinator_conformance {
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
    entries:
        a_partition_never_taken_has_nobody
        what_was_won_is_read_back
        names_at_the_limits_come_back
        names_that_cannot_be_are_invalid
        nobody_may_have_an_epoch
        epochs_may_be_skipped_but_never_decrease
        an_attempt_is_made_once
        a_stale_expectation_loses_whatever_it_brings
        an_expectation_of_the_future_loses
        revisions_grow
        partitions_have_nothing_to_do_with_each_other;
    racing:
        two_candidates_in_any_order_leave_one_winner
        three_candidates_in_any_order_leave_one_winner
        of_many_racing_candidates_one_wins_each_revision
        reads_never_go_back;
    losing:
        a_repeated_attempt_is_done_once
        a_lost_answer_is_found_by_its_attempt
        a_lost_request_can_be_repeated
        a_late_request_wins_once_or_loses
        a_lost_answer_followed_by_another_is_lost
        a_dropped_call_is_done_whole_or_not_at_all
        an_unavailable_call_does_nothing;
    lasting:
        what_was_won_outlasts_reopening
        a_stale_expectation_loses_after_reopening_too;
}
