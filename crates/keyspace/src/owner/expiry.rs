//! Time to live: the master deletes what has expired, by groups of its own.
//!
//! ```text
//!   due (memstore, by time)   |––––––– expired at now –––––––|––– not due: never read –––
//!                              └ deletes, gathered; one group of them in flight at a time
//!   a read, a handler or a watch meets one first  ─▶  its delete at once  ─▶  the answer, when that is acknowledged
//! ```
//!
//! Who was told that a value has expired was told by the log: no later master brings it back, however its clock is set.

use std::time::Duration;

use affinity_log::AppendError;
use affinity_memstore::Expiring;
use affinity_state::indices::ValueChange;
use affinity_state::{IndexChange, PendingValue};
use affinity_types::{EventTime, Group, Sequence};

use super::{Owner, Protection};
use crate::Partition;
use crate::context::pending_entry;
use crate::phase::Event;

/// What an owner keeps of what expires.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// What was due when it looked last is in flight up to here: it looks again when that has landed.
    under_way: Option<Sequence>,
    /// Not before this it appends deletes again, to gather some.
    not_before: Option<Duration>,
    /// The next time at which something is due, and when that is by the elapsed time.
    due_at: Option<(EventTime, Duration)>,
}

impl Expiry {
    /// What was in flight may never land.
    pub(super) fn forget(&mut self) {
        self.under_way = None;
    }
}

/// What became of deletes that an answer has to wait for.
pub(super) enum Buried {
    /// They are sent, the last with this group.
    Sent(Option<Sequence>),
    /// There is no room now: the message that met them has to be handled again.
    Later,
    /// The log does not take them.
    Never,
}

impl<P: Partition> Owner<P> {
    /// When something will be due, if that is what the owner waits for.
    pub(super) fn expire_at(&self) -> Option<Duration> {
        let (_, at) = self.expiry.due_at?;
        let waits = self.epoch().is_some()
            && self.gap.is_none()
            && !self.refusing
            && self.pending.in_flight() < self.settings.pending_max
            && self.expiry.under_way.is_none();
        waits.then(|| [self.expiry.not_before, self.own_at].into_iter().flatten().fold(at, Duration::max))
    }

    /// Deletes what has expired.
    pub(super) fn expire(&mut self) -> bool {
        if self.expiry.under_way.is_some_and(|sent| self.acked.is_none_or(|acked| acked < sent)) {
            return false;
        }
        self.expiry.under_way = None;
        let Some(first) = self.state.due_from() else {
            self.expiry.due_at = None;
            return false;
        };
        let now = self.tick();
        if first > now {
            self.note_due(first, now);
            return false;
        }
        if self.expiry.not_before.is_some_and(|at| at > self.now()) {
            self.expiry.due_at = Some((first, Duration::ZERO));
            return false;
        }
        self.settle();
        let most = self.settings.expiry_group_max.clamp(1, Group::RECORDS_MAX);
        let mut due = match self.state.due(now, most) {
            Ok(due) => due,
            Err(error) => {
                self.break_down(&error);
                return true;
            }
        };
        let all = due.len() < most;
        // What is pending replaces the value, and its entry with it.
        due.retain(|due| self.pending.get(due.store, &due.key).is_none());
        let sent = match self.delete(due) {
            Buried::Sent(sent) => sent,
            Buried::Later | Buried::Never => {
                self.expiry.due_at = Some((first, Duration::ZERO));
                self.expiry.not_before = Some(self.now() + Duration::from_millis(self.settings.retry_ms));
                return false;
            }
        };
        self.expiry.under_way = self.pending.newest().filter(|_| self.pending.in_flight() > 0);
        self.expiry.not_before =
            all.then(|| self.now() + Duration::from_millis(self.settings.expiry_gather_ms));
        match self.state.due_from() {
            Some(first) => self.note_due(first, now),
            None => self.expiry.due_at = None,
        }
        sent.is_some()
    }

    /// Notes when `due` is, unless that is known. The wall clock may jump meanwhile: whoever is polled looks at it again.
    fn note_due(&mut self, due: EventTime, now: EventTime) {
        let elapsed = self.now();
        if self.expiry.due_at.is_none_or(|(known, at)| known != due || at <= elapsed) {
            let wait = u64::try_from(due.0.saturating_sub(now.0)).unwrap_or(0);
            self.expiry.due_at = Some((due, elapsed.saturating_add(Duration::from_millis(wait))));
        }
    }

    /// Somebody has met these expired values, and is to be answered behind their deletes. No other change of them is pending.
    pub(super) fn bury(&mut self, expired: Vec<Expiring>) -> Buried {
        if self.removed(Protection::ExpiryByDelete) {
            return Buried::Sent(None);
        }
        self.delete(expired)
    }

    /// Somebody is to be answered from a range, whose expired values are left out. Either all that have expired are on their way to be
    /// deleted, or a group of no earlier time than now is: no later master's time lies before that of a group in the log.
    pub(super) fn bury_all(&mut self) -> Buried {
        let now = self.tick();
        if self.removed(Protection::ExpiryByDelete) || self.state.due_from().is_none_or(|due| due > now) {
            return Buried::Sent(None);
        }
        self.settle();
        let most = self.settings.expiry_group_max.clamp(1, Group::RECORDS_MAX);
        let mut due = match self.state.due(now, most) {
            Ok(due) => due,
            Err(error) => {
                self.break_down(&error);
                return Buried::Never;
            }
        };
        if due.is_empty() {
            return Buried::Sent(None);
        }
        let all = due.len() < most;
        due.retain(|due| self.pending.get(due.store, &due.key).is_none());
        match due.is_empty() {
            false => self.delete(due),
            true if all => Buried::Sent(self.pending.newest()),
            // More than fit into a group, and those are pending: the time alone is to be told.
            true if self.append_own(Vec::new(), Vec::new()) => Buried::Sent(Some(self.sent)),
            true => Buried::Later,
        }
    }

    /// Appends the deletes of expired values.
    fn delete(&mut self, expired: Vec<Expiring>) -> Buried {
        if expired.is_empty() {
            return Buried::Sent(None);
        }
        let most = self.settings.expiry_group_max.clamp(1, Group::RECORDS_MAX);
        let mut left = expired.into_iter().peekable();
        while left.peek().is_some() {
            if self.pending.in_flight() >= self.settings.pending_max {
                return Buried::Later;
            }
            let (mut changes, mut records) = (Vec::new(), Vec::new());
            let mut room = self.log.limits().group_bytes_max;
            while records.len() < most {
                let Some(expired) = left.peek() else { break };
                let record = self.state.expiry(expired);
                if !records.is_empty() && record.key.len() > room {
                    break;
                }
                room = room.saturating_sub(record.key.len());
                records.push(record);
                changes.extend(left.next());
            }
            match self.append_deletes(changes, records) {
                Ok(()) => {}
                Err(AppendError::Full) => return Buried::Later,
                Err(AppendError::Lost) => {
                    self.happen(Event::Fenced);
                    return Buried::Later;
                }
                Err(error) => {
                    tracing::error!(partition = %self.name, %error, "deletes of expired values were not taken");
                    return Buried::Never;
                }
            }
        }
        Buried::Sent(Some(self.sent))
    }

    /// What becomes of entries of indices with these deletes.
    fn entries_of(&self, expired: &[Expiring]) -> Result<Vec<IndexChange>, String> {
        let indices = self.state.indices();
        let key_max = self.state.memstore().limits().key_max_bytes;
        let mut entries = Vec::new();
        for Expiring { store, key, .. } in expired.iter().filter(|expired| indices.covers(expired.store)) {
            let pending = self.pending.get(*store, key);
            let value = match pending {
                Some(_) => None,
                None => self.state.get(*store, key).map_err(|error| error.to_string())?,
            };
            let old = match pending {
                Some(pending) => pending.value.as_ref().map(|old| (&old[..], pending.expires)),
                None => value.as_ref().map(|value| (value.bytes(), value.expires())),
            };
            let change = ValueChange { store: *store, key, old, new: None };
            entries.extend(indices.changes(&change, key_max).map_err(|error| error.to_string())?);
        }
        Ok(entries)
    }

    fn append_deletes(
        &mut self,
        expired: Vec<Expiring>,
        records: Vec<affinity_types::Record>,
    ) -> Result<(), AppendError> {
        let entries = match self.entries_of(&expired) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(partition = %self.name, error, "entries of expired values cannot be found");
                return Err(AppendError::Invalid("an expired value cannot be taken out of its indices"));
            }
        };
        let count = expired.len() as u64;
        let pending = |_, version| {
            let change = |Expiring { store, key, expires }| {
                (store, key, PendingValue { value: None, version, expires: Some(expires) })
            };
            let entries = entries.into_iter().map(|change| pending_entry(change, version));
            expired.into_iter().map(change).chain(entries).collect()
        };
        self.append_group(records, pending, |_| ())?;
        self.metrics.expired.increment(count);
        Ok(())
    }
}
