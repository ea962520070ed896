//! What expires, and when: keys beside the maps, in buckets of a few milliseconds.
//!
//! ```text
//!   slot       …001                …005         …006       16 ms each, in their order
//!   entries    ada bob ada eve     bob          ada        appended as values are written, and not taken out
//!   standing   1 of 4: eve         1 of 1       1 of 1     counted: the map tells when the value before expired
//! ```
//!
//! A write costs an entry at the end of a bucket and a count in another, and looks nothing up. Entries whose value was
//! written over or removed stay until their bucket has none that stands, until they come to its front when it is due, or
//! until there are more of them than of others: then as much is swept as falls.

use std::collections::BTreeMap;
use std::ops::Bound;

use affinity_types::{EventTime, Version, varint};
use bytes::Bytes;

use crate::{Expiring, StoreId};

/// Milliseconds of a slot, as a power of two: less than owners mostly wait between two looks, and enough that where many
/// are written few stand alone in one.
const SLOT_SHIFT: u32 = 4;

/// Entries that have fallen, beyond as many as stand, before any are swept.
const FALLEN_SPARE: usize = 1024;

/// What expires in one memstore.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    buckets: BTreeMap<i64, Bucket>,
    entries: usize,
    standing: usize,
    /// Entries that have fallen since it was tidied.
    fallen: usize,
    /// The slot that is swept, and how many of its entries are still to be looked at.
    sweeping: (i64, usize),
}

/// The entries of a slot, oldest first, of which some may have fallen.
#[derive(Debug)]
struct Bucket {
    /// No entry is earlier.
    first: EventTime,
    /// Entries: time within the slot, mark, store, length of the key, key. Those before `at` are gone.
    bytes: Vec<u8>,
    at: usize,
    entries: usize,
    standing: usize,
}

/// A key and when its value expires, if that is still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) store: StoreId,
    pub(crate) key: &'a [u8],
    pub(crate) expires: EventTime,
    /// Of the value's version, so that a later value that expires at the same time is another's.
    pub(crate) mark: u32,
}

/// What an entry remembers of a version: enough, since two entries for one value are one too many and no harm.
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) fn mark(version: Version) -> u32 {
    version.sequence.0 as u32
}

fn slot(time: EventTime) -> i64 {
    time.0 >> SLOT_SHIFT
}

impl Calendar {
    /// See [`MemStore::due_from`](crate::MemStore::due_from).
    pub(crate) fn due_from(&self) -> Option<EventTime> {
        self.buckets.first_key_value().map(|(_, bucket)| bucket.first)
    }

    /// A value that expires is there.
    pub(crate) fn rise(&mut self, entry: Entry<'_>) {
        let bucket = self.buckets.entry(slot(entry.expires)).or_insert_with(|| Bucket::new(entry.expires));
        bucket.push(&entry);
        self.entries += 1;
        self.standing += 1;
    }

    /// One that expires at `expires` is there no more.
    pub(crate) fn fall(&mut self, expires: EventTime) {
        let slot = slot(expires);
        let bucket = self.buckets.get_mut(&slot).expect("a value that expires has risen");
        bucket.standing -= 1;
        self.standing -= 1;
        self.fallen += 1;
        if bucket.standing == 0 {
            self.entries -= bucket.entries;
            self.buckets.remove(&slot);
        }
    }

    /// Takes out entries that have fallen: about as many are looked at as have fallen since the last time. `now` is the time of the
    /// log: what is not due by it mostly falls with its bucket.
    pub(crate) fn tidy(&mut self, now: EventTime, stands: impl Fn(&Entry<'_>) -> bool) {
        let steps = 2 * std::mem::take(&mut self.fallen);
        if steps == 0 {
            return;
        }
        // What was due and is deleted lies in front.
        if let Some(mut first) = self.buckets.first_entry().filter(|first| first.get().first <= now) {
            let slot = *first.key();
            self.entries -= first.get_mut().drop_front(slot, steps, &stands);
        }
        if self.entries > 2 * self.standing + FALLEN_SPARE {
            self.sweep(2 * steps, &stands);
        }
    }

    /// Goes around all buckets, `steps` entries further, and takes out those that have fallen.
    fn sweep(&mut self, steps: usize, stands: &impl Fn(&Entry<'_>) -> bool) {
        for _ in 0..steps {
            let (slot, left) = self.sweeping;
            let bucket = self.buckets.get_mut(&slot).filter(|bucket| left > 0 && bucket.has_fallen());
            let Some(bucket) = bucket else {
                let mut behind = self.buckets.range((Bound::Excluded(slot), Bound::Unbounded));
                let next = behind.next().or_else(|| self.buckets.first_key_value());
                let Some((slot, bucket)) = next else { return };
                self.sweeping = (*slot, bucket.entries);
                continue;
            };
            self.sweeping.1 -= 1;
            self.entries -= bucket.look_at_front(slot, stands);
        }
    }

    /// See [`MemStore::due`](crate::MemStore::due); `stands` says whether an entry still does.
    pub(crate) fn due(
        &self,
        now: EventTime,
        most: usize,
        stands: impl Fn(&Entry<'_>) -> bool,
    ) -> Vec<Expiring> {
        let mut due = Vec::new();
        for (slot, bucket) in self.buckets.range(..=slot(now)) {
            for entry in bucket.entries(*slot).filter(|entry| entry.expires <= now) {
                if bucket.has_fallen() && !stands(&entry) {
                    continue;
                }
                let Entry { store, key, expires, .. } = entry;
                due.push(Expiring { store, key: Bytes::copy_from_slice(key), expires });
                if due.len() == most {
                    order(&mut due);
                    if due.len() == most {
                        return due;
                    }
                }
            }
        }
        order(&mut due);
        due
    }
}

/// By time, and each once.
fn order(due: &mut Vec<Expiring>) {
    due.sort_unstable_by(|a, b| (a.expires, a.store, &a.key).cmp(&(b.expires, b.store, &b.key)));
    due.dedup();
}

impl Bucket {
    fn new(first: EventTime) -> Bucket {
        Bucket { first, bytes: Vec::new(), at: 0, entries: 0, standing: 0 }
    }

    fn has_fallen(&self) -> bool {
        self.entries > self.standing
    }

    fn push(&mut self, entry: &Entry<'_>) {
        let within = entry.expires.0 & ((1 << SLOT_SHIFT) - 1);
        self.bytes.push(u8::try_from(within).expect("less than a slot"));
        self.bytes.extend_from_slice(&entry.mark.to_le_bytes());
        self.bytes.extend_from_slice(&entry.store.0.to_le_bytes());
        varint::put(&mut self.bytes, entry.key.len() as u64);
        self.bytes.extend_from_slice(entry.key);
        self.first = self.first.min(entry.expires);
        self.entries += 1;
        self.standing += 1;
    }

    fn entries(&self, slot: i64) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = &self.bytes[self.at..];
        std::iter::from_fn(move || take(slot, &mut rest))
    }

    /// The entry in front, and its length.
    fn front(&self, slot: i64) -> Option<(Entry<'_>, usize)> {
        let mut rest = &self.bytes[self.at..];
        let before = rest.len();
        take(slot, &mut rest).map(|entry| (entry, before - rest.len()))
    }

    /// Drops entries in front that have fallen, `most` at most, and says how many.
    fn drop_front(&mut self, slot: i64, most: usize, stands: &impl Fn(&Entry<'_>) -> bool) -> usize {
        let before = self.entries;
        while self.has_fallen() && before - self.entries < most {
            let Some((_, length)) = self.front(slot).filter(|(entry, _)| !stands(entry)) else { break };
            self.pop(length);
        }
        before - self.entries
    }

    /// Drops the entry in front if it has fallen, and else puts it behind the others. Says how many are dropped.
    fn look_at_front(&mut self, slot: i64, stands: &impl Fn(&Entry<'_>) -> bool) -> usize {
        let Some((entry, length)) = self.front(slot) else { return 0 };
        let stands = stands(&entry);
        if stands {
            self.bytes.extend_from_within(self.at..self.at + length);
            self.entries += 1;
        }
        self.pop(length);
        usize::from(!stands)
    }

    fn pop(&mut self, length: usize) {
        self.at += length;
        self.entries -= 1;
        // Seldom enough that moving the rest costs no more than writing it did.
        if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
            self.bytes.shrink_to(2 * self.bytes.len());
        }
    }
}

/// Takes an entry of a slot from the beginning of some bytes.
fn take<'a>(slot: i64, bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (&within, rest) = bytes.split_first()?;
    let (mark, rest) = rest.split_first_chunk()?;
    let (store, mut rest) = rest.split_first_chunk()?;
    let length = usize::try_from(varint::take(&mut rest)?).ok()?;
    let (key, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    let expires = EventTime((slot << SLOT_SHIFT) | i64::from(within));
    let (store, mark) = (StoreId(u16::from_le_bytes(*store)), u32::from_le_bytes(*mark));
    Some(Entry { store, key, expires, mark })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys with the value they have: when it expires, and its mark.
    #[derive(Default)]
    struct Values {
        calendar: Calendar,
        model: BTreeMap<Vec<u8>, (EventTime, u32)>,
        marks: u32,
    }

    impl Values {
        fn write(&mut self, key: &[u8], expires: Option<i64>) {
            self.marks += 1;
            let (mark, expires) = (self.marks, expires.map(EventTime));
            let old = match expires {
                Some(expires) => self.model.insert(key.to_vec(), (expires, mark)),
                None => self.model.remove(key),
            };
            if let Some(expires) = expires {
                self.calendar.rise(Entry { store: StoreId::MAIN, key, expires, mark });
            }
            if let Some((old, _)) = old {
                self.calendar.fall(old);
            }
        }

        fn stands(model: &BTreeMap<Vec<u8>, (EventTime, u32)>) -> impl Fn(&Entry<'_>) -> bool {
            |entry| model.get(entry.key) == Some(&(entry.expires, entry.mark))
        }

        fn tidy(&mut self) {
            self.calendar.tidy(EventTime(3), Values::stands(&self.model));
        }

        fn due(&self, now: i64, most: usize) -> Vec<(EventTime, Vec<u8>)> {
            let due = self.calendar.due(EventTime(now), most, Values::stands(&self.model));
            due.into_iter().map(|due| (due.expires, due.key.to_vec())).collect()
        }
    }

    proptest! {
        #[test]
        fn what_is_due_is_what_the_values_say(
            steps in prop::collection::vec((0u8..6, prop::option::weighted(0.8, -40i64..40), 0u8..4), 0..200),
        ) {
            let mut values = Values::default();
            for (key, expires, tidy) in steps {
                values.write(&[key], expires);
                if tidy == 0 {
                    values.tidy();
                }
                if tidy == 1 {
                    values.calendar.sweep(3, &Values::stands(&values.model));
                }
                let Values { calendar, model, .. } = &values;
                prop_assert_eq!(calendar.standing, model.len());
                prop_assert_eq!(calendar.entries, calendar.buckets.values().map(|b| b.entries).sum::<usize>());
                let least = model.values().map(|(expires, _)| *expires).min();
                prop_assert!(least.is_none_or(|least| calendar.due_from().is_some_and(|from| from <= least)));
                for now in [-40, -1, 0, 15, 16, 40] {
                    let due = model.iter().map(|(key, (expires, _))| (*expires, key.clone()));
                    let mut due: Vec<_> = due.filter(|(expires, _)| expires.0 <= now).collect();
                    due.sort();
                    prop_assert_eq!(values.due(now, usize::MAX), due.clone());
                    let some = values.due(now, 2);
                    prop_assert_eq!(some.len(), due.len().min(2));
                    prop_assert!(some.iter().all(|one| due.contains(one)));
                }
            }
        }
    }

    /// What is written over again and again must not fill the memory.
    #[test]
    fn no_more_entries_have_fallen_than_stand() {
        const KEYS: u32 = 3000;
        let check = |expires: fn(u32) -> i64| {
            let mut values = Values::default();
            for n in 0..20 * KEYS {
                values.write(&(n.wrapping_mul(2_654_435_761) % KEYS).to_le_bytes(), Some(expires(n)));
                if n % 10 == 0 {
                    values.tidy();
                }
                let Calendar { entries, standing, .. } = values.calendar;
                assert!(entries <= 3 * standing + 2 * FALLEN_SPARE, "{entries} entries, {standing} stand");
            }
            values.calendar.entries
        };
        assert!(check(i64::from) <= 2 * KEYS as usize + FALLEN_SPARE, "each lives as long");
        check(|_| 7);
        check(|n| i64::from(n % 2) << 20);
        check(|n| i64::from(n.wrapping_mul(40_503) % 100_000));
    }

    #[test]
    fn what_was_due_and_is_deleted_is_dropped_from_the_front() {
        let mut values = Values::default();
        let keys: Vec<_> = (0..100u8).map(|n| [n]).collect();
        keys.iter().for_each(|key| values.write(key, Some(3)));
        for key in &keys[..60] {
            values.write(key, None);
        }
        values.tidy();
        let bucket = &values.calendar.buckets[&0];
        assert_eq!((bucket.entries, bucket.standing), (40, 40));
        keys[60..].iter().for_each(|key| values.write(key, None));
        assert!(values.calendar.buckets.is_empty() && values.calendar.entries == 0);
        assert_eq!(values.calendar.due_from(), None);
    }
}
