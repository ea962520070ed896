//! The phases of an owner between standby and master, as a pure function: [`step`] takes a phase and an event and answers the
//! next phase and what to do. Who calls it does the doing, and tells it what came of it.
//!
//! ```text
//!            Promote                                       lost ┌────────────────────────────┐
//!  Standby ─────────▶ Reading ─▶ Preparing ─▶ Measuring ─▶ CatchingUp ─▶ Electing ─▶ Opening ─┘
//!     ▲                              ▲                                         won      │
//!     │ another is named             │ this node is                                     ▼
//!     └───────────── Checking ───────┘          Serving ◀────────── Replaying ◀────── Barring
//!                        ▲                         │
//!                        └─ fenced, outbid, an unknown outcome, or a writer that could not be opened
//! ```
//!
//! The order is that of the take-over model (`simulation`): read the coordinator, prepare the writer, win the epoch, append the barrier, replay
//! to it, serve. With the epoch won before the preparation two candidates can end with no master.

use affinity_cluster::{AttemptId, Cas, Mastership, NodeId, Revision, Seen};
use affinity_types::{Epoch, Offset};

/// Where an owner stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Tails the log.
    Standby,
    /// Asks the coordinator before it takes over.
    Reading,
    /// Prepares a writer.
    Preparing(Seen),
    /// Asks the log for its end.
    Measuring(Seen),
    /// Reads to the end that the log had.
    CatchingUp(Seen, Offset),
    /// Tries to win an epoch.
    Electing(Revision, Mastership),
    /// Opens the writer.
    Opening(Epoch),
    /// Its barrier is in flight.
    Barring(Epoch),
    /// Reads to its barrier.
    Replaying(Epoch, Offset),
    /// Is master.
    Serving(Epoch),
    /// Was fenced or met a higher epoch: asks the coordinator whether it still names this node.
    Checking(Epoch),
    /// The same, and it was asked to take over meanwhile: it does so whoever is named.
    Insisting(Epoch),
}

/// What happens to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is asked to take over.
    Promote,
    /// It is asked to step down.
    Demote,
    /// The coordinator has answered a read.
    Read(Seen),
    /// The writer is prepared.
    Prepared,
    /// The log's end.
    End(Offset),
    /// Everything before `next` is applied; the highest epoch in it.
    Applied {
        /// The next offset to apply.
        next: Offset,
        /// The highest epoch seen.
        epoch: Epoch,
    },
    /// The coordinator has decided.
    Decided(Cas),
    /// The coordinator's decision is not known.
    Undecided,
    /// The coordinator cannot take this mastership: it is not as it was when it was read, restored from a backup perhaps.
    Impossible,
    /// The writer is open.
    Opened,
    /// The writer could not be opened: another one is newer.
    Overtaken,
    /// The barrier is in the log, at this offset.
    Barred(Offset),
    /// The log refused the barrier, which is not there.
    BarrierRefused,
    /// An append's outcome is unknown.
    OutcomeUnknown,
    /// The log fenced this owner's writer.
    Fenced,
    /// Another's group of this owner's epoch or a higher one is in the log.
    Outbid,
    /// The call under way failed and did nothing.
    Failed,
    /// It is time to try again.
    Retry,
}

impl Event {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Event::Promote => "promote",
            Event::Demote => "demote",
            Event::Read(_) => "read",
            Event::Prepared => "prepared",
            Event::End(_) => "end",
            Event::Applied { .. } => "applied",
            Event::Decided(Cas::Won(_)) => "won",
            Event::Decided(Cas::Lost(_)) => "lost",
            Event::Undecided => "undecided",
            Event::Impossible => "impossible",
            Event::Opened => "opened",
            Event::Overtaken => "overtaken",
            Event::Barred(_) => "barred",
            Event::BarrierRefused => "barrier refused",
            Event::OutcomeUnknown => "outcome unknown",
            Event::Fenced => "fenced",
            Event::Outbid => "outbid",
            Event::Failed => "failed",
            Event::Retry => "retry",
        }
    }
}

/// What an owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the coordinator.
    Read,
    /// Prepare a writer.
    Prepare,
    /// Ask the log for its end.
    Measure,
    /// Ask the coordinator for this mastership; the same again is safe.
    Elect(Revision, Mastership),
    /// Open the prepared writer.
    Open(Epoch),
    /// Append the barrier.
    Bar(Epoch),
    /// Serve.
    Serve(Epoch),
    /// Give up writer and preparation; what is in flight stays undecided.
    DropWriter,
    /// Be a standby: answer what is undecided with `Unknown`, end all watches.
    StepDown(Cause),
    /// Tell [`Event::Retry`] after a while.
    Wait,
}

/// Why an owner is no master any more, or did not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was asked to.
    Asked,
    /// Another candidate won.
    LostElection,
    /// The coordinator names another.
    Replaced,
}

/// Who takes steps.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// This node.
    pub node: &'a NodeId,
    /// Identity of the next attempt at an election.
    pub attempt: AttemptId,
}

/// The next phase, and what to do. An event that has no meaning in a phase, since it comes late, changes nothing.
#[must_use]
pub fn step(phase: Phase, event: Event, candidate: &Candidate<'_>) -> (Phase, Vec<Action>) {
    use Action as A;
    use Event as E;
    use Phase as P;
    match (phase, event) {
        (P::Standby, E::Promote) => (P::Reading, vec![A::Read]),
        (P::Standby, E::Demote) => (P::Standby, vec![]),
        (_, E::Demote) => (P::Standby, vec![A::DropWriter, A::StepDown(Cause::Asked)]),
        (P::Reading, E::Read(seen)) => (P::Preparing(seen), vec![A::Prepare]),
        (P::Preparing(seen), E::Prepared) => (P::Measuring(seen), vec![A::Measure]),
        (P::Measuring(seen), E::End(end)) => (P::CatchingUp(seen, end), vec![]),
        (P::CatchingUp(seen, end), E::Applied { next, epoch }) if next >= end => {
            elect(&seen, epoch, candidate)
        }
        (P::Electing(..), E::Decided(Cas::Lost(_))) => {
            (P::Standby, vec![A::DropWriter, A::StepDown(Cause::LostElection)])
        }
        (P::Electing(_, mastership), E::Decided(Cas::Won(_))) => {
            (P::Opening(mastership.epoch), vec![A::Open(mastership.epoch)])
        }
        // The same attempt again: at most one of the two is done, whichever comes first.
        (phase @ P::Electing(..), E::Undecided | E::Failed) => (phase, vec![A::Wait]),
        (P::Electing(..), E::Impossible) => (P::Reading, vec![A::DropWriter, A::Wait]),
        (P::Electing(revision, mastership), E::Retry) => {
            let again = A::Elect(revision, mastership.clone());
            (P::Electing(revision, mastership), vec![again])
        }
        (P::Opening(epoch), E::Opened) => (P::Barring(epoch), vec![A::Bar(epoch)]),
        (P::Barring(epoch), E::Barred(offset)) => (P::Replaying(epoch, offset), vec![]),
        (P::Barring(epoch), E::BarrierRefused) => (P::Barring(epoch), vec![A::Wait]),
        (P::Barring(epoch), E::Retry) => (P::Barring(epoch), vec![A::Bar(epoch)]),
        (P::Replaying(epoch, barrier), E::Applied { next, .. }) if next > barrier => {
            (P::Serving(epoch), vec![A::Serve(epoch)])
        }
        (
            P::Opening(epoch) | P::Barring(epoch) | P::Replaying(epoch, _) | P::Serving(epoch),
            E::Fenced | E::Outbid | E::Overtaken | E::OutcomeUnknown,
        ) => (P::Checking(epoch), vec![A::DropWriter, A::Read]),
        // While the coordinator names this node under the epoch that was lost, nobody else is to lead: take over again.
        (P::Checking(epoch), E::Read(seen)) => {
            let named =
                seen.mastership.epoch == epoch && seen.mastership.owner.as_ref() == Some(candidate.node);
            if named {
                (P::Preparing(seen), vec![A::Prepare])
            } else {
                (P::Standby, vec![A::StepDown(Cause::Replaced)])
            }
        }
        (P::Checking(epoch), E::Promote) => (P::Insisting(epoch), vec![]),
        (P::Insisting(epoch), E::Read(seen)) => {
            match step(P::Checking(epoch), E::Read(seen.clone()), candidate) {
                (P::Standby, mut actions) => {
                    actions.push(A::Prepare);
                    (P::Preparing(seen), actions)
                }
                named => named,
            }
        }
        (phase, E::Failed) => (phase, vec![A::Wait]),
        (phase, E::Retry) => retry(phase),
        (phase, _) => (phase, vec![]),
    }
}

/// The epoch is one above everything that the coordinator and the log have seen.
fn elect(seen: &Seen, highest: Epoch, candidate: &Candidate<'_>) -> (Phase, Vec<Action>) {
    let epoch = seen.mastership.epoch.max(highest).next();
    let mastership = Mastership { epoch, owner: Some(candidate.node.clone()), attempt: candidate.attempt };
    let elect = Action::Elect(seen.revision, mastership.clone());
    (Phase::Electing(seen.revision, mastership), vec![elect])
}

/// What was tried last in a phase, once more.
fn retry(phase: Phase) -> (Phase, Vec<Action>) {
    let again = match phase {
        Phase::Reading | Phase::Checking(_) | Phase::Insisting(_) => vec![Action::Read],
        Phase::Preparing(_) => vec![Action::Prepare],
        Phase::Measuring(_) => vec![Action::Measure],
        // A preparation is used up by trying to open it, and another may have been elected meanwhile, who is not to be deposed.
        Phase::Opening(epoch) => return (Phase::Checking(epoch), vec![Action::DropWriter, Action::Read]),
        _ => vec![],
    };
    (phase, again)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(epoch: u64, owner: &str) -> Seen {
        let mastership = Mastership {
            epoch: Epoch(epoch),
            owner: Some(NodeId::new(owner)),
            attempt: AttemptId(u128::from(epoch)),
        };
        Seen { mastership, revision: Revision(epoch) }
    }

    /// Steps through events and collects what is to be done.
    fn walk(from: Phase, events: impl IntoIterator<Item = Event>) -> (Phase, Vec<Action>) {
        let node = NodeId::new("me");
        let candidate = Candidate { node: &node, attempt: AttemptId(99) };
        events.into_iter().fold((from, Vec::new()), |(phase, mut done), event| {
            let (phase, actions) = step(phase, event, &candidate);
            done.extend(actions);
            (phase, done)
        })
    }

    fn mine(epoch: u64) -> Mastership {
        Mastership { epoch: Epoch(epoch), owner: Some(NodeId::new("me")), attempt: AttemptId(99) }
    }

    #[test]
    fn a_takeover_goes_in_its_order() {
        let events = [
            Event::Promote,
            Event::Read(seen(3, "other")),
            Event::Prepared,
            Event::End(Offset(10)),
            Event::Applied { next: Offset(9), epoch: Epoch(5) },
            Event::Applied { next: Offset(10), epoch: Epoch(5) },
            Event::Decided(Cas::Won(Revision(4))),
            Event::Opened,
            Event::Barred(Offset(12)),
            Event::Applied { next: Offset(12), epoch: Epoch(5) },
            Event::Applied { next: Offset(13), epoch: Epoch(6) },
        ];
        let (phase, done) = walk(Phase::Standby, events);
        assert_eq!(phase, Phase::Serving(Epoch(6)));
        let expected = [
            Action::Read,
            Action::Prepare,
            Action::Measure,
            Action::Elect(Revision(3), mine(6)),
            Action::Open(Epoch(6)),
            Action::Bar(Epoch(6)),
            Action::Serve(Epoch(6)),
        ];
        assert_eq!(done, expected);
    }

    #[test]
    fn who_loses_stays_a_standby() {
        let electing = Phase::Electing(Revision(3), mine(6));
        let lost = Event::Decided(Cas::Lost(seen(6, "other")));
        let (phase, done) = walk(electing, [lost]);
        assert_eq!(phase, Phase::Standby);
        assert_eq!(done, [Action::DropWriter, Action::StepDown(Cause::LostElection)]);
    }

    #[test]
    fn an_undecided_election_is_repeated_with_the_same_attempt() {
        let electing = Phase::Electing(Revision(3), mine(6));
        let (phase, done) = walk(electing.clone(), [Event::Undecided, Event::Retry]);
        assert_eq!(phase, electing);
        assert_eq!(done, [Action::Wait, Action::Elect(Revision(3), mine(6))]);
    }

    #[test]
    fn an_impossible_election_begins_with_reading_again() {
        let (phase, done) = walk(Phase::Electing(Revision(3), mine(6)), [Event::Impossible, Event::Retry]);
        assert_eq!(phase, Phase::Reading);
        assert_eq!(done, [Action::DropWriter, Action::Wait, Action::Read]);
    }

    #[test]
    fn who_is_fenced_or_does_not_know_asks_the_coordinator() {
        for (answer, phase_after, action) in [
            (seen(6, "me"), Phase::Preparing(seen(6, "me")), Action::Prepare),
            (seen(7, "other"), Phase::Standby, Action::StepDown(Cause::Replaced)),
            (seen(6, "other"), Phase::Standby, Action::StepDown(Cause::Replaced)),
        ] {
            for event in [Event::Fenced, Event::OutcomeUnknown] {
                let (phase, done) = walk(Phase::Serving(Epoch(6)), [event, Event::Read(answer.clone())]);
                assert_eq!(phase, phase_after);
                assert_eq!(done, [Action::DropWriter, Action::Read, action.clone()]);
            }
        }
    }

    #[test]
    fn who_meets_its_epoch_in_anothers_hand_never_serves_under_it() {
        let (phase, _) = walk(Phase::Replaying(Epoch(6), Offset(12)), [Event::Outbid]);
        assert_eq!(phase, Phase::Checking(Epoch(6)));
        let late = Event::Applied { next: Offset(13), epoch: Epoch(6) };
        assert_eq!(walk(phase.clone(), [late]).0, phase);
    }

    #[test]
    fn whose_writer_could_not_be_opened_goes_on_only_while_it_is_named() {
        for (answer, phase_after, last) in [
            (seen(6, "me"), Phase::Preparing(seen(6, "me")), Action::Prepare),
            (seen(7, "other"), Phase::Standby, Action::StepDown(Cause::Replaced)),
        ] {
            let events = [Event::Failed, Event::Retry, Event::Read(answer)];
            let (phase, done) = walk(Phase::Opening(Epoch(6)), events);
            assert_eq!(phase, phase_after);
            assert_eq!(done, [Action::Wait, Action::DropWriter, Action::Read, last]);
        }
    }

    #[test]
    fn who_is_promoted_while_it_asks_takes_over_whoever_is_named() {
        for (answer, actions) in [
            (seen(6, "me"), vec![Action::Prepare]),
            (seen(7, "other"), vec![Action::StepDown(Cause::Replaced), Action::Prepare]),
        ] {
            let events = [Event::Promote, Event::Read(answer.clone())];
            let (phase, done) = walk(Phase::Checking(Epoch(6)), events);
            assert_eq!((phase, done), (Phase::Preparing(answer), actions));
        }
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        for event in [Event::Opened, Event::Prepared, Event::Fenced, Event::Barred(Offset(1)), Event::Retry] {
            assert_eq!(walk(Phase::Standby, [event]), (Phase::Standby, vec![]));
        }
    }

    #[test]
    fn a_failed_step_is_tried_again() {
        let cases = [
            (Phase::Reading, Action::Read),
            (Phase::Preparing(seen(1, "x")), Action::Prepare),
            (Phase::Measuring(seen(1, "x")), Action::Measure),
            (Phase::Checking(Epoch(1)), Action::Read),
            (Phase::Insisting(Epoch(1)), Action::Read),
        ];
        for (phase, action) in cases {
            assert_eq!(
                walk(phase.clone(), [Event::Failed, Event::Retry]),
                (phase, vec![Action::Wait, action])
            );
        }
    }
}
