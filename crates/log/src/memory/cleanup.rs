//! What the log forgets: compaction as Kafka does it, and retention.

use std::collections::BTreeMap;
use std::time::Duration;

use affinity_types::{EventTime, Offset};

use super::partition::Partition;
use crate::contract::millis;

/// How a compaction goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compaction {
    /// It stays below this offset.
    pub(super) up_to: Offset,
    /// What its clock says.
    pub(super) now: EventTime,
    /// Records younger than this, and all behind them, are left alone.
    pub(super) lag: Duration,
    /// Deletions older than this are forgotten, if an earlier compaction has left them.
    pub(super) delete_retention: Duration,
}

impl Partition {
    /// Keeps of each key the record with the highest offset, whatever its epoch, in a prefix of the log that never
    /// reaches the newest record. Answers how many records it forgot.
    pub(super) fn compact(&mut self, how: &Compaction) -> usize {
        let before = self.records.len();
        let prefix = self.cleanable(how);
        let mut newest = BTreeMap::new();
        for stored in &self.records[..prefix] {
            newest.insert(stored.record.key.clone(), stored.offset);
        }
        let forgotten_before = how.now.minus_ms(millis(how.delete_retention));
        let mut at = 0;
        self.records.retain_mut(|stored| {
            at += 1;
            if at > prefix {
                return true;
            }
            let forgotten =
                stored.record.value.is_none() && stored.passed && stored.record.time < forgotten_before;
            stored.passed = true;
            newest.get(&stored.record.key) == Some(&stored.offset) && !forgotten
        });
        before - self.records.len()
    }

    /// How many records, from the first on, a compaction may look at.
    fn cleanable(&self, how: &Compaction) -> usize {
        let young_after = how.now.minus_ms(millis(how.lag));
        let old_enough = |time: EventTime| how.lag.is_zero() || time <= young_after;
        let below = |offset: Offset| offset < how.up_to && offset.advance(1) < self.end;
        let cleanable =
            |stored: &&super::partition::Stored| below(stored.offset) && old_enough(stored.record.time);
        self.records.iter().take_while(cleanable).count()
    }

    /// Forgets whole groups from the start on while they are older than `oldest`, or more bytes than `bytes_max` are
    /// left. Answers how many records it forgot.
    pub(super) fn retain(&mut self, oldest: Option<EventTime>, bytes_max: Option<u64>) -> usize {
        let mut bytes: u64 = self.records.iter().map(|stored| stored.record.size()).sum();
        let mut forgotten = 0;
        while forgotten < self.records.len() {
            let time = self.records[forgotten].record.time;
            if !(oldest.is_some_and(|oldest| time < oldest) || bytes_max.is_some_and(|max| bytes > max)) {
                break;
            }
            let group = self.group_at(forgotten).map_or(forgotten..forgotten + 1, |(_, indices)| indices);
            forgotten = group.end;
            bytes -= self.records[group].iter().map(|stored| stored.record.size()).sum::<u64>();
        }
        if let Some(last) = self.records.drain(..forgotten).next_back() {
            self.start = last.offset.advance(1);
        }
        forgotten
    }
}
