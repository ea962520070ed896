//! What is due, and when.

use affinity_types::EventTime;

use super::{NOW, Open, Subject, plain};
use crate::{At, Limits, StoreId};

/// Key and time of a write to a store; without a time the value does not expire, without a value the key is removed.
type Write<'a> = (StoreId, &'a str, Option<Option<i64>>);

const ONE: StoreId = StoreId(1);

impl Subject {
    fn write_expiring(&mut self, writes: &[Write<'_>]) {
        let mut batch = self.batch(writes.len() as u64);
        for (store, key, value) in writes {
            match value {
                Some(at) => batch.put(*store, key.as_bytes(), plain("v").expiring(at.map(EventTime))),
                None => batch.remove(*store, key.as_bytes()),
            }
        }
        self.store.apply(&batch).expect("a batch that follows");
    }

    /// What is due, as `store key time` words in the order of times.
    fn due(&self, now: i64) -> String {
        let mut due = self.store.due(EventTime(now), usize::MAX).expect("readable");
        due.sort_by(|a, b| (a.expires, a.store, &a.key).cmp(&(b.expires, b.store, &b.key)));
        let word =
            |due: &crate::Expiring| format!("{} {} {}", due.store, due.key.escape_ascii(), due.expires.0);
        due.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// Sees that the first time is no later than `first`, and that there is none without one.
    fn due_from(&self, first: Option<i64>) {
        let from = self.store.due_from();
        assert_eq!(from.is_some(), first.is_some());
        assert!(from <= first.map(EventTime), "{from:?} is later than {first:?}");
    }
}

/// By the newest value, in whatever store; with a snapshot open as without one.
pub fn what_has_expired_is_due_until_it_is_changed(open: Open) {
    let mut subject = open(Limits::default());
    subject.due_from(None);
    subject.write_expiring(&[(StoreId::MAIN, "a", Some(Some(100))), (ONE, "a", Some(Some(-5)))]);
    subject.write_expiring(&[(ONE, "b", Some(Some(100))), (ONE, "c", Some(None))]);
    subject.due_from(Some(-5));
    assert_eq!(subject.due(-6), "");
    assert_eq!(subject.due(99), "1 a -5");
    assert_eq!(subject.due(99), "1 a -5", "to ask changes nothing");
    assert_eq!(subject.due(100), "1 a -5, 0 a 100, 1 b 100");
    let snapshot = subject.store.open_snapshot(NOW).expect("none is open");
    // Later, sooner, not at all, again, twice in a batch, the same again.
    subject.write_expiring(&[(ONE, "a", Some(Some(2000))), (StoreId::MAIN, "a", Some(Some(7)))]);
    subject.write_expiring(&[(ONE, "b", Some(None)), (ONE, "c", Some(Some(8)))]);
    subject.write_expiring(&[(ONE, "d", Some(Some(1))), (ONE, "d", Some(Some(9)))]);
    subject.write_expiring(&[(ONE, "d", Some(Some(9)))]);
    subject.due_from(Some(7));
    assert_eq!(subject.due(1000), "0 a 7, 1 c 8, 1 d 9");
    subject.write_expiring(&[(ONE, "c", None), (ONE, "d", None), (ONE, "never", None)]);
    assert_eq!(subject.due(1000), "0 a 7");
    let seen = subject.store.get_at(At::Snapshot(&snapshot), ONE, b"a").expect("readable");
    assert_eq!(seen.and_then(|value| value.expires()), Some(EventTime(-5)));
    subject.store.close_snapshot(snapshot);
    subject.write_expiring(&[(StoreId::MAIN, "a", None), (ONE, "a", None)]);
    subject.due_from(None);
    assert_eq!(subject.due(i64::MAX), "");
}

/// It expires with what it is derived from.
pub fn what_is_derived_is_never_due(open: Open) {
    let mut subject = open(Limits::default());
    subject.write_expiring(&[(StoreId::DERIVED, "a", Some(Some(1))), (StoreId::LAST, "a", Some(Some(1)))]);
    subject.due_from(None);
    assert_eq!(subject.due(i64::MAX), "");
    subject.write_expiring(&[(StoreId::DERIVED, "a", Some(None)), (StoreId::LAST, "a", None)]);
    subject.due_from(None);
}

/// Each once if those that were told before are removed, and the first ones first, though not to the millisecond.
pub fn of_many_that_are_due_some_come_at_a_time(open: Open) {
    let mut subject = open(Limits::default());
    let keys: Vec<String> = (0..1000).map(|n| format!("key {n:03}")).collect();
    for round in 0..3 {
        let writes =
            keys.iter().zip(0i64..).map(|(key, n)| (ONE, &key[..], Some(Some(n * 37 % 1000 + round))));
        subject.write_expiring(&writes.collect::<Vec<_>>());
    }
    let (mut told, mut latest) = (0, 0);
    loop {
        let due = subject.store.due(EventTime(901), 70).expect("readable");
        let first = due.iter().map(|due| due.expires.0).min().unwrap_or(latest);
        assert!(first + 100 >= latest, "{first} comes after {latest}");
        latest = due.iter().map(|due| due.expires.0).max().unwrap_or(latest);
        told += due.len();
        let mut batch = subject.batch(1);
        due.iter().for_each(|due| batch.remove(due.store, &due.key));
        subject.store.apply(&batch).expect("a batch that follows");
        if due.len() < 70 {
            break;
        }
    }
    assert_eq!(told, 900, "those from 2 to 901");
    assert_eq!(subject.due(901), "");
    assert_eq!(subject.due(1001).split(", ").count(), 100);
}
