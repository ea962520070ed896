//! The gate of a master over the leases of all masters before it.
//!
//! Three masters take over from each other. Each answers reads from its own memory while
//! `now < anchor + L` for the `L` that its barrier carries, the anchor being the send time of its latest append
//! that was acknowledged without a gap, and holds all answers until its gate has passed:
//!
//! ```text
//! gate = the latest, over every earlier epoch e that was not released, of t_recv(last valid record of e) + L_e
//! ```
//!
//! A master that lets go appends a release, which ends the lease of its own epoch and of no other: the master before it
//! may hold one still. A lease also may have become shorter from one epoch to the next. Both are why the predecessor's
//! lease is not enough. Time and register are those of [`lease`](super::lease).

use arrayvec::ArrayVec;

use super::explore::Model;

/// How many masters there are, each with an epoch of its own.
pub const MASTERS: usize = 3;

/// How many records a log has room for: a barrier, a write and a release of each.
const MOST_RECORDS: usize = 3 * MASTERS;

/// The rules of the gate, and the bounds within which they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Gates {
    /// Which leases a master waits for.
    pub waits: Waits,
    /// Whether masters let go, and what that ends.
    pub releases: Releases,
    /// Who runs the master of each epoch.
    pub owners: [Owner; MASTERS],
    /// The length of each epoch's lease, in ticks.
    pub lengths: [u8; MASTERS],
    /// The last tick.
    pub horizon: u8,
}

/// Which leases a master waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// Those of every earlier epoch.
    ForAll,
    /// That of the last earlier epoch with a record in the log.
    ForPredecessor,
}

/// Whether masters let go, and what that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Releases {
    /// They do not.
    Never,
    /// It ends the lease of the master's own epoch.
    EndOwnLease,
    /// It ends the earlier leases too.
    EndAllLeases,
}

/// A running process. When it takes over, it no longer answers as the master of an earlier epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// One process.
    A,
    /// Another one.
    B,
    /// A third one.
    C,
}

impl Gates {
    /// The design, for three processes without releases and with leases of the same length.
    pub fn by_rules() -> Self {
        Self {
            waits: Waits::ForAll,
            releases: Releases::Never,
            owners: [Owner::A, Owner::B, Owner::C],
            lengths: [2; MASTERS],
            horizon: 3,
        }
    }
}

/// Which master, from 0 on, would answer a read with a version older than an exposed one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaleRead(pub usize);

/// What an append is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The first record of an epoch.
    Barrier,
    /// A client's write.
    Write,
    /// The last record of a master that lets go.
    Release,
}

/// What happened, at which master.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A tick of the clock.
    Tick,
    /// A master sent an append.
    Sent(usize, Kind),
    /// The log took an append.
    Appended(usize),
    /// A master saw an append acknowledged, and told the client if it was a write.
    Acked(usize),
    /// A master saw a higher epoch.
    Fenced(usize),
    /// A master to be received the next record.
    Received(usize),
    /// A master answered a read with a version newer than all exposed ones.
    Read(usize),
}

/// The clock, the log, all masters, and what clients know.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    now: u8,
    log: ArrayVec<Record, MOST_RECORDS>,
    masters: [Master; MASTERS],
    /// The highest version that a client has seen.
    exposed: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Record {
    master: u8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Master {
    Standby(Tail),
    /// The barrier is under way, in the log, and then acknowledged.
    Announcing {
        tail: Tail,
        sent_at: u8,
        barrier: Option<u8>,
    },
    Serving(Serving),
    /// It has let go or was fenced. What it has sent may still arrive.
    Stopped {
        in_flight: Option<Kind>,
    },
}

/// What a master to be knows of the log.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
struct Tail {
    /// How many records it has received.
    received: u8,
    leases: [Lease; MASTERS],
}

/// What a master to be knows of an earlier one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
enum Lease {
    #[default]
    Unheard,
    /// When it received the last valid record.
    HeardAt(u8),
    Released,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Serving {
    gate: u8,
    anchor: u8,
    version: u8,
    /// The offset that follows its last acknowledged append.
    next: u8,
    write: Write,
}

/// The one write that each master gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Write {
    ToCome,
    InFlight { sent_at: u8 },
    Appended { sent_at: u8, offset: u8 },
    Done,
}

/// What `master` may do next: changes the state and says what happened, or does not apply.
type Action = fn(&Gates, &mut State, usize) -> Option<Step>;

impl Model for Gates {
    type State = State;
    type Step = Step;
    type Violation = StaleRead;

    /// The first master serves, its barrier sent at 0.
    fn initial(&self) -> State {
        let first = Serving { gate: 0, anchor: 0, version: 0, next: 1, write: Write::ToCome };
        let mut masters = [Master::Standby(Tail::default()); MASTERS];
        masters[0] = Master::Serving(first);
        let log = ArrayVec::from_iter([Record { master: 0, kind: Kind::Barrier }]);
        State { now: 0, log, masters, exposed: 0 }
    }

    fn successors(&self, state: &State) -> Vec<(Step, State)> {
        let actions: [Action; 8] = [
            |gates, state, master| state.receive(master, gates.releases),
            |_, state, master| state.append(master),
            |_, state, master| state.send_write(master),
            Self::announce,
            Self::see_barrier,
            |_, state, master| state.see_write(master),
            Self::release,
            Self::read,
        ];
        let mut successors = Vec::new();
        if state.now < self.horizon {
            successors.push((Step::Tick, State { now: state.now + 1, ..state.clone() }));
        }
        for master in 0..MASTERS {
            for action in actions {
                let mut next = state.clone();
                successors.extend(action(self, &mut next, master).map(|step| (step, next)));
            }
        }
        successors
    }

    fn violation(&self, state: &State) -> Option<StaleRead> {
        let stale =
            |master: &usize| self.answer(state, *master).is_some_and(|version| version < state.exposed);
        (0..MASTERS).find(stale).map(StaleRead)
    }
}

impl Gates {
    /// The version that `master` would answer a read with, if it may.
    fn answer(&self, state: &State, master: usize) -> Option<u8> {
        let Master::Serving(serving) = &state.masters[master] else { return None };
        let leased = state.now < serving.anchor + self.lengths[master];
        (leased && state.now >= serving.gate).then_some(serving.version)
    }

    /// A client reads, if it gets to know something.
    fn read(&self, state: &mut State, master: usize) -> Option<Step> {
        state.exposed = self.answer(state, master).filter(|version| *version > state.exposed)?;
        Some(Step::Read(master))
    }

    /// The coordinator names the next master, whatever those before are doing.
    fn announce(&self, state: &mut State, master: usize) -> Option<Step> {
        let Master::Standby(tail) = state.masters[master] else { return None };
        if matches!(state.masters[master - 1], Master::Standby(_)) {
            return None;
        }
        for earlier in self.own_earlier(master) {
            state.masters[earlier].stop(None);
        }
        state.masters[master] = Master::Announcing { tail, sent_at: state.now, barrier: None };
        Some(Step::Sent(master, Kind::Barrier))
    }

    /// The barrier is acknowledged, and all before it received: serve, from the gate on.
    fn see_barrier(&self, state: &mut State, master: usize) -> Option<Step> {
        let Master::Announcing { tail, sent_at, barrier: Some(barrier) } = state.masters[master] else {
            return None;
        };
        if tail.received < barrier {
            return None;
        }
        let before = &state.log[..usize::from(barrier)];
        if before.iter().any(|record| usize::from(record.master) > master) {
            state.masters[master].stop(None);
            return Some(Step::Fenced(master));
        }
        state.masters[master] = Master::Serving(Serving {
            gate: self.gate(&tail, master),
            anchor: sent_at,
            version: version(before),
            next: barrier + 1,
            write: Write::ToCome,
        });
        Some(Step::Acked(master))
    }

    fn gate(&self, tail: &Tail, master: usize) -> u8 {
        let end = |epoch: usize| match tail.leases[epoch] {
            Lease::HeardAt(at) if !self.own_earlier(master).any(|own| own == epoch) => {
                at + self.lengths[epoch]
            }
            _ => 0,
        };
        let mut heard = (0..master).filter(|epoch| tail.leases[*epoch] != Lease::Unheard);
        match self.waits {
            Waits::ForAll => heard.map(end).max().unwrap_or(0),
            Waits::ForPredecessor => heard.next_back().map_or(0, end),
        }
    }

    /// The earlier epochs of the same owner: it knows by itself that it answers no more.
    fn own_earlier(&self, master: usize) -> impl Iterator<Item = usize> {
        (0..master).filter(move |earlier| self.owners[*earlier] == self.owners[master])
    }

    /// Answers end before the release is sent.
    fn release(&self, state: &mut State, master: usize) -> Option<Step> {
        let Master::Serving(Serving { write: Write::ToCome | Write::Done, .. }) = state.masters[master]
        else {
            return None;
        };
        if self.releases == Releases::Never {
            return None;
        }
        state.masters[master].stop(Some(Kind::Release));
        Some(Step::Sent(master, Kind::Release))
    }
}

impl State {
    /// A master to be receives the next record, up to its own barrier.
    fn receive(&mut self, master: usize, releases: Releases) -> Option<Step> {
        let (tail, end) = match &mut self.masters[master] {
            Master::Standby(tail) | Master::Announcing { tail, barrier: None, .. } => (tail, self.log.len()),
            Master::Announcing { tail, barrier: Some(barrier), .. } => (tail, usize::from(*barrier)),
            Master::Serving(_) | Master::Stopped { .. } => return None,
        };
        let seen = self.log[..end].get(..=usize::from(tail.received))?;
        tail.received += 1;
        let (last, before) = seen.split_last()?;
        if before.iter().all(|record| record.master <= last.master) {
            let epoch = usize::from(last.master);
            tail.leases[epoch] = match last.kind {
                Kind::Release => Lease::Released,
                Kind::Barrier | Kind::Write => Lease::HeardAt(self.now),
            };
            if last.kind == Kind::Release && releases == Releases::EndAllLeases {
                tail.leases[..epoch].fill(Lease::Released);
            }
        }
        Some(Step::Received(master))
    }

    /// The request under way reaches the log.
    fn append(&mut self, master: usize) -> Option<Step> {
        let offset = u8::try_from(self.log.len()).expect("a log is short");
        let kind = self.masters[master].in_flight()?;
        match &mut self.masters[master] {
            Master::Announcing { barrier, .. } => *barrier = Some(offset),
            Master::Serving(Serving { write, .. }) => {
                if let Write::InFlight { sent_at } = *write {
                    *write = Write::Appended { sent_at, offset };
                }
            }
            Master::Stopped { in_flight } => *in_flight = None,
            Master::Standby(_) => unreachable!("a standby has sent nothing"),
        }
        self.log.push(Record { master: u8::try_from(master).expect("masters are few"), kind });
        Some(Step::Appended(master))
    }

    fn send_write(&mut self, master: usize) -> Option<Step> {
        let Master::Serving(Serving { write: write @ Write::ToCome, .. }) = &mut self.masters[master] else {
            return None;
        };
        *write = Write::InFlight { sent_at: self.now };
        Some(Step::Sent(master, Kind::Write))
    }

    /// The write is acknowledged; that too is an answer, and waits for the gate.
    fn see_write(&mut self, master: usize) -> Option<Step> {
        let Master::Serving(serving) = &mut self.masters[master] else { return None };
        let Write::Appended { sent_at, offset } = serving.write else { return None };
        if self.now < serving.gate {
            return None;
        }
        let gap = &self.log[usize::from(serving.next)..usize::from(offset)];
        if gap.iter().any(|record| usize::from(record.master) > master) {
            self.masters[master].stop(None);
            return Some(Step::Fenced(master));
        }
        let version = version(&self.log[..=usize::from(offset)]);
        let anchor = serving.anchor.max(sent_at);
        *serving = Serving { anchor, version, next: offset + 1, write: Write::Done, ..*serving };
        self.exposed = self.exposed.max(version);
        Some(Step::Acked(master))
    }
}

impl Master {
    fn in_flight(&self) -> Option<Kind> {
        match self {
            Self::Announcing { barrier: None, .. } => Some(Kind::Barrier),
            Self::Serving(Serving { write: Write::InFlight { .. }, .. }) => Some(Kind::Write),
            Self::Stopped { in_flight } => *in_flight,
            Self::Standby(_) | Self::Announcing { .. } | Self::Serving(_) => None,
        }
    }

    /// Ends its mastership, with a last request if nothing is under way.
    fn stop(&mut self, last: Option<Kind>) {
        *self = Self::Stopped { in_flight: self.in_flight().or(last) };
    }
}

/// The number of valid writes: a record counts unless one of a higher epoch is before it.
fn version(log: &[Record]) -> u8 {
    let (mut highest, mut version) = (0, 0);
    for record in log {
        highest = highest.max(record.master);
        version += u8::from(record.kind == Kind::Write && record.master == highest);
    }
    version
}
