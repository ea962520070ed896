//! The conformance suite: the law of [`SchemaRegistry`] as tests, which every backend runs.
//!
//! A backend writes a [`Backend`] and lets [`registry_conformance`](crate::registry_conformance) make one test of each case:
//!
//! ```
//! use std::sync::Arc;
//! use affinity_registry::conformance::{Backend, Case};
//! use affinity_registry::{MemoryRegistry, SchemaRegistry};
//!
//! struct Plain(MemoryRegistry);
//!
//! impl Backend for Plain {
//!     fn registry(&self) -> Arc<dyn SchemaRegistry> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! fn run(case: &Case) {
//!     let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//!     runtime.block_on(case.run(&Plain(MemoryRegistry::new())));
//! }
//!
//! affinity_registry::registry_conformance!(run);
//! # fn main() { affinity_registry::conformance::CASES.iter().for_each(run) }
//! ```
//!
//! The cases need no runtime of their own: they spawn nothing and wait for answers, never for a time. A backend that breaks
//! the law may hang one, so the runner puts a timeout around it.

mod evolving;
mod lasting;
mod losing;
mod node;
mod racing;
mod registering;

use std::fmt;
use std::sync::Arc;

use crate::{BoxFuture, SchemaRegistry};

/// A registry under test, fresh for each case, and what the contract cannot do to it. The methods that answer `bool` say
/// whether they could; a case that needs what a backend cannot do passes.
pub trait Backend: Send + Sync {
    /// A handle to the registry, as it was opened last: with a connection or a memory of its own, where handles have that, as each
    /// node has.
    fn registry(&self) -> Arc<dyn SchemaRegistry>;

    /// What the names of subjects, and of records, begin with, where several cases share a server: letters and digits. The cases add up
    /// to 32 bytes.
    fn prefix(&self) -> String {
        String::new()
    }

    /// The next call that changes something, through any handle, answers `Unknown`.
    fn lose(&self, _what: Loss) -> bool {
        false
    }

    /// The next call through any handle answers `Unavailable`.
    fn refuse(&self) -> bool {
        false
    }

    /// Stops the registry and opens it again on the same data. The case holds no handle meanwhile.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What is lost of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its answer: it is done.
    Answer,
    /// All of it: it is not done.
    Request,
}

/// One behaviour, named as a sentence.
pub struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>,
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
    /// If the backend breaks the law.
    pub async fn run(&self, backend: &dyn Backend) {
        (self.run)(backend).await;
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

/// Runs all cases, each on a backend of its own.
///
/// # Panics
/// If a backend breaks the law.
pub async fn run<B: Backend>(mut backend: impl AsyncFnMut() -> B) {
    for case in CASES {
        case.run(&backend().await).await;
    }
}

/// Lists the cases once: for [`CASES`] and for the macro that makes tests of them.
macro_rules! cases {
    ($d:tt $($module:ident: $($name:ident)+;)+) => {
        /// All cases.
        pub const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: |backend| Box::pin($module::$name(backend)) },
        )+)+];

        /// Makes one test of each case: it calls the given `fn(&Case)`.
        #[macro_export]
        macro_rules! registry_conformance {
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
    registering:
        a_subject_never_registered_has_nothing
        what_was_registered_is_read_back
        the_same_schema_again_is_the_same_version
        white_space_and_order_make_no_other_schema
        a_doc_or_a_default_makes_another_schema
        a_schema_has_one_id_in_all_subjects
        subjects_have_nothing_to_do_with_each_other
        names_at_the_limits_come_back
        schemas_of_every_kind_come_back
        an_id_never_given_has_no_schema;
    evolving:
        backward_is_asked_unless_told_otherwise
        what_does_not_fit_changes_nothing
        an_older_version_is_not_judged_again
        a_check_registers_nothing
        each_level_asks_for_what_it_says
        a_level_holds_for_its_subject
        a_level_judges_what_comes_and_not_what_is_there;
    racing:
        who_registers_the_same_gets_the_same
        who_registers_others_gets_other_ids
        of_two_that_exclude_each_other_one_is_registered
        what_was_told_is_known_to_all;
    losing:
        a_lost_answer_is_settled_by_repeating
        a_lost_request_is_settled_by_repeating
        an_unavailable_call_does_nothing
        a_dropped_call_is_done_whole_or_not_at_all;
    lasting:
        what_was_registered_outlasts_reopening
        levels_outlast_reopening
        ids_go_on_after_reopening;
}
