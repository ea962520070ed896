//! What snapshots keep, and for how long.

use std::ops::Bound;
use std::time::Duration;

use super::{NOW, Open};
use crate::{At, Error, ErrorKind, Limits, Scan, Scanned, StoreId};

/// Overwritten, removed and added keys are as they were, and of other stores' changes nothing shows.
pub fn a_snapshot_keeps_what_it_saw(open: Open) {
    let mut subject = open(Limits::default());
    let long = "long-key-of-more-than-thirty-two-bytes";
    subject.write(&[("a", Some("1")), ("b", Some("2")), (long, Some("3")), ("z", Some("4"))]);
    let all = Scan::all(StoreId::MAIN);
    let snapshot = subject.store.open_snapshot(NOW).expect("within limits");
    subject.write(&[("a", Some("5")), ("b", None), (long, None), ("new", Some("6"))]);
    subject.write(&[("a", None), ("b", Some("7")), ("", Some("8")), ("zz", Some("9")), ("zz", None)]);
    let at = At::Snapshot(&snapshot);
    assert_eq!(subject.shown(at, &all), format!("a=1 b=2 {long}=3 z=4"));
    assert_eq!(subject.shown(at, &all.clone().backward()), format!("z=4 {long}=3 b=2 a=1"));
    let check =
        |key, expected: Option<&str>| assert_eq!(subject.value(at, key).as_deref(), expected, "{key}");
    check("a", Some("1"));
    check("b", Some("2"));
    check(long, Some("3"));
    check("z", Some("4"));
    check("", None);
    check("new", None);
    check("zz", None);
    assert_eq!(subject.shown(at, &Scan::prefix(StoreId::MAIN, b"b")), "b=2");
    assert_eq!(subject.shown(At::Newest, &all), "=8 b=7 new=6 z=4");
    subject.store.close_snapshot(snapshot);
    assert_eq!(subject.shown(At::Newest, &all), "=8 b=7 new=6 z=4");
}

/// One between any two batches.
pub fn snapshots_see_each_their_own(open: Open) {
    let mut subject = open(Limits::default());
    let mut snapshots = Vec::new();
    for round in 0..10u32 {
        let value = round.to_string();
        let even = if round.is_multiple_of(2) { Some(value.as_str()) } else { None };
        subject.write(&[("every", Some(&value)), ("even", even), (&value, Some("x"))]);
        snapshots.push(subject.store.open_snapshot(NOW).expect("within limits"));
    }
    for (round, snapshot) in snapshots.iter().enumerate() {
        let at = At::Snapshot(snapshot);
        assert_eq!(subject.value(at, "every"), Some(round.to_string()));
        assert_eq!(subject.value(at, "even"), round.is_multiple_of(2).then(|| round.to_string()));
        let shown = subject.shown(at, &Scan::all(StoreId::MAIN));
        assert_eq!(shown.matches("=x").count(), round + 1, "{shown}");
    }
}

/// A scan takes many turns of the owner, who writes between them.
pub fn a_scan_over_a_snapshot_is_stable_while_writes_go_on(open: Open) {
    let mut subject = open(Limits::default());
    let keys: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
    let changes: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (key.as_str(), Some("old"))).collect();
    subject.write(&changes);
    let all = Scan::all(StoreId::MAIN);
    for whole in [all.clone(), all.backward()] {
        let snapshot = subject.store.open_snapshot(NOW).expect("within limits");
        let expected = subject.shown(At::Snapshot(&snapshot), &whole);
        let mut words: Vec<String> = Vec::new();
        let mut rest = whole.limit(7);
        for round in 0.. {
            let (piece, scanned) = subject.piece(At::Snapshot(&snapshot), &rest);
            words.extend(piece.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
            let Scanned::Until(last) = scanned else { break };
            rest = rest.behind(last);
            let value = format!("new{round}");
            let changes: Vec<(&str, Option<&str>)> = (keys.iter().enumerate())
                .map(|(i, key)| (key.as_str(), Some(value.as_str()).filter(|_| i % 3 != round % 3)))
                .collect();
            subject.write(&changes);
        }
        assert_eq!(words.join(" "), expected);
        subject.store.close_snapshot(snapshot);
    }
}

/// The limit refuses, and closing one makes room.
pub fn one_snapshot_too_many_is_refused(open: Open) {
    let mut subject = open(Limits { snapshots_max: 2, ..Limits::default() });
    let first = subject.store.open_snapshot(NOW).expect("within limits");
    let _second = subject.store.open_snapshot(NOW).expect("within limits");
    let error = subject.store.open_snapshot(NOW).expect_err("a third");
    assert!(matches!(error, Error::TooManySnapshots { max: 2 }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(subject.store.status().snapshots, 2);
    subject.store.close_snapshot(first);
    subject.store.open_snapshot(NOW).map(|_| ()).expect("there is room again");
}

/// Age closes, whether the owner asks for it or opens another one; reading then is an error and no other answer.
pub fn a_snapshot_that_is_too_old_is_closed(open: Open) {
    let age = Duration::from_secs(10);
    let mut subject = open(Limits { snapshot_age_max: age, snapshots_max: 2, ..Limits::default() });
    subject.write(&[("a", Some("1"))]);
    let old = subject.store.open_snapshot(NOW).expect("within limits");
    let young = subject.store.open_snapshot(NOW + age).expect("within limits");
    assert_eq!(subject.store.close_aged(NOW + age), 0);
    assert_eq!(subject.value(At::Snapshot(&old), "a").as_deref(), Some("1"));
    let later = NOW + age + Duration::from_millis(1);
    let third = subject.store.open_snapshot(later).expect("the old one made room");
    subject.write(&[("a", Some("2"))]);
    let at = At::Snapshot(&old);
    // Also where no store could hold anything.
    for key in [&b"a"[..], &[0; 100_000]] {
        let error = subject.store.get_at(at, StoreId::MAIN, key).expect_err("expired");
        assert!(matches!(error, Error::SnapshotExpired), "{error}");
    }
    let mut visit = |_: &[u8], _: crate::Value<'_>| unreachable!("nothing is shown of an expired snapshot");
    let void = Scan::range(StoreId::MAIN, Bound::Excluded(b"a"), Bound::Excluded(b"a"));
    for scan in [Scan::all(StoreId::MAIN), void] {
        let error = subject.store.scan(at, &scan, &mut visit).expect_err("expired");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(subject.value(At::Snapshot(&young), "a").as_deref(), Some("1"));
    subject.store.close_snapshot(old);
    assert_eq!(subject.store.close_aged(later + age), 1);
    assert_eq!(subject.value(At::Snapshot(&third), "a").as_deref(), Some("1"));
}

/// In any order of closing.
pub fn closing_one_snapshot_leaves_the_others(open: Open) {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut subject = open(Limits::default());
        let mut snapshots = Vec::new();
        for value in ["0", "1", "2", "3"] {
            subject.write(&[("a", Some(value))]);
            snapshots.push(Some(subject.store.open_snapshot(NOW).expect("within limits")));
        }
        subject.write(&[("a", None)]);
        for closed in order {
            subject.store.close_snapshot(snapshots[closed].take().expect("closed once"));
            for (value, snapshot) in snapshots.iter().enumerate() {
                let Some(snapshot) = snapshot else { continue };
                assert_eq!(subject.value(At::Snapshot(snapshot), "a"), Some(value.to_string()));
            }
        }
        assert_eq!(subject.store.status().snapshots, 1);
    }
}
