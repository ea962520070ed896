//! Which records of a group compaction keeps.

use affinity_types::{EventTime, Offset, wire};

use super::frame::{EncodedRecord, Frame, KeepAttributes};
use super::slot::Slot;
use super::sorted::Passing;
use crate::Cleanup;
use crate::contract::millis;

/// What compaction knows of a slot at a moment.
pub(super) struct Policy<'a> {
    pub(super) slot: &'a Slot,
    start: Offset,
    end: Offset,
    now: EventTime,
}

/// What becomes of a group.
pub(super) enum Verdict {
    /// It stays as it is.
    Whole(Passing),
    /// The records whose indices were collected stay, maybe none of them.
    Part(KeepAttributes, Passing),
    /// Nothing of it stays.
    Gone,
}

/// Whether deletions may be forgotten when their time is over: only where nothing older of their keys is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletions {
    Stay,
    MayExpire,
}

impl<'a> Policy<'a> {
    pub(super) fn at(slot: &'a Slot, now: EventTime) -> Policy<'a> {
        let state = slot.state();
        let (start, end) = (state.start, state.end);
        drop(state);
        Policy { slot, start, end, now }
    }

    /// Whether all groups from `base` on stay, whatever they are: only age takes any, and has not come so far.
    pub(super) fn keeps_from(&self, base: Offset) -> bool {
        matches!(self.slot.cleanup(), Cleanup::Delete { .. }) && base >= self.start && !self.slot.gone()
    }

    /// Decides on a group. `superseded` says whether a newer record of the same key follows, and is asked once for each
    /// record where that counts, in their order; `kept` is filled with the
    /// indices of the records that stay.
    pub(super) fn judge(
        &self,
        frame: Frame<'_>,
        deletions: Deletions,
        mut superseded: impl FnMut(&EncodedRecord<'_>) -> bool,
        kept: &mut Vec<u16>,
    ) -> Verdict {
        kept.clear();
        if self.slot.gone() {
            return Verdict::Gone;
        }
        let Cleanup::Compact { delete_retention, request_window } = self.slot.cleanup() else {
            return self.judge_by_age(frame);
        };
        let deleted_until = frame.time().plus_ms(millis(*delete_retention));
        let forget = deletions == Deletions::MayExpire && deleted_until < self.now;
        let mut passing = Passing::NONE;
        for record in frame.records().flatten() {
            let deletion = record.slot.value.is_none();
            if superseded(&record) || deletion && forget {
                continue;
            }
            if deletion {
                passing.add(record.bytes.len() as u64, deleted_until);
            }
            kept.push(record.slot.index);
        }
        let must_stay = frame.next() == self.end
            || self.remembers(frame, frame.time().plus_ms(millis(*request_window)), &mut passing);
        if kept.is_empty() && !must_stay {
            Verdict::Gone
        } else if kept.len() == usize::from(frame.present()) && (must_stay || frame.attributes().is_empty()) {
            Verdict::Whole(passing)
        } else {
            Verdict::Part(if must_stay { KeepAttributes::Yes } else { KeepAttributes::No }, passing)
        }
    }

    /// The newest group leaves its frame behind: from that, the next opening knows the partition's end and epoch.
    fn judge_by_age(&self, frame: Frame<'_>) -> Verdict {
        if frame.next() > self.start {
            Verdict::Whole(Passing::NONE)
        } else if frame.next() == self.end {
            Verdict::Part(KeepAttributes::Yes, Passing::NONE)
        } else {
            Verdict::Gone
        }
    }

    /// Whether the group answers a request that a retry may still ask for.
    fn remembers(&self, frame: Frame<'_>, until: EventTime, passing: &mut Passing) -> bool {
        let attributes = frame.attributes();
        // Attributes that cannot be read stay: compaction loses nothing that it does not understand.
        let request =
            !attributes.is_empty() && wire::group_request_id(attributes).map_or(true, |id| id.is_some());
        if !request || until < self.now {
            return false;
        }
        passing.add(attributes.len() as u64, until);
        true
    }
}
