//! What a master sends to other partitions: effects by pair of partitions, in order, until each is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_cluster::PartitionName;
use affinity_types::effect::Effect;
use affinity_types::{EventTime, PartitionId};
use tokio::sync::mpsc;

use crate::effects::{Delivered, Delivery, Links, Receipt, Returned};

/// Effects on their way to all receivers, at most: so many may come back at once.
pub(super) const ON_THE_WAY_MAX: usize = 4096;
/// Effects that are done and cleared in one group, at most.
pub(super) const CLEARS_MAX: usize = 256;

/// Effects that are in the log and not done.
pub(super) struct Outbox {
    from: PartitionName,
    pub(super) links: Arc<dyn Links>,
    window: usize,
    /// Counts masterships, so that what comes back from an earlier one is told apart.
    mastership: u64,
    returns: mpsc::Sender<Returned>,
    returned: mpsc::Receiver<Returned>,
    /// Effects on their way, those of earlier masterships too.
    on_the_way: usize,
    pairs: BTreeMap<PartitionName, Pair>,
    /// Receivers to which something may be sent.
    ready: BTreeSet<PartitionName>,
    /// Receivers that are left alone until then.
    resting: BTreeSet<(Duration, PartitionName)>,
    /// Done, and not cleared from the log.
    pub(super) done: Vec<(PartitionName, u64)>,
    /// When the first of them was done.
    pub(super) done_since: Option<Duration>,
    /// Tries to send an effect whose partition is not there, since they were counted last.
    pub(super) astray: u64,
    /// Effects whose time has not come, or that could not be sent then, by when they are to be sent.
    delayed: BTreeSet<(EventTime, String)>,
    times: BTreeMap<String, EventTime>,
}

/// What is to be sent to one receiver.
#[derive(Default)]
struct Pair {
    waiting: BTreeMap<u64, Effect>,
    /// The next to be sent.
    next: u64,
    on_the_way: usize,
    rests: bool,
}

impl Outbox {
    pub(super) fn new(from: PartitionName, links: Arc<dyn Links>, window: usize) -> Outbox {
        let (returns, returned) = mpsc::channel(ON_THE_WAY_MAX);
        Outbox {
            from,
            links,
            window,
            mastership: 0,
            returns,
            returned,
            on_the_way: 0,
            pairs: BTreeMap::new(),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            done: Vec::new(),
            done_since: None,
            astray: 0,
            delayed: BTreeSet::new(),
            times: BTreeMap::new(),
        }
    }

    /// A mastership is over: another one reads from the log what is to be sent.
    pub(super) fn clear(&mut self) {
        self.mastership += 1;
        self.pairs.clear();
        self.ready.clear();
        self.resting.clear();
        self.done.clear();
        self.done_since = None;
        self.delayed.clear();
        self.times.clear();
    }

    /// An effect is in the log.
    pub(super) fn put(&mut self, to: &PartitionName, number: u64, effect: Effect) {
        let pair = self.pairs.entry(to.clone()).or_default();
        if number < pair.next || pair.waiting.is_empty() && pair.on_the_way == 0 {
            pair.next = number;
        }
        pair.waiting.insert(number, effect);
        if !pair.rests {
            self.ready.insert(to.clone());
        }
    }

    /// The first effect to this receiver that is not done.
    pub(super) fn first_waiting(&self, to: &PartitionName) -> Option<u64> {
        self.pairs.get(to)?.waiting.keys().next().copied()
    }

    /// An effect waits, for its time or until it is tried again.
    pub(super) fn delay(&mut self, token: &str, due: EventTime) {
        self.forget_delayed(token);
        self.times.insert(token.to_owned(), due);
        self.delayed.insert((due, token.to_owned()));
    }

    /// An effect waits for its time no more.
    pub(super) fn forget_delayed(&mut self, token: &str) {
        if let Some(due) = self.times.remove(token) {
            self.delayed.remove(&(due, token.to_owned()));
        }
    }

    /// When the first of the effects that wait is to be sent.
    pub(super) fn first_due(&self) -> Option<EventTime> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Names of the effects whose time has come.
    pub(super) fn due(&self, now: EventTime) -> impl Iterator<Item = &str> {
        self.delayed.iter().take_while(move |(due, _)| *due <= now).map(|(_, token)| token.as_str())
    }

    /// When a receiver that is left alone is tried again.
    pub(super) fn rests_until(&self) -> Option<Duration> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// When what is done is to be cleared, few as it may be.
    pub(super) fn clear_at(&self, clear_after: Duration) -> Option<Duration> {
        self.done_since.map(|since| since + clear_after)
    }

    /// Takes what has come back, and sends what may be sent; whether anything was done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Duration, rest: Duration) -> bool {
        let mut moved = false;
        while let Poll::Ready(Some(returned)) = self.returned.poll_recv(cx) {
            moved |= self.take(returned, now, rest);
        }
        while self.resting.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, to)) = self.resting.pop_first() else { break };
            if let Some(pair) = self.pairs.get_mut(&to) {
                pair.rests = false;
                self.ready.insert(to);
            }
        }
        while self.on_the_way < ON_THE_WAY_MAX
            && let Some(to) = self.ready.pop_first()
        {
            moved |= self.send(&to);
        }
        moved
    }

    /// Takes for done what is on its way: what a mutant does.
    pub(super) fn clear_early(&mut self, now: Duration) {
        for (to, pair) in &mut self.pairs {
            let next = pair.next;
            let sent: Vec<u64> = pair.waiting.range(..next).map(|(number, _)| *number).collect();
            for number in sent {
                pair.waiting.remove(&number);
                self.done.push((to.clone(), number));
                self.done_since.get_or_insert(now);
            }
        }
    }

    fn take(&mut self, returned: Returned, now: Duration, rest: Duration) -> bool {
        let Returned { to, number, mastership, outcome } = returned;
        self.on_the_way -= 1;
        if mastership != self.mastership {
            return false;
        }
        let Some(pair) = self.pairs.get_mut(&to) else { return false };
        pair.on_the_way -= 1;
        match outcome {
            Delivered::Done => {
                if pair.waiting.remove(&number).is_some() {
                    self.done.push((to.clone(), number));
                    self.done_since.get_or_insert(now);
                }
                if !pair.rests {
                    self.ready.insert(to);
                }
            }
            Delivered::Lost => {
                pair.next = pair.waiting.keys().next().copied().unwrap_or(pair.next);
                if !std::mem::replace(&mut pair.rests, true) {
                    self.ready.remove(&to);
                    self.resting.insert((now + rest, to));
                }
            }
        }
        true
    }

    /// Sends to one receiver what its window allows.
    fn send(&mut self, to: &PartitionName) -> bool {
        let Some(pair) = self.pairs.get_mut(to) else { return false };
        let room = self.window.saturating_sub(pair.on_the_way).min(ON_THE_WAY_MAX - self.on_the_way);
        let batch: Vec<_> =
            pair.waiting.range(pair.next..).take(room).map(|(n, e)| (*n, e.clone())).collect();
        pair.on_the_way += batch.len();
        self.on_the_way += batch.len();
        pair.next = batch.last().map_or(pair.next, |(number, _)| number + 1);
        if pair.waiting.is_empty() && pair.on_the_way == 0 {
            self.pairs.remove(to);
            return false;
        }
        let moved = !batch.is_empty();
        if self.links.partitions(&to.keyspace).is_none_or(|partitions| to.partition.0 >= partitions) {
            self.astray += batch.len() as u64;
        }
        for (number, effect) in batch {
            let receipt = Receipt {
                to: to.clone(),
                number,
                mastership: self.mastership,
                returns: self.returns.clone(),
                outcome: Delivered::Lost,
            };
            self.links.deliver(to, Delivery { from: self.from.clone(), number, effect, receipt });
        }
        moved
    }
}

/// A partition's name from its text.
pub(super) fn name_of(text: &str) -> Option<PartitionName> {
    let (keyspace, partition) = text.rsplit_once('/')?;
    Some(PartitionName::new(keyspace, PartitionId(partition.parse().ok()?)))
}
