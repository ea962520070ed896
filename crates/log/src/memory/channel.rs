//! The way between a writer and the log.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::task::{Context, Poll, Waker};

use affinity_types::{Epoch, Group, Offset, Sequence, TopicId};

use super::mapping::{self, KafkaRecord};
use crate::{Ack, AppendError, Limits, Outcome, TopicPartition, admission};

/// Names the channel of one writer. They are counted from 0 in the order in which writers were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.0)
    }
}

/// What the next group of a channel meets when it would reach the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, with all that is on the way behind it and all that is appended before the last of these refusals
    /// was taken. A fenced writer has no refusals: the fence stands before them.
    Refuse,
    /// The writer loses sight of it: its outcome and that of all that is not acknowledged is unknown. It stays on the way
    /// and may land later, or be discarded.
    LoseAppend,
    /// It lands, but the writer never hears of it: its outcome and that of all that is not acknowledged is unknown.
    LoseAck,
}

/// Where a group is that the writer has not taken the outcome of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On its way to the log.
    OnTheWay,
    /// Decided, but the writer has not heard of it.
    Decided(Outcome),
    /// [`Writer::poll_ack`](crate::Writer::poll_ack) gives it.
    Told(Outcome),
}

/// What a channel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelView {
    /// The channel.
    pub id: ChannelId,
    /// Where it leads.
    pub place: TopicPartition,
    /// Epoch of its writer.
    pub epoch: Epoch,
    /// Groups that may still land, the next one first; also those that the writer has lost sight of.
    pub on_the_way: Vec<Sequence>,
    /// Groups whose outcome the writer has not taken, in the order of their appends.
    pub due: Vec<(Sequence, Fate)>,
    /// Whether the writer can no longer append: it was told that it is fenced, or that an outcome is unknown.
    pub finished: bool,
    /// Whether the writer was dropped.
    pub abandoned: bool,
}

/// Number of a preparation: they are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

impl Token {
    pub(super) fn next(self) -> Token {
        Token(self.0 + 1)
    }
}

/// What [`Writer::poll_ready`](crate::Writer::poll_ready) answers.
type Ready = Result<(), AppendError>;

#[derive(Debug)]
struct Sent {
    sequence: Sequence,
    records: Vec<KafkaRecord>,
}

#[derive(Debug)]
struct Due {
    sequence: Sequence,
    fate: Fate,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) place: TopicPartition,
    pub(super) topic: TopicId,
    pub(super) token: Token,
    pub(super) epoch: Epoch,
    pub(super) fault: Option<Fault>,
    pub(super) abandoned: bool,
    on_the_way: VecDeque<Sent>,
    due: VecDeque<Due>,
    /// Sequence of the last group taken.
    last: Option<Sequence>,
    /// Whether a group of it is in the log.
    begun: bool,
    /// Refusals that were not taken.
    refusals: usize,
    finished: bool,
    ack_waker: Option<Waker>,
    ready_waker: Option<Waker>,
}

impl Channel {
    pub(super) fn new(place: TopicPartition, topic: TopicId, token: Token, epoch: Epoch) -> Channel {
        Channel {
            place,
            topic,
            token,
            epoch,
            fault: None,
            abandoned: false,
            on_the_way: VecDeque::new(),
            due: VecDeque::new(),
            last: None,
            begun: false,
            refusals: 0,
            finished: false,
            ack_waker: None,
            ready_waker: None,
        }
    }

    pub(super) fn view(&self, id: ChannelId) -> ChannelView {
        ChannelView {
            id,
            place: self.place.clone(),
            epoch: self.epoch,
            on_the_way: self.on_the_way.iter().map(|sent| sent.sequence).collect(),
            due: self.due.iter().map(|due| (due.sequence, due.fate)).collect(),
            finished: self.finished,
            abandoned: self.abandoned,
        }
    }

    /// The writer's side: takes a group, or does not.
    pub(super) fn send(&mut self, group: &Group, limits: &Limits) -> Result<(), AppendError> {
        if self.finished {
            return Err(AppendError::Lost);
        }
        admission::check(group, self.epoch, self.last, limits)?;
        if self.due.len() >= limits.in_flight_max {
            return Err(AppendError::Full);
        }
        let sequence = group.version.sequence;
        self.last = Some(sequence);
        if self.refusals > 0 {
            // It was decided after a group that is refused, and the owner does not know yet.
            self.refusals += 1;
            self.due.push_back(Due { sequence, fate: Fate::Decided(Outcome::Refused) });
        } else {
            self.on_the_way.push_back(Sent { sequence, records: mapping::encode(group) });
            self.due.push_back(Due { sequence, fate: Fate::OnTheWay });
        }
        Ok(())
    }

    /// Whether there is room; with it a waker that was replaced and is to be dropped outside of the lock.
    pub(super) fn poll_ready(
        &mut self,
        cx: &Context<'_>,
        in_flight_max: usize,
    ) -> (Poll<Ready>, Option<Waker>) {
        if self.finished {
            return (Poll::Ready(Err(AppendError::Lost)), None);
        }
        if self.due.len() < in_flight_max {
            return (Poll::Ready(Ok(())), None);
        }
        (Poll::Pending, self.ready_waker.replace(cx.waker().clone()))
    }

    /// Takes the next outcome that was told; with it who waits for the room that this makes. When pending, with it a
    /// waker that was replaced and is to be dropped outside of the lock.
    pub(super) fn poll_ack(&mut self, cx: &Context<'_>) -> (Poll<Ack>, Option<Waker>) {
        let Some(&Due { sequence, fate: Fate::Told(outcome) }) = self.due.front() else {
            return (Poll::Pending, self.ack_waker.replace(cx.waker().clone()));
        };
        self.due.pop_front();
        if outcome == Outcome::Refused {
            self.refusals -= 1;
            if self.refusals == 0 && !self.begun {
                // Its barrier was refused: it starts again.
                self.last = None;
            }
        }
        (Poll::Ready(Ack { sequence, outcome }), self.ready_waker.take())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.due.len()
    }

    /// The log's side: the next group's records, if there is one.
    pub(super) fn take_next(&mut self) -> Option<(Sequence, Vec<KafkaRecord>)> {
        self.on_the_way.pop_front().map(|sent| (sent.sequence, sent.records))
    }

    pub(super) fn has_next(&self) -> bool {
        !self.on_the_way.is_empty()
    }

    /// The group of `sequence` is in the log.
    pub(super) fn landed(&mut self, sequence: Sequence, place: Range<Offset>) {
        self.begun = true;
        let outcome = Outcome::Appended { first: place.start, next: place.end };
        let waiting = |due: &&mut Due| due.sequence == sequence && due.fate == Fate::OnTheWay;
        if let Some(due) = self.due.iter_mut().find(waiting) {
            due.fate = Fate::Decided(outcome);
        }
    }

    /// All that is on the way comes to nothing.
    pub(super) fn discard(&mut self, outcome: Outcome) -> usize {
        self.on_the_way.clear();
        let mut discarded = 0;
        for due in self.due.iter_mut().filter(|due| due.fate == Fate::OnTheWay) {
            due.fate = Fate::Decided(outcome);
            discarded += 1;
        }
        if outcome == Outcome::Refused {
            self.refusals += discarded;
        }
        discarded
    }

    /// Tells the writer up to `n` outcomes that are decided, in the order of the appends.
    pub(super) fn tell(&mut self, n: usize) -> usize {
        let mut told = 0;
        for due in &mut self.due {
            match due.fate {
                Fate::Told(_) => {}
                Fate::Decided(outcome) if told < n => {
                    due.fate = Fate::Told(outcome);
                    self.finished |= outcome == Outcome::Fenced;
                    told += 1;
                }
                _ => break,
            }
        }
        told
    }

    /// Tells the writer that it will not hear of anything that it was not told yet. One that was told of the fence knows
    /// what comes of the rest.
    pub(super) fn lose(&mut self) {
        let outcome = if self.finished { Outcome::Fenced } else { Outcome::Unknown };
        for due in self.due.iter_mut().filter(|due| !matches!(due.fate, Fate::Told(_))) {
            due.fate = Fate::Told(outcome);
        }
        self.finished = true;
    }

    /// The writer is dropped: nobody waits for outcomes.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.due.clear();
    }

    /// Whether the writer waits for the outcome of a group on the way.
    pub(super) fn waits(&self) -> bool {
        self.due.iter().any(|due| due.fate == Fate::OnTheWay)
    }

    /// Who waits for outcomes or for room.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.ack_waker.take().into_iter().chain(self.ready_waker.take())
    }
}
