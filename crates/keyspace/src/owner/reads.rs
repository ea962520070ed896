//! Releasing what changes nothing: reads, commands without changes, and watches.

use std::time::Duration;

use affinity_log::{AppendError, Newest};
use affinity_memstore::StoreId;
use affinity_state::{PendingGroup, PendingValue, Place};
use affinity_types::{Attributes, Group, Record, Sequence, Version, control};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Held, InFlight, Owner, Protection};
use crate::effects::Receipt;
use crate::message::{IndexWatched, ReplyTo, Watched};
use crate::phase::{Event, Phase};
use crate::scan::{Chunk, ChunkReply, Continuation};
use crate::{Failure, Partition, Reads, Reply};

/// A read that waits for its release.
pub(super) struct HeldRead<P: Partition> {
    /// The newest pending group it may have seen.
    pub(super) saw: Option<Sequence>,
    /// The last group sent when it came: an acknowledgement of a later one proves that nobody else led then.
    pub(super) after: Sequence,
    pub(super) answer: HeldAnswer<P>,
}

/// What is held back.
pub(super) enum HeldAnswer<P: Partition> {
    Message(ReplyTo<P>, Reply<P::Answer, P::Error>),
    Watch(oneshot::Sender<Reply<Watched, P::Error>>, Watched),
    Index(oneshot::Sender<Reply<IndexWatched, P::Error>>, IndexWatched),
    Scan(ChunkReply<P>, Chunk),
    Effect(Receipt),
}

impl<P: Partition> HeldAnswer<P> {
    /// Gives it; the scan that goes on from it if nobody took it.
    fn release(self) -> Option<Continuation> {
        match self {
            HeldAnswer::Message(reply, answer) => drop(reply.send(answer)),
            HeldAnswer::Watch(reply, watched) => drop(reply.send(Ok(watched))),
            HeldAnswer::Index(reply, watched) => drop(reply.send(Ok(watched))),
            HeldAnswer::Scan(reply, chunk) => {
                return reply.send(Ok(chunk)).err().and_then(|untaken| untaken.ok()?.next);
            }
            HeldAnswer::Effect(receipt) => receipt.done(),
        }
        None
    }
}

impl<P: Partition> HeldRead<P> {
    /// It cannot be proven any more.
    pub(super) fn fail(self) {
        match self.answer {
            HeldAnswer::Message(reply, _) => drop(reply.send(Err(Failure::Unavailable))),
            HeldAnswer::Watch(reply, _) => drop(reply.send(Err(Failure::Unavailable))),
            HeldAnswer::Index(reply, _) => drop(reply.send(Err(Failure::Unavailable))),
            HeldAnswer::Scan(reply, _) => drop(reply.send(Err(Failure::Unavailable))),
            // It is delivered again.
            HeldAnswer::Effect(_) => {}
        }
    }
}

impl<P: Partition> Owner<P> {
    /// Holds an answer until it may be given; at once if that is now.
    pub(super) fn hold(&mut self, saw: Option<Sequence>, answer: HeldAnswer<P>) {
        if self.epoch().is_none() {
            // The partition has broken down over what was asked.
            return HeldRead { saw, after: self.sent, answer }.fail();
        }
        let unknown = saw.filter(|saw| self.acked.is_none_or(|acked| acked < *saw));
        let saw = unknown.filter(|_| !self.removed(Protection::ReadRelease));
        if saw.is_none() && self.releases() {
            self.read_since = true;
            return self.give(answer);
        }
        let read = HeldRead { saw, after: self.sent, answer };
        self.read_since = true;
        self.reads.push_back(read);
    }

    fn give(&mut self, answer: HeldAnswer<P>) {
        if let Some(scan) = answer.release() {
            self.end_scan(scan.number);
        }
    }

    /// Whether a read that saw nothing unknown may be released at once, before others that are held for what they saw.
    fn releases(&self) -> bool {
        self.gate_open() && self.fresh()
    }

    /// How many wait for a release, or for an answer that somebody else asked for first.
    pub(super) fn held_count(&self) -> usize {
        self.reads.len() + self.gated.count + self.inbox.gated.len() + self.retries
    }

    /// Whether replies or receipts wait for the gate.
    pub(super) fn holds_back(&self) -> bool {
        self.gated.count > 0 || !self.inbox.gated.is_empty()
    }

    pub(super) fn gate_open(&self) -> bool {
        self.gate.is_none_or(|gate| gate <= self.now())
    }

    /// Whether nobody else leads at this moment.
    fn fresh(&self) -> bool {
        let Held::Writer(writer) = &self.held else { return false };
        if self.removed(Protection::Lease) {
            return true;
        }
        match writer.newest() {
            Newest::Yes => true,
            Newest::No => false,
            Newest::Unknown => self.settings.reads == Reads::Lease && self.lease_left() > Duration::ZERO,
        }
    }

    fn lease_left(&self) -> Duration {
        let end = self.anchor.map_or(Duration::ZERO, |at| at + Duration::from_millis(self.settings.lease_ms));
        end.saturating_sub(self.now())
    }

    /// Releases what may be released.
    pub(super) fn release(&mut self) -> bool {
        if !self.gate_open() {
            return false;
        }
        self.gate = None;
        let mut moved = std::mem::take(&mut self.gated.count) > 0;
        std::mem::take(&mut self.inbox.gated).into_iter().for_each(Receipt::done);
        for (waiting, answer) in std::mem::take(&mut self.gated.replies) {
            waiting.answer(answer);
        }
        while let Some(read) = self.reads.front() {
            let seen = read.saw.is_none_or(|saw| self.acked.is_some_and(|acked| acked >= saw));
            let proven = self.acked.is_some_and(|acked| acked > read.after);
            if !seen || !(proven || self.fresh()) {
                break;
            }
            if let Some(read) = self.reads.pop_front() {
                self.give(read.answer);
                moved = true;
            }
        }
        moved
    }

    /// Reads that saw a refused group saw what never was.
    pub(super) fn fail_reads_of(&mut self, refused: Sequence) {
        for read in std::mem::take(&mut self.reads) {
            if read.saw.is_some_and(|saw| saw >= refused) { read.fail() } else { self.reads.push_back(read) }
        }
    }

    /// Whether the log says that somebody else leads. What is in flight tells it by its outcome.
    fn is_replaced(&mut self) -> bool {
        let Held::Writer(writer) = &self.held else { return false };
        if self.pending.in_flight() > 0 || self.removed(Protection::Lease) {
            return false;
        }
        match writer.newest() {
            Newest::No => return true,
            Newest::Yes => self.newest_at = self.polled_at(),
            Newest::Unknown => {}
        }
        false
    }

    /// Whether an idle master appends a no-op now and then.
    pub(super) fn idles(&self) -> bool {
        let unknown = matches!(&self.held, Held::Writer(writer) if writer.newest() == Newest::Unknown);
        unknown && matches!(self.phase, Phase::Serving(_))
    }

    /// Whether nothing is under way that would show others' appends.
    pub(super) fn is_idle(&self) -> bool {
        self.idles() && self.pending.in_flight() == 0 && self.gap.is_none() && !self.refusing
    }

    /// Whether something of the owner's own may be appended, when it is time.
    pub(super) fn keeps_up(&self) -> bool {
        let room = self.pending.in_flight() < self.settings.pending_max;
        self.epoch().is_some() && room && !self.refusing && self.gap.is_none()
    }

    /// Appends what nobody asked for: repairs, and no-ops for reads and against silence.
    pub(super) fn keep_up(&mut self) -> bool {
        if !self.keeps_up() {
            return false;
        }
        if self.is_replaced() {
            self.happen(Event::Fenced);
            return true;
        }
        if self.own_at.is_some_and(|at| at > self.now()) {
            return false;
        }
        self.own_at = None;
        if self.repair() || self.expire() {
            return true;
        }
        // A later group may prove it that is in flight or acknowledged; one that was refused proves nothing.
        let latest = self.pending.newest().max(self.acked);
        let unproven =
            self.reads.front().is_some_and(|read| latest.is_none_or(|latest| read.after >= latest))
                && !self.fresh();
        let lease = Duration::from_millis(self.settings.lease_ms);
        let renew = self.idles()
            && self.settings.reads == Reads::Lease
            && self.read_since
            && self.pending.in_flight() == 0
            && self.lease_left() < lease / 2;
        let idle = self.is_idle()
            && self.now() >= self.last_sent_at + Duration::from_millis(self.settings.idle_noop_ms);
        if !(unproven || renew || idle) {
            return false;
        }
        self.append_own(Vec::new(), Vec::new())
    }

    /// Writes again what stale records hit.
    fn repair(&mut self) -> bool {
        if self.state.stale().is_empty() || self.removed(Protection::Repair) {
            return false;
        }
        self.settle();
        let mut records = Vec::new();
        let mut repairs = Vec::new();
        let mut room = self.log.limits().group_bytes_max;
        for place in self.state.stale() {
            // A pending change of a key lands behind the stale record: its acknowledgement mends the key.
            if self.repairing.contains(place) || self.pending.get(place.0, &place.1).is_some() {
                continue;
            }
            let record = match self.state.repair(place) {
                Ok(record) => record,
                Err(error) => {
                    self.break_down(&error);
                    return true;
                }
            };
            let bytes = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
            if !records.is_empty() && bytes > room || records.len() == REPAIRS_MAX {
                break;
            }
            room = room.saturating_sub(bytes);
            records.push(record);
            repairs.push(place.clone());
        }
        if repairs.is_empty() {
            return false;
        }
        self.metrics.repairs.increment(repairs.len() as u64);
        tracing::warn!(partition = %self.name, keys = repairs.len(), "repairing what stale records hit");
        self.append_own(records, repairs)
    }

    /// Appends a group of the owner's own; without records, a no-op.
    pub(super) fn append_own(&mut self, records: Vec<Record>, repairs: Vec<Place>) -> bool {
        if self.epoch().is_none() {
            return false;
        }
        let repaired = repairs.clone();
        match self.append_group(records, |_, _| Vec::new(), |with| with.repairs = repairs) {
            Ok(()) => {
                self.repairing.extend(repaired);
                true
            }
            Err(AppendError::Lost) => {
                self.happen(Event::Fenced);
                true
            }
            // The next outcome makes room.
            Err(AppendError::Full) if self.pending.in_flight() > 0 => false,
            Err(error) => {
                if error != AppendError::Full {
                    tracing::error!(partition = %self.name, %error, "the owner's own group was not taken");
                }
                self.own_at = Some(self.now() + Duration::from_millis(self.settings.retry_ms));
                false
            }
        }
    }

    /// Appends a group that no command asked for, a no-op without records; `changes` makes what is pending with it.
    pub(super) fn append_group(
        &mut self,
        records: Vec<Record>,
        changes: impl FnOnce(Vec<Record>, Version) -> Vec<(StoreId, Bytes, PendingValue)>,
        keep: impl FnOnce(&mut InFlight<P::Answer, P::Error>),
    ) -> Result<(), AppendError> {
        let (Some(epoch), time) = (self.epoch(), self.tick()) else { return Err(AppendError::Lost) };
        let version = Version::new(epoch, self.sent.next());
        // The lease counts from here: a pause during the append must not lengthen it.
        let mut with = InFlight::own(time, self.clock.elapsed());
        keep(&mut with);
        let group = if records.is_empty() {
            control::no_op_group(version, time, self.schemas.control)
        } else {
            let attributes = Attributes { request: with.request.clone(), ..Attributes::default() };
            Group { version, time, attributes, records }
        };
        let Held::Writer(writer) = &mut self.held else { return Err(AppendError::Lost) };
        writer.append(&group)?;
        self.pushed(PendingGroup { version, changes: changes(group.records, version), with });
        Ok(())
    }

    /// A group is on its way. What its changes do to entries of indices is among them: nobody adds it later.
    pub(super) fn pushed(&mut self, group: PendingGroup<InFlight<P::Answer, P::Error>>) {
        self.sent = group.version.sequence;
        self.sent_time = self.sent_time.max(group.with.time);
        self.last_sent_at = group.with.sent;
        self.read_since = false;
        self.pending.push(group);
    }
}

/// Keys repaired in one group.
const REPAIRS_MAX: usize = 256;
