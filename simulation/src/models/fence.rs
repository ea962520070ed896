//! Fencing an old master on one partition of a compacted log.
//!
//! Masters of epoch 1, 2, … append through channels of their own that keep the order and may delay a request for ever,
//! also beyond the end of the master that sent it. A new master may appear as soon as the one before it has. The log
//! may compact at any time, as far as its settings let it: per key the record of the highest offset stays, whatever
//! its epoch, which is why a zombie's late record can shadow a valid one.
//!
//! Each rule of the design is a field of [`Fence`], so that a test can take it away and see what breaks.

use arrayvec::ArrayVec;

use super::explore::Model;
use log::{Content, Log, MOST_MASTERS, Offsets, Reading};
pub use log::{Epoch, Key, Record, Value};
use master::{InFlight, Master, Serving};

mod log;
mod master;

/// Masters, what their clients write, and the rules they and the log obey.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The keys that clients write at each master, in order; the first master has epoch 1.
    pub writes: Vec<Vec<Key>>,
    /// Whether masters crash.
    pub crashes: Crashes,
    /// How records are read, at bootstrap and by everybody.
    pub readers: Readers,
    /// When an acknowledged append is told to the client.
    pub acks: Acks,
    /// Whether a master reads what others append.
    pub tailing: Tailing,
    /// What a master does about stale records that shadow a key.
    pub repair: Repair,
    /// How far the log may compact.
    pub compaction: Compaction,
    /// Whether the log itself refuses an old master.
    pub broker: Broker,
    /// Which key a barrier has, for compaction.
    pub barrier_keys: BarrierKeys,
}

/// Whether masters crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crashes {
    /// They only stop when they are fenced.
    Never,
    /// A serving master may crash at any time.
    Anytime,
}

/// How records are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// A record of a lower epoch than one before it is ignored.
    IgnoreStale,
    /// Every record counts.
    TakeAll,
}

/// When an acknowledged append is told to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// When its offset is the expected one, or the gap before it holds no higher epoch.
    Contiguous,
    /// Always.
    Unchecked,
}

/// Whether a master reads what others append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tailing {
    /// It reads to the end of the log now and then.
    ToTheEnd,
    /// It reads while it takes over, and never again.
    OnlyAtTakeOver,
}

/// What a master does about stale records that shadow a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repair {
    /// It appends the valid value once more.
    Reappend,
    /// Nothing.
    Never,
}

/// How far the log may compact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compaction {
    /// To its end.
    Free,
    /// What the newest master, serving, has observed.
    Observed,
    /// What the newest master, serving, has observed, once it has repaired it: the lag that a topic is given.
    Repaired,
}

/// Whether the log itself refuses an old master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broker {
    /// It takes every record.
    TakesAll,
    /// It refuses an epoch lower than one it has.
    Fences,
}

/// Which key a barrier has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierKeys {
    /// One for each epoch.
    PerEpoch,
    /// The same for all.
    Shared,
}

impl Fence {
    /// The design for a log that does not fence by itself: every rule holds.
    pub fn by_rules(writes: Vec<Vec<Key>>) -> Self {
        Self {
            writes,
            crashes: Crashes::Never,
            readers: Readers::IgnoreStale,
            acks: Acks::Contiguous,
            tailing: Tailing::ToTheEnd,
            repair: Repair::Reappend,
            compaction: Compaction::Repaired,
            broker: Broker::TakesAll,
            barrier_keys: BarrierKeys::PerEpoch,
        }
    }

    /// The design for a log that fences: neither repair nor a limit to compaction.
    pub fn by_broker(writes: Vec<Vec<Key>>) -> Self {
        let (repair, compaction, broker) = (Repair::Never, Compaction::Free, Broker::Fences);
        Self { repair, compaction, broker, ..Self::by_rules(writes) }
    }
}

/// What a client or a reader must never meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A write that a client was told to be done is ignored by readers.
    AckedWriteIgnored,
    /// Who bootstraps from the compacted log gets another state than the whole log means.
    CompactionChangedMeaning,
    /// A repair put another value than that of the last valid write.
    RepairChangedValue,
    /// The newest master has observed everything, and its memory differs from what the log means.
    MasterDiffers,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A master sent its barrier.
    Announced(Epoch),
    /// A client's write was sent to the log.
    Wrote(Epoch, Key, Value),
    /// The valid value of a shadowed key was sent once more.
    Repaired(Epoch, Key, Value),
    /// A master crashed; what it has sent may still arrive.
    Crashed(Epoch),
    /// A record arrived in the log.
    Appended(Record),
    /// The log refused a record.
    Refused(Record),
    /// A master saw its barrier acknowledged and replayed up to it.
    Replayed(Epoch),
    /// A master saw an append acknowledged, and told the client if it was a write.
    Acked(Epoch),
    /// A master read to the end of the log.
    Tailed(Epoch),
    /// The log compacted what lies below an offset.
    Compacted {
        /// The first offset that stayed as it was.
        below: u8,
    },
}

/// The log and all masters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    log: Log,
    masters: ArrayVec<Master, MOST_MASTERS>,
    /// The writes that clients were told to be done.
    acked: Offsets,
}

type Successor = (Step, State);

impl Model for Fence {
    type State = State;
    type Step = Step;
    type Violation = Violation;

    fn initial(&self) -> State {
        let masters = self.writes.iter().map(|_| Master::Idle).collect();
        State { log: Log::default(), masters, acked: Offsets::default() }
    }

    fn successors(&self, state: &State) -> Vec<Successor> {
        let mut successors = Vec::new();
        for (epoch, master) in state.masters() {
            successors.extend(self.delivery(state, epoch));
            match master {
                Master::Idle => successors.extend(announcement(state, epoch)),
                Master::Announcing { barrier: Some(offset) } => {
                    successors.push(self.replay(state, epoch, *offset));
                }
                Master::Serving(serving) => self.serve(state, epoch, serving, &mut successors),
                Master::Announcing { barrier: None } | Master::Fenced(_) | Master::Crashed(_) => {}
            }
        }
        self.compactions(state, &mut successors);
        successors
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        let meaning = self.read(state.log.whole());
        if state.acked.iter().any(|offset| !meaning.valid.contains(offset)) {
            return Some(Violation::AckedWriteIgnored);
        }
        if self.read(state.log.compacted()).memory != meaning.memory {
            return Some(Violation::CompactionChangedMeaning);
        }
        if !meaning.memory.reads_like(meaning.written) {
            return Some(Violation::RepairChangedValue);
        }
        let (epoch, newest) = state.last_serving()?;
        let observed = self.tailing == Tailing::OnlyAtTakeOver || newest.next == state.log.end();
        let quiet = newest.is_quiet() && observed && epoch == meaning.highest;
        (quiet && newest.memory != meaning.memory).then_some(Violation::MasterDiffers)
    }
}

impl Fence {
    fn read(&self, records: impl Iterator<Item = (u8, Record)>) -> Reading {
        Reading::of(records, self.readers)
    }

    /// The first request under way from `epoch` reaches the log.
    fn delivery(&self, state: &State, epoch: Epoch) -> Option<Successor> {
        let record = state.masters[epoch.index()].first_in_flight(epoch)?;
        let refused = self.broker == Broker::Fences && epoch < state.log.highest();
        let mut next = state.clone();
        let master = &mut next.masters[epoch.index()];
        if refused {
            master.was_refused();
            return Some((Step::Refused(record), next));
        }
        master.was_appended(state.log.end());
        next.log.push(record);
        Some((Step::Appended(record), next))
    }

    /// The barrier is acknowledged: replay what the compacted log has up to it.
    fn replay(&self, state: &State, epoch: Epoch, barrier: u8) -> Successor {
        let reading = self.read(state.log.compacted().take_while(|(offset, _)| *offset <= barrier));
        let master = if reading.highest > epoch {
            Master::Fenced(InFlight::new())
        } else {
            Master::Serving(Serving::new(reading.memory, barrier + 1, reading.shadowed))
        };
        (Step::Replayed(epoch), state.with(epoch, master))
    }

    fn serve(&self, state: &State, epoch: Epoch, serving: &Serving, successors: &mut Vec<Successor>) {
        if serving.has_room() {
            successors.extend(self.write(state, epoch, serving));
            successors.extend(self.repair(state, epoch, serving));
        }
        if self.crashes == Crashes::Anytime {
            let crashed = Master::Crashed(serving.in_flight.clone());
            successors.push((Step::Crashed(epoch), state.with(epoch, crashed)));
        }
        if self.tailing == Tailing::ToTheEnd && serving.is_quiet() && serving.next < state.log.end() {
            successors.push(self.tail(state, epoch, serving));
        }
        successors.extend(self.ack(state, epoch, serving));
    }

    fn write(&self, state: &State, epoch: Epoch, serving: &Serving) -> Option<Successor> {
        let key = *self.writes[epoch.index()].get(usize::from(serving.written))?;
        let mut serving = serving.clone();
        serving.written += 1;
        let value = Value::new(epoch, serving.written);
        serving.in_flight.push(Content::Write(key, value));
        Some((Step::Wrote(epoch, key, value), state.with(epoch, Master::Serving(serving))))
    }

    /// Sends the newest known value, of a write under way if there is one.
    fn repair(&self, state: &State, epoch: Epoch, serving: &Serving) -> Option<Successor> {
        let key = serving.shadowed.first().filter(|_| self.repair == Repair::Reappend)?;
        let mut serving = serving.clone();
        let pending =
            serving.pending(&state.log).filter_map(Content::state).filter(|(other, _)| *other == key);
        let value = pending.last().map(|(_, value)| value).or(serving.memory.get(key));
        let value = value.unwrap_or(Value::TOMBSTONE);
        serving.shadowed.remove(key);
        serving.in_flight.push(Content::Repair(key, value));
        Some((Step::Repaired(epoch, key, value), state.with(epoch, Master::Serving(serving))))
    }

    fn tail(&self, state: &State, epoch: Epoch, serving: &Serving) -> Successor {
        let mut serving = serving.clone();
        let mut highest = epoch;
        for (_, record) in state.log.between(serving.next, state.log.end()) {
            highest = highest.max(record.epoch);
            match record.content.state() {
                Some((key, _)) if self.readers == Readers::IgnoreStale && record.epoch < epoch => {
                    serving.shadowed.insert(key);
                }
                Some((key, value)) => serving.memory.put(key, value),
                None => {}
            }
        }
        serving.next = state.log.end();
        let master =
            if highest > epoch { Master::Fenced(serving.in_flight) } else { Master::Serving(serving) };
        (Step::Tailed(epoch), state.with(epoch, master))
    }

    /// The first append that the log has taken is acknowledged to its master.
    fn ack(&self, state: &State, epoch: Epoch, serving: &Serving) -> Option<Successor> {
        let mut serving = serving.clone();
        let offset = serving.unacked.pop_at(0)?;
        if self.acks == Acks::Contiguous {
            for (_, record) in state.log.between(serving.next, offset) {
                if record.epoch > epoch {
                    let fenced = Master::Fenced(serving.in_flight);
                    return Some((Step::Acked(epoch), state.with(epoch, fenced)));
                }
                let stale = record.content.state().filter(|_| record.epoch < epoch);
                stale.into_iter().for_each(|(key, _)| serving.shadowed.insert(key));
            }
        }
        let content = state.log.content(offset);
        content.state().into_iter().for_each(|(key, value)| serving.memory.put(key, value));
        serving.next = offset + 1;
        let mut next = state.with(epoch, Master::Serving(serving));
        if matches!(content, Content::Write(..)) {
            next.acked.insert(offset);
        }
        Some((Step::Acked(epoch), next))
    }

    fn compactions(&self, state: &State, successors: &mut Vec<Successor>) {
        for below in 1..=self.compactable(state) {
            let log = state.log.compact(below, self.barrier_keys);
            if log != state.log {
                successors.push((Step::Compacted { below }, State { log, ..state.clone() }));
            }
        }
    }

    /// The end of what may be compacted.
    fn compactable(&self, state: &State) -> u8 {
        if self.compaction == Compaction::Free {
            return state.log.end();
        }
        let newest = state.last_serving().filter(|(epoch, _)| *epoch == state.log.highest());
        let repaired =
            |serving: &Serving| serving.shadowed.first().is_none() && !serving.is_repairing(&state.log);
        match newest {
            Some((_, serving)) if self.compaction == Compaction::Observed || repaired(serving) => {
                serving.next
            }
            _ => 0,
        }
    }
}

/// The coordinator names a new master, whatever the one before it is doing.
fn announcement(state: &State, epoch: Epoch) -> Option<Successor> {
    let before = epoch.index().checked_sub(1).map(|before| &state.masters[before]);
    let may = before.is_none_or(|before| *before != Master::Idle);
    may.then(|| (Step::Announced(epoch), state.with(epoch, Master::Announcing { barrier: None })))
}

impl State {
    fn masters(&self) -> impl Iterator<Item = (Epoch, &Master)> {
        Epoch::all().zip(&self.masters)
    }

    /// The serving master of the highest epoch.
    fn last_serving(&self) -> Option<(Epoch, &Serving)> {
        let serving = Epoch::all().zip(&self.masters).filter_map(|(epoch, master)| match master {
            Master::Serving(serving) => Some((epoch, serving)),
            _ => None,
        });
        serving.last()
    }

    fn with(&self, epoch: Epoch, master: Master) -> Self {
        let mut next = self.clone();
        next.masters[epoch.index()] = master;
        next
    }
}
