//! Each model with its rules, which hold, and with each rule broken, which is found.
//!
//! The numbers of states are asserted too: a model that forgets a step would hold as well. Those of fencing, lease and
//! taking over were first counted by other programs of the same models.

mod fence;
mod gate;
mod lease;
mod takeover;

use affinity_simulation::models::explore::{Model, explore};

/// More states than any model here has.
const LIMIT: usize = 4_000_000;

/// Nothing breaks in any of the `states`.
fn assert_holds<M: Model>(model: &M, states: usize) {
    let report = explore(model, LIMIT);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.complete);
    assert_eq!(report.states, states);
}

/// `violation`, and no other, is found after this number of `steps` at the least.
fn assert_breaks<M: Model>(model: &M, violation: M::Violation, steps: usize) -> usize {
    let report = explore(model, LIMIT);
    let [found] = &report.violations[..] else { panic!("{} violations", report.violations.len()) };
    assert_eq!(found.violation, violation);
    assert_eq!(found.path.len(), steps, "{:#?}", found.path);
    assert!(report.complete);
    report.states
}
