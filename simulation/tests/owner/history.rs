//! What clients saw, and whether it can have been.
//!
//! Every operation on a key answers the whole trail of what was done to it, so a history is linearizable exactly if all trails
//! answered are beginnings of the last one, ids are in it once, and what ended before another began is a beginning of that
//! one's.

use std::collections::{BTreeMap, BTreeSet};

use affinity_types::Version;

use crate::lists::{Event, Ids, Seen, Trail};
use crate::scanning::ScanLog;

/// An operation that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) key: String,
    /// The id of its effect; a read has none.
    pub(crate) effect: Option<u64>,
    pub(crate) ids: Vec<u64>,
    /// Nothing was fresh any more.
    pub(crate) gone: bool,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// Something that a watcher was told; first of all, the value with which the watch began.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Value(Option<Ids>, Version),
    Event(Event),
}

/// What a watcher was told from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct WatchLog {
    pub(crate) key: String,
    /// Of what is fresh, and not of the list.
    pub(crate) fresh: bool,
    pub(crate) began: u64,
    pub(crate) told: Vec<Told>,
}

/// What was seen and what was asked.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) answered: Vec<Answered>,
    /// Commands that were refused for sure.
    pub(crate) never: Vec<(String, u64)>,
    pub(crate) watches: Vec<WatchLog>,
    pub(crate) scans: Vec<ScanLog>,
}

impl History {
    /// Holds the history against the trails as they are at last.
    ///
    /// # Panics
    /// If it cannot have been.
    pub(crate) fn check(&self, at_last: &BTreeMap<String, Seen>) {
        let mut pasts = BTreeMap::new();
        for (key, last) in at_last {
            let ids = last.trail.ids();
            let once: BTreeSet<u64> = ids.iter().copied().collect();
            assert_eq!(once.len(), ids.len(), "{key}: an effect twice in {ids:?}");
            let never: BTreeSet<u64> =
                self.never.iter().filter(|(k, _)| k == key).map(|(_, id)| *id).collect();
            let wrong = never.intersection(&once).next();
            assert_eq!(wrong, None, "{key}: it was refused and is in {ids:?}");
            self.check_answers(key, &ids);
            let past = Past::new(&last.trail, last.last);
            for watch in self.watches.iter().filter(|watch| &watch.key == key) {
                if watch.fresh {
                    self.check_fresh(watch, &past);
                    continue;
                }
                self.check_beginning(watch, &past);
                watch.check(&past, &never);
            }
            pasts.insert(key.as_str(), past);
        }
        self.scans.iter().for_each(|scan| scan.check(&pasts, self));
    }

    /// How long the trail of a key was, and how long one with nothing fresh, in what was answered before a moment.
    pub(crate) fn before(&self, key: &str, moment: u64) -> (usize, usize) {
        let before = self.answered.iter().filter(|op| op.key == key && op.ended < moment);
        before.fold((0, 0), |(longest, gone), op| {
            let length = op.ids.len();
            (longest.max(length), if op.gone { gone.max(length) } else { gone })
        })
    }

    fn check_answers(&self, key: &str, ids: &[u64]) {
        let mut by_ended: Vec<_> = self.answered.iter().filter(|op| op.key == key).collect();
        for op in &by_ended {
            assert!(ids.starts_with(&op.ids), "{key}: {op:?} saw what is not so: {ids:?}");
            if let Some(id) = op.effect {
                assert!(op.ids.contains(&id), "{key}: {op:?} does not see its own effect");
            }
        }
        by_ended.sort_by_key(|op| op.ended);
        // The longest trail that was answered before a moment: whoever begins later sees at least that.
        let mut by_began = by_ended.clone();
        by_began.sort_by_key(|op| op.began);
        let (mut ended, mut longest, mut gone) = (0, 0, 0);
        for op in by_began {
            while ended < by_ended.len() && by_ended[ended].ended < op.began {
                let before = by_ended[ended];
                longest = longest.max(before.ids.len());
                if before.gone {
                    gone = gone.max(before.ids.len());
                }
                ended += 1;
            }
            let own = op.effect.and_then(|id| op.ids.iter().position(|other| *other == id));
            let seen = own.unwrap_or(op.ids.len());
            assert!(seen >= longest, "{key}: {op:?} does not see what {longest} others had been answered");
            let back = !op.gone && op.ids.len() <= gone;
            assert!(!back, "{key}: {op:?} sees what had expired for others, behind {gone}");
        }
    }

    /// What is fresh is what was put, each in its place, and never what somebody was told has expired when the watch began.
    fn check_fresh(&self, watch: &WatchLog, past: &Past<'_>) {
        let before = self.answered.iter().filter(|op| op.key == watch.key && op.ended < watch.began);
        let gone = before.filter(|op| op.gone).map(|op| op.ids.len()).max().unwrap_or(0);
        let mut last = None;
        for told in &watch.told {
            let Told::Value(fresh, version) = told else { panic!("{told:?} in {watch:?}") };
            assert!(last.is_none_or(|last| last < *version), "{told:?} in {watch:?}");
            last = Some(*version);
            let Some(Ids(ids)) = fresh else { continue };
            let place = past.place_at(*version);
            let put = place.checked_sub(1).map(|before| (past.trail.0[before].id, past.versions[before]));
            assert_eq!(put, ids.first().map(|id| (*id, *version)), "{told:?} in {watch:?}");
            assert!(place > gone, "{told:?} had expired for others in {watch:?}");
        }
    }

    /// A watch begins with a read.
    fn check_beginning(&self, watch: &WatchLog, past: &Past<'_>) {
        let Some(Told::Value(list, version)) = watch.told.first() else { return };
        let before = self.answered.iter().filter(|op| op.key == watch.key && op.ended < watch.began);
        let longest = before.map(|op| op.ids.len()).max().unwrap_or(0);
        // Where nothing is, it does not tell since when.
        let seen = if list.is_some() { past.place_at(*version) } else { past.without_list_from(longest) };
        assert!(seen >= longest, "{watch:?} began without what {longest} others had been answered");
    }
}

/// The past of a key: its trail and the version of each effect.
pub(crate) struct Past<'a> {
    pub(crate) trail: &'a Trail,
    pub(crate) versions: Vec<Version>,
}

impl<'a> Past<'a> {
    fn new(trail: &'a Trail, last: Version) -> Past<'a> {
        let behind_first = trail.0.iter().skip(1).map(|effect| effect.after);
        let versions: Vec<_> = behind_first.chain([last]).take(trail.0.len()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "versions go back: {versions:?}");
        Past { trail, versions }
    }

    /// How many effects there are up to a version.
    pub(crate) fn place_at(&self, version: Version) -> usize {
        self.versions.partition_point(|other| *other <= version)
    }

    /// A place from `least` on at which there is no list, or 0.
    fn without_list_from(&self, least: usize) -> usize {
        let without = |place: &usize| self.trail.list_at(*place).is_none();
        (least..=self.trail.0.len()).find(without).unwrap_or(0)
    }
}

impl WatchLog {
    /// Values are those that were, in their order; events are those of commands that landed, each once, in their order, and
    /// between the values before and after them.
    fn check(&self, past: &Past<'_>, never: &BTreeSet<u64>) {
        let mut last = None;
        let mut given = BTreeSet::new();
        let mut events: Vec<Event> = Vec::new();
        for told in &self.told {
            match told {
                Told::Value(list, version) => {
                    assert!(last.is_none_or(|last| last < *version), "{told:?} in {self:?}");
                    last = Some(*version);
                    // Nothing at all has no version.
                    if *version != Version::default() {
                        given.insert(self.check_value(list.as_ref(), *version, events.last(), past));
                    }
                }
                Told::Event(event) => {
                    self.check_event(event, events.last(), past, never);
                    assert!(events.iter().all(|other| other.id != event.id), "{told:?} twice in {self:?}");
                    let newest = given.last().copied().unwrap_or(0);
                    // One may come late only to a watcher who was not given the value it came with.
                    let late = newest > event.place && given.contains(&event.place);
                    assert!(!late, "{told:?} came after {newest} in {self:?}");
                    events.push(*event);
                }
            }
        }
    }

    /// The place of a value.
    fn check_value(
        &self,
        list: Option<&Ids>,
        version: Version,
        event: Option<&Event>,
        past: &Past<'_>,
    ) -> usize {
        let place = past.place_at(version);
        assert_eq!(list, past.trail.list_at(place).as_ref(), "{version} in {self:?}");
        let own = place.checked_sub(1).map(|before| past.versions[before]);
        assert_eq!(own, Some(version), "{version} in {self:?}");
        let early = event.is_some_and(|event| event.place >= place);
        assert!(!early, "{event:?} came before {version} in {self:?}");
        place
    }

    fn check_event(&self, event: &Event, before: Option<&Event>, past: &Past<'_>, never: &BTreeSet<u64>) {
        assert!(!never.contains(&event.id), "{event:?} was refused: {self:?}");
        assert!(event.place <= past.trail.0.len(), "{event:?} saw what is not so: {self:?}");
        if event.changes {
            assert_eq!(past.trail.0[event.place - 1].id, event.id, "{event:?} is of another: {self:?}");
        }
        let after =
            |before: &Event| before.place < event.place || before.place == event.place && !event.changes;
        let in_order = before.is_none_or(after);
        assert!(in_order, "{event:?} after {before:?} in {self:?}");
    }

    /// The last value given.
    pub(crate) fn last(&self) -> Option<(&Option<Ids>, Version)> {
        self.told.iter().rev().find_map(|told| match told {
            Told::Value(list, version) => Some((list, *version)),
            Told::Event(_) => None,
        })
    }
}
