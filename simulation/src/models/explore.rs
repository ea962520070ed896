//! Visits every state that a model can reach, nearest first.
//!
//! Breadth first, so that the path to the first violation is a shortest one. A state that violates the model is not
//! followed further: what comes after a lost write teaches nothing. Steps are not kept; a path finds them again, which
//! leaves the memory to the states.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// A system that moves in steps, any of which may come next.
pub trait Model {
    /// All that the future depends on, and what the invariants need of the past.
    type State: Clone + Eq + Hash;
    /// What happened between two states.
    type Step: Debug;
    /// An invariant that a state breaks.
    type Violation: Copy + PartialEq + Debug;

    /// The state from which everything starts.
    fn initial(&self) -> Self::State;

    /// All that can happen next, and where it leads.
    fn successors(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// The first invariant that `state` breaks.
    fn violation(&self, state: &Self::State) -> Option<Self::Violation>;

    /// Whether it is bad that nothing can happen any more in `end`.
    fn ends_badly(&self, _end: &Self::State) -> bool {
        false
    }
}

/// What an exploration saw.
#[derive(Debug)]
pub struct Report<Step, Violation> {
    /// How many different states were visited.
    pub states: usize,
    /// Whether these are all the states there are; false when the limit stopped the exploration.
    pub complete: bool,
    /// How many states are the end: nothing can happen after them.
    pub ends: usize,
    /// How many of the ends are bad ones.
    pub bad_ends: usize,
    /// A shortest path to a bad end.
    pub bad_end: Option<Vec<Step>>,
    /// One counterexample for each invariant that is broken somewhere, in the order of their discovery.
    pub violations: Vec<Counterexample<Step, Violation>>,
}

/// How an invariant breaks.
#[derive(Debug)]
pub struct Counterexample<Step, Violation> {
    /// The invariant.
    pub violation: Violation,
    /// A shortest path from the initial state to one that breaks it.
    pub path: Vec<Step>,
}

/// Visits all states of `model`, or the `limit` nearest ones when there are more.
pub fn explore<M: Model>(model: &M, limit: usize) -> Report<M::Step, M::Violation> {
    let mut visited = Visited::new(model);
    let mut report =
        Report { states: 0, complete: true, ends: 0, bad_ends: 0, bad_end: None, violations: Vec::new() };
    while let Some(state) = visited.states.get(report.states).cloned() {
        if report.states == limit {
            report.complete = false;
            break;
        }
        let index = report.states;
        report.states += 1;
        if let Some(violation) = model.violation(&state) {
            if !report.violations.iter().any(|known| known.violation == violation) {
                report.violations.push(Counterexample { violation, path: visited.path(index) });
            }
            continue;
        }
        let successors = model.successors(&state);
        if successors.is_empty() {
            report.ends += 1;
            if model.ends_badly(&state) {
                report.bad_ends += 1;
                report.bad_end.get_or_insert_with(|| visited.path(index));
            }
        }
        for (_, next) in successors {
            visited.insert(next, index);
        }
    }
    report
}

/// The states in the order of their discovery.
struct Visited<'a, M: Model> {
    model: &'a M,
    states: Vec<M::State>,
    /// From where each state was found; the initial one from itself.
    parents: Vec<u32>,
    indices: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<'a, M: Model> Visited<'a, M> {
    fn new(model: &'a M) -> Self {
        let (states, parents) = (Vec::new(), Vec::new());
        let (indices, hasher) = (HashTable::new(), DefaultHashBuilder::default());
        let mut visited = Self { model, states, parents, indices, hasher };
        visited.insert(model.initial(), 0);
        visited
    }

    fn insert(&mut self, state: M::State, parent: usize) {
        let number = |index| u32::try_from(index).expect("memory ends before 2^32 states");
        let (states, hasher) = (&self.states, &self.hasher);
        let same = |index: &u32| states[*index as usize] == state;
        let rehash = |index: &u32| hasher.hash_one(&states[*index as usize]);
        if let Entry::Vacant(slot) = self.indices.entry(hasher.hash_one(&state), same, rehash) {
            slot.insert(number(states.len()));
            self.states.push(state);
            self.parents.push(number(parent));
        }
    }

    fn path(&self, mut index: usize) -> Vec<M::Step> {
        let mut path = Vec::new();
        while index != 0 {
            let parent = self.parents[index] as usize;
            let mut steps = self.model.successors(&self.states[parent]).into_iter();
            let step = steps.find(|(_, next)| *next == self.states[index]);
            path.push(step.expect("a state is a successor of its parent").0);
            index = parent;
        }
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two jugs of five and three litres; four litres are a violation, three in the small one a bad end.
    struct Jugs;

    impl Model for Jugs {
        type State = (u8, u8);
        type Step = &'static str;
        type Violation = &'static str;

        fn initial(&self) -> (u8, u8) {
            (0, 0)
        }

        fn successors(&self, &(five, three): &(u8, u8)) -> Vec<(&'static str, (u8, u8))> {
            if (five, three) == (0, 3) {
                return Vec::new();
            }
            let down = five.min(3 - three);
            let up = three.min(5 - five);
            vec![
                ("fill five", (5, three)),
                ("fill three", (five, 3)),
                ("empty five", (0, three)),
                ("empty three", (five, 0)),
                ("five into three", (five - down, three + down)),
                ("three into five", (five + up, three - up)),
            ]
        }

        fn violation(&self, &(five, _): &(u8, u8)) -> Option<&'static str> {
            (five == 4).then_some("four litres")
        }

        fn ends_badly(&self, _: &(u8, u8)) -> bool {
            true
        }
    }

    #[test]
    fn a_violation_comes_with_a_shortest_path() {
        let report = explore(&Jugs, 100);
        let [found] = &report.violations[..] else { panic!("{:?}", report.violations) };
        assert_eq!(found.violation, "four litres");
        let path = [
            "fill five",
            "five into three",
            "empty three",
            "five into three",
            "fill five",
            "five into three",
        ];
        assert_eq!(found.path, path);
        assert!(report.complete);
    }

    #[test]
    fn an_end_is_counted_with_the_way_to_it() {
        let report = explore(&Jugs, 100);
        assert_eq!((report.ends, report.bad_ends), (1, 1));
        assert_eq!(report.bad_end.unwrap(), ["fill three"]);
    }

    #[test]
    fn the_limit_stops_an_exploration_and_is_told() {
        let report = explore(&Jugs, 4);
        assert_eq!((report.states, report.complete), (4, false));
    }

    #[test]
    fn a_limit_of_exactly_all_states_is_no_stop() {
        let all = explore(&Jugs, 100).states;
        let report = explore(&Jugs, all);
        assert_eq!((report.states, report.complete), (all, true));
    }
}
