//! A read lease that is anchored in the log: the log is the lease.
//!
//! An old master, perhaps replaced already, answers reads from its own memory while `now < anchor + length`, where the
//! anchor is the send time of its latest append that was acknowledged without a gap. Its successor tails the log,
//! appends a barrier, and holds answers until the old master's lease has run out for certain. Time is discrete, every
//! message may take as long as it likes, and clocks do not drift: drift is algebra, a wait longer by
//! (1 + drift) / (1 - drift).
//!
//! There is one register; its version is the number of valid writes. A read must not return a version older than one
//! that an earlier read or an acknowledged write has exposed.

use arrayvec::ArrayVec;

use super::explore::Model;

/// How many records a log has room for.
const MOST_RECORDS: usize = 8;

/// How many appends a master has under way, unacknowledged ones included.
const MOST_PENDING: usize = 2;

/// The rules of the lease, and the bounds within which they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// From where the old master's lease counts.
    pub anchor: Anchor,
    /// Until when the successor holds answers.
    pub gate: Gate,
    /// Which answers it holds.
    pub held: Held,
    /// The length of the lease, in ticks.
    pub length: u8,
    /// The last tick.
    pub horizon: u8,
    /// How many writes the old master sends.
    pub old_writes: u8,
    /// How many no-ops it sends.
    pub old_no_ops: u8,
    /// How many writes the successor sends.
    pub new_writes: u8,
}

/// From where a lease counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// From when the acknowledged append was sent.
    Sent,
    /// From when it was acknowledged.
    Acked,
}

/// Until when a successor holds answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// It does not.
    None,
    /// A lease's length from the acknowledgement of its barrier.
    FromBarrier,
    /// A lease's length from when it received the predecessor's last record before the barrier.
    FromLastRecord,
}

/// Which answers a successor holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// All.
    ReadsAndAcks,
    /// Those of writes only.
    Acks,
}

impl Lease {
    /// The design, with leases of two ticks and one write at each master.
    pub fn by_rules(horizon: u8) -> Self {
        Self {
            anchor: Anchor::Sent,
            gate: Gate::FromLastRecord,
            held: Held::ReadsAndAcks,
            length: 2,
            horizon,
            old_writes: 1,
            old_no_ops: 0,
            new_writes: 1,
        }
    }
}

/// Which master would answer a read with a version older than an exposed one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaleRead(pub Writer);

/// One of the two masters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Writer {
    /// The master of the lower epoch.
    Old,
    /// Its successor.
    New,
}

/// What an append is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The first record of an epoch.
    Barrier,
    /// A client's write.
    Write,
    /// Nothing, for the lease's sake.
    NoOp,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A tick of the clock.
    Tick,
    /// A master sent an append.
    Sent(Writer, Kind),
    /// The log took an append.
    Appended(Writer, Kind),
    /// A master saw an append acknowledged, and told the client if it was a write.
    Acked(Writer, Kind),
    /// The old master saw a gap with its successor in it.
    Fenced,
    /// The successor received the next record.
    Received,
    /// A master answered a read with a version newer than all exposed ones.
    Read(Writer),
}

/// The clock, the log, both masters, and what clients know.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    now: u8,
    log: ArrayVec<Record, MOST_RECORDS>,
    old: Old,
    new: New,
    /// The highest version that a client has seen.
    exposed: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Record {
    writer: Writer,
    kind: Kind,
}

/// An append that has not reached the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Request {
    kind: Kind,
    sent_at: u8,
}

/// An append in the log that its master does not know of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Unacked {
    sent_at: u8,
    offset: u8,
}

type Requests = ArrayVec<Request, MOST_PENDING>;

/// The old master. A fenced one keeps what it knew; nobody reads it any more.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Old {
    version: u8,
    anchor: u8,
    /// The offset that follows its last acknowledged append.
    next: u8,
    requests: Requests,
    unacked: ArrayVec<Unacked, MOST_PENDING>,
    writes_left: u8,
    no_ops_left: u8,
    fenced: bool,
}

/// The successor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct New {
    phase: Phase,
    version: u8,
    /// How many records it has received.
    received: u8,
    requests: Requests,
    /// The offsets of its appends that it does not know of.
    unacked: ArrayVec<u8, MOST_PENDING>,
    writes_left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// `heard_at` is when it received the last record of the old master.
    Standby {
        heard_at: Option<u8>,
    },
    /// Its barrier is sent. Records of the old master before the barrier still count.
    Announcing {
        heard_at: Option<u8>,
    },
    Serving {
        gate: u8,
    },
}

/// What may come next: changes the state and says what happened, or does not apply.
type Action = fn(&Lease, &mut State) -> Option<Step>;

impl Model for Lease {
    type State = State;
    type Step = Step;
    type Violation = StaleRead;

    fn initial(&self) -> State {
        let old = Old {
            version: 0,
            anchor: 0,
            next: 1,
            requests: Requests::new(),
            unacked: ArrayVec::new(),
            writes_left: self.old_writes,
            no_ops_left: self.old_no_ops,
            fenced: false,
        };
        let new = New {
            phase: Phase::Standby { heard_at: None },
            version: 0,
            received: 0,
            requests: Requests::new(),
            unacked: ArrayVec::new(),
            writes_left: self.new_writes,
        };
        let log = ArrayVec::from_iter([Record { writer: Writer::Old, kind: Kind::Barrier }]);
        State { now: 0, log, old, new, exposed: 0 }
    }

    fn successors(&self, state: &State) -> Vec<(Step, State)> {
        let actions: [Action; 13] = [
            Self::tick,
            |_, state| state.old_sends_write(),
            |_, state| state.old_sends_no_op(),
            Self::old_sees_ack,
            |lease, state| state.expose(Writer::Old, lease.old_reads(state)),
            |_, state| state.append(Writer::Old),
            |_, state| state.new_receives(),
            |_, state| state.new_sends_barrier(),
            |_, state| state.append(Writer::New),
            Self::new_sees_barrier,
            |_, state| state.new_sees_write(),
            |_, state| state.new_sends_write(),
            |lease, state| state.expose(Writer::New, lease.new_reads(state)),
        ];
        let successor = |action: Action| {
            let mut next = state.clone();
            action(self, &mut next).map(|step| (step, next))
        };
        actions.into_iter().filter_map(successor).collect()
    }

    fn violation(&self, state: &State) -> Option<StaleRead> {
        let stale = |version: Option<u8>| version.is_some_and(|version| version < state.exposed);
        if stale(self.old_reads(state)) {
            return Some(StaleRead(Writer::Old));
        }
        stale(self.new_reads(state)).then_some(StaleRead(Writer::New))
    }
}

impl Lease {
    fn tick(&self, state: &mut State) -> Option<Step> {
        (state.now < self.horizon).then(|| state.now += 1)?;
        Some(Step::Tick)
    }

    /// The version that the old master would answer a read with, if it may.
    fn old_reads(&self, state: &State) -> Option<u8> {
        let leased = !state.old.fenced && state.now < state.old.anchor + self.length;
        leased.then_some(state.old.version)
    }

    /// The version that the successor would answer a read with, if it may.
    fn new_reads(&self, state: &State) -> Option<u8> {
        let Phase::Serving { gate } = state.new.phase else { return None };
        (self.held == Held::Acks || state.now >= gate).then_some(state.new.version)
    }

    fn old_sees_ack(&self, state: &mut State) -> Option<Step> {
        let old = &mut state.old;
        if old.fenced {
            return None;
        }
        let Unacked { sent_at, offset } = old.unacked.pop_at(0)?;
        let gap = &state.log[usize::from(old.next)..usize::from(offset)];
        if gap.iter().any(|record| record.writer == Writer::New) {
            (old.writes_left, old.no_ops_left, old.fenced) = (0, 0, true);
            old.unacked.clear();
            return Some(Step::Fenced);
        }
        let kind = state.log[usize::from(offset)].kind;
        let anchor = match self.anchor {
            Anchor::Sent => sent_at,
            Anchor::Acked => state.now,
        };
        old.version = version(&state.log[..=usize::from(offset)]);
        old.anchor = old.anchor.max(anchor);
        old.next = offset + 1;
        if kind == Kind::Write {
            state.exposed = state.exposed.max(old.version);
        }
        Some(Step::Acked(Writer::Old, kind))
    }

    /// The barrier is acknowledged, and all before it received: serve, from the gate on.
    fn new_sees_barrier(&self, state: &mut State) -> Option<Step> {
        let new = &mut state.new;
        let Phase::Announcing { heard_at } = new.phase else { return None };
        let barrier = *new.unacked.first().filter(|barrier| new.received >= **barrier)?;
        let gate = match self.gate {
            Gate::None => 0,
            Gate::FromBarrier => state.now + self.length,
            Gate::FromLastRecord => heard_at.unwrap_or(state.now) + self.length,
        };
        new.phase = Phase::Serving { gate };
        new.version = version(&state.log[..usize::from(barrier)]);
        new.received = new.received.max(barrier + 1);
        new.unacked.remove(0);
        Some(Step::Acked(Writer::New, Kind::Barrier))
    }
}

impl State {
    fn old_sends_write(&mut self) -> Option<Step> {
        let left = self.old.room_for(self.old.writes_left)?;
        self.old.writes_left = left;
        Some(self.send(Writer::Old, Kind::Write))
    }

    fn old_sends_no_op(&mut self) -> Option<Step> {
        let left = self.old.room_for(self.old.no_ops_left)?;
        self.old.no_ops_left = left;
        Some(self.send(Writer::Old, Kind::NoOp))
    }

    fn new_sends_barrier(&mut self) -> Option<Step> {
        let Phase::Standby { heard_at } = self.new.phase else { return None };
        self.new.phase = Phase::Announcing { heard_at };
        Some(self.send(Writer::New, Kind::Barrier))
    }

    fn new_sends_write(&mut self) -> Option<Step> {
        let Phase::Serving { .. } = self.new.phase else { return None };
        self.new.writes_left = self.new.writes_left.checked_sub(1)?;
        Some(self.send(Writer::New, Kind::Write))
    }

    fn send(&mut self, writer: Writer, kind: Kind) -> Step {
        let request = Request { kind, sent_at: self.now };
        match writer {
            Writer::Old => self.old.requests.push(request),
            Writer::New => self.new.requests.push(request),
        }
        Step::Sent(writer, kind)
    }

    /// The first request under way reaches the log.
    fn append(&mut self, writer: Writer) -> Option<Step> {
        let offset = u8::try_from(self.log.len()).expect("a log is short");
        let kind = match writer {
            Writer::Old => {
                let Request { kind, sent_at } = self.old.requests.pop_at(0)?;
                self.old.unacked.push(Unacked { sent_at, offset });
                kind
            }
            Writer::New => {
                let request = self.new.requests.pop_at(0)?;
                self.new.unacked.push(offset);
                request.kind
            }
        };
        self.log.push(Record { writer, kind });
        Some(Step::Appended(writer, kind))
    }

    /// Once it serves, what it receives changes nothing: its own appends are applied when they are acknowledged.
    fn new_receives(&mut self) -> Option<Step> {
        let new = &mut self.new;
        let seen = self.log.get(..=usize::from(new.received))?;
        new.received += 1;
        let valid = seen.iter().all(|record| record.writer == Writer::Old);
        if let (true, Phase::Standby { heard_at } | Phase::Announcing { heard_at }) = (valid, &mut new.phase)
        {
            *heard_at = Some(self.now);
            new.version = version(seen);
        }
        Some(Step::Received)
    }

    /// Also its acknowledgements wait for the gate.
    fn new_sees_write(&mut self) -> Option<Step> {
        let Phase::Serving { gate } = self.new.phase else { return None };
        if self.now < gate {
            return None;
        }
        let offset = self.new.unacked.pop_at(0)?;
        self.new.version = version(&self.log[..=usize::from(offset)]);
        self.exposed = self.exposed.max(self.new.version);
        Some(Step::Acked(Writer::New, Kind::Write))
    }

    /// A client reads this version, if that is news.
    fn expose(&mut self, reader: Writer, version: Option<u8>) -> Option<Step> {
        self.exposed = version.filter(|version| *version > self.exposed)?;
        Some(Step::Read(reader))
    }
}

impl Old {
    /// What is left after one more is sent.
    fn room_for(&self, left: u8) -> Option<u8> {
        let has_room = !self.fenced && self.requests.len() + self.unacked.len() < MOST_PENDING;
        left.checked_sub(1).filter(|_| has_room)
    }
}

/// The number of valid writes: those of the old master count as long as the successor has no record before them.
fn version(log: &[Record]) -> u8 {
    let barrier = log.iter().position(|record| record.writer == Writer::New).unwrap_or(log.len());
    let valid = |(index, record): &(usize, &Record)| {
        record.kind == Kind::Write && (record.writer == Writer::New || *index < barrier)
    };
    u8::try_from(log.iter().enumerate().filter(valid).count()).expect("a log is short")
}
