//! The order of the tasks of taking over, on a broker that fences by producer epoch.
//!
//! A candidate reads the coordinator, asks for a producer epoch, puts its epoch into the coordinator by
//! compare-and-set, and appends its barrier; it may be paused between any two. The broker refuses a batch whose
//! producer epoch is lower than the highest it has written. Two numbers are raised, then, and the wrong order lets one
//! candidate win the first and another the second: neither serves, and the partition has no master.

use arrayvec::ArrayVec;

use super::explore::Model;

/// How many candidates a state has room for.
const MOST_CANDIDATES: usize = 3;

/// One of the things that a candidate does; its barrier is the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Read the epoch that the coordinator holds.
    ReadCoordinator,
    /// Get a new producer epoch, which is the highest so far.
    InitProducer,
    /// Put the next epoch into the coordinator if it still holds the one that was read.
    Cas,
    /// Append the barrier, replay up to it, and serve unless the log holds a higher epoch.
    Barrier,
}

/// Candidates that take over at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Takeover {
    /// What each candidate does, in this order, the barrier at the end.
    pub order: [Task; 4],
    /// How many they are: up to 3.
    pub candidates: usize,
}

/// Two masters whose next append would be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TwoWriters;

/// Which candidate did what.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its position among the candidates.
    pub candidate: usize,
    /// What it did.
    pub action: Action,
}

/// What a candidate did, and how it went.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A task went well.
    Did(Task),
    /// Another one changed the coordinator since it was read.
    LostCas,
    /// The broker refused the barrier.
    BarrierRefused,
    /// The barrier is in the log, behind one of a higher epoch.
    BarrierTooLate,
    /// The broker refused an append of a master, which steps down.
    AppendRefused,
    /// It goes on as a standby.
    StayedStandby,
}

/// Where all candidates and the shared parts stand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    candidates: ArrayVec<Candidate, MOST_CANDIDATES>,
    /// The epoch in the coordinator.
    coordinator: u8,
    /// The producer epoch handed out last.
    handed_out: u8,
    /// The highest producer epoch that wrote: the broker's fence.
    fence: u8,
    /// The epochs of the barriers.
    log: ArrayVec<u8, MOST_CANDIDATES>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Candidate {
    /// It has done the first `done` tasks.
    Climbing {
        done: u8,
        papers: Papers,
    },
    Serving(Papers),
    Fenced(Papers),
    Lost,
    Standby,
}

/// What a candidate has got so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
struct Papers {
    /// The coordinator's epoch as it was read.
    read: Option<u8>,
    producer: Option<u8>,
    epoch: Option<u8>,
}

impl Model for Takeover {
    type State = State;
    type Step = Step;
    type Violation = TwoWriters;

    fn initial(&self) -> State {
        let candidate = Candidate::Climbing { done: 0, papers: Papers::default() };
        State {
            candidates: std::iter::repeat_n(candidate, self.candidates).collect(),
            coordinator: 0,
            handed_out: 0,
            fence: 0,
            log: ArrayVec::new(),
        }
    }

    fn successors(&self, state: &State) -> Vec<(Step, State)> {
        let step = |candidate| {
            let mut next = state.clone();
            let action = self.act(&mut next, candidate)?;
            Some((Step { candidate, action }, next))
        };
        (0..self.candidates).filter_map(step).collect()
    }

    fn violation(&self, state: &State) -> Option<TwoWriters> {
        let writes = |candidate: &&Candidate| match candidate {
            Candidate::Serving(papers) => papers.producer >= Some(state.fence),
            _ => false,
        };
        (state.candidates.iter().filter(writes).count() > 1).then_some(TwoWriters)
    }

    /// The partition has no master, and nobody who would become one.
    fn ends_badly(&self, end: &State) -> bool {
        !end.candidates.iter().any(|candidate| matches!(candidate, Candidate::Serving(_)))
    }
}

impl Takeover {
    /// Lets `candidate` do the one thing it can do, if any.
    fn act(&self, state: &mut State, candidate: usize) -> Option<Action> {
        let (next, action) = match state.candidates[candidate] {
            Candidate::Climbing { done, papers } => {
                let task = self.order[usize::from(done)];
                let (next, action) = state.perform(task, papers);
                (next.unwrap_or_else(|papers| Candidate::Climbing { done: done + 1, papers }), action)
            }
            Candidate::Serving(papers) if papers.producer < Some(state.fence) => {
                (Candidate::Fenced(papers), Action::AppendRefused)
            }
            Candidate::Lost => (Candidate::Standby, Action::StayedStandby),
            Candidate::Serving(_) | Candidate::Fenced(_) | Candidate::Standby => return None,
        };
        state.candidates[candidate] = next;
        Some(action)
    }
}

impl State {
    /// Performs a task for a candidate with `papers`. It ends as what `Ok` says, or goes on with the papers of `Err`.
    fn perform(&mut self, task: Task, papers: Papers) -> (Result<Candidate, Papers>, Action) {
        match task {
            Task::ReadCoordinator => {
                (Err(Papers { read: Some(self.coordinator), ..papers }), Action::Did(task))
            }
            Task::InitProducer => {
                self.handed_out += 1;
                (Err(Papers { producer: Some(self.handed_out), ..papers }), Action::Did(task))
            }
            Task::Cas if papers.read != Some(self.coordinator) => (Ok(Candidate::Lost), Action::LostCas),
            Task::Cas => {
                self.coordinator += 1;
                (Err(Papers { epoch: Some(self.coordinator), ..papers }), Action::Did(task))
            }
            Task::Barrier => {
                let (candidate, action) = self.append_barrier(papers);
                (Ok(candidate), action)
            }
        }
    }

    fn append_barrier(&mut self, papers: Papers) -> (Candidate, Action) {
        let producer = papers.producer.expect("the barrier comes after the producer epoch");
        let epoch = papers.epoch.expect("the barrier comes after the epoch");
        if producer < self.fence {
            return (Candidate::Fenced(papers), Action::BarrierRefused);
        }
        let too_late = self.log.iter().any(|other| *other > epoch);
        self.fence = producer;
        self.log.push(epoch);
        if too_late {
            (Candidate::Fenced(papers), Action::BarrierTooLate)
        } else {
            (Candidate::Serving(papers), Action::Did(Task::Barrier))
        }
    }
}
