//! A master of the fence model, in each of its phases.

use arrayvec::ArrayVec;

use super::log::{Content, Epoch, Keys, Log, Memory, Record};

/// How many appends a master has under way, unacknowledged ones included.
const MOST_PENDING: usize = 2;

/// What was sent and has not reached the log, the oldest first.
pub(super) type InFlight = ArrayVec<Content, MOST_PENDING>;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Master {
    /// Nobody has this epoch yet.
    Idle,
    /// The barrier is sent, and from `barrier` on in the log.
    Announcing {
        barrier: Option<u8>,
    },
    Serving(Serving),
    /// It knows that there is a higher epoch. What it has sent may still arrive.
    Fenced(InFlight),
    /// What it has sent may still arrive.
    Crashed(InFlight),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Serving {
    pub(super) memory: Memory,
    /// The offset that follows all it knows of.
    pub(super) next: u8,
    /// How many of its clients' writes it has sent.
    pub(super) written: u8,
    pub(super) in_flight: InFlight,
    /// The offsets of its appends that it does not know of yet.
    pub(super) unacked: ArrayVec<u8, MOST_PENDING>,
    /// Keys hit by a stale record and not sent once more.
    pub(super) shadowed: Keys,
}

impl Master {
    pub(super) fn first_in_flight(&self, epoch: Epoch) -> Option<Record> {
        let content = match self {
            Self::Announcing { barrier: None } => Some(Content::Barrier),
            Self::Serving(Serving { in_flight, .. }) | Self::Fenced(in_flight) | Self::Crashed(in_flight) => {
                in_flight.first().copied()
            }
            Self::Idle | Self::Announcing { barrier: Some(_) } => None,
        };
        content.map(|content| Record { epoch, content })
    }

    /// The first request under way is in the log at `offset`.
    pub(super) fn was_appended(&mut self, offset: u8) {
        match self {
            Self::Announcing { barrier } => *barrier = Some(offset),
            Self::Serving(serving) => {
                serving.in_flight.remove(0);
                serving.unacked.push(offset);
            }
            Self::Fenced(in_flight) | Self::Crashed(in_flight) => {
                in_flight.remove(0);
            }
            Self::Idle => unreachable!("an idle master has sent nothing"),
        }
    }

    /// The first request under way was refused, and with it those behind it.
    pub(super) fn was_refused(&mut self) {
        *self = match self {
            Self::Crashed(_) => Self::Crashed(InFlight::new()),
            _ => Self::Fenced(InFlight::new()),
        };
    }
}

impl Serving {
    pub(super) fn new(memory: Memory, next: u8, shadowed: Keys) -> Self {
        Self { memory, next, written: 0, in_flight: InFlight::new(), unacked: ArrayVec::new(), shadowed }
    }

    /// Whether all it has sent is acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.unacked.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() + self.unacked.len() < MOST_PENDING
    }

    /// What it has sent and does not know to be in the log, the oldest first.
    pub(super) fn pending(&self, log: &Log) -> impl Iterator<Item = Content> {
        let appended = self.unacked.iter().map(|offset| log.content(*offset));
        appended.chain(self.in_flight.iter().copied())
    }

    pub(super) fn is_repairing(&self, log: &Log) -> bool {
        self.pending(log).any(|content| matches!(content, Content::Repair(..)))
    }
}
