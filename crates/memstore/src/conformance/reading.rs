//! What reads and scans of the newest show.

use std::ops::{Bound, ControlFlow};

use affinity_types::{Epoch, EventTime, Sequence, Version};

use super::{Open, plain, text};
use crate::{At, Limits, Scan, Scanned, StoreId, Value};

/// Nothing is in an empty store, and it stands nowhere.
pub fn an_empty_store_has_nothing(open: Open) {
    let subject = open(Limits::default());
    assert_eq!(subject.store.checkpoint(), None);
    assert_eq!(subject.store.requests().expect("readable"), []);
    assert_eq!(subject.value(At::Newest, "a"), None);
    assert_eq!(subject.shown(At::Newest, &Scan::all(StoreId::MAIN)), "");
}

/// Version and expiry belong to the value, and a value in the past is a value: time is the owner's business.
pub fn a_value_comes_back_with_its_version_and_expiry(open: Open) {
    let mut subject = open(Limits::default());
    let versions = [(0, 0), (0, u64::MAX), (1, 1), (1 << 40, 1 << 50), (u64::MAX >> 1, 3)];
    let expiries = [None, Some(EventTime(0)), Some(EventTime(-1)), Some(EventTime(i64::MAX))];
    for (epoch, sequence) in versions {
        for expires in expiries {
            let version = Version::new(Epoch(epoch), Sequence(sequence));
            for bytes in [&b""[..], b"v", &[0xff; 1000]] {
                let value = Value::new(bytes, version).expiring(expires);
                let mut batch = subject.batch(1);
                batch.put(StoreId::MAIN, b"k", value.clone());
                subject.store.apply(&batch).expect("a batch that follows");
                let read = subject.store.get(StoreId::MAIN, b"k").expect("readable").expect("written");
                assert_eq!(read, value);
                assert_eq!(read.into_bytes(), bytes);
                let mut visit = |_: &[u8], shown: Value<'_>| {
                    assert_eq!(shown, value);
                    ControlFlow::Continue(())
                };
                subject.store.scan(At::Newest, &Scan::all(StoreId::MAIN), &mut visit).expect("readable");
            }
        }
    }
}

/// Order is that of bytes, whatever their length; the empty key is a key.
pub fn keys_of_any_length_are_ordered_as_bytes(open: Open) {
    let mut subject = open(Limits::default());
    let mut keys: Vec<Vec<u8>> = (0..70).map(|length| vec![0; length]).collect();
    keys.extend((1..70).map(|length| vec![0xff; length]));
    keys.extend((0..30).map(|length| [vec![b'k'; 21], vec![0; length], vec![1]].concat()));
    keys.push(vec![1; Limits::default().key_max_bytes]);
    let mut batch = subject.batch(1);
    for key in keys.iter().rev() {
        batch.put(StoreId::MAIN, key, plain("v"));
    }
    subject.store.apply(&batch).expect("a batch that follows");
    keys.sort();
    let mut shown = Vec::new();
    let mut visit = |key: &[u8], _: Value<'_>| {
        shown.push(key.to_vec());
        ControlFlow::Continue(())
    };
    subject.store.scan(At::Newest, &Scan::all(StoreId::MAIN), &mut visit).expect("readable");
    assert!(shown == keys, "{} keys shown of {}, or in another order", shown.len(), keys.len());
    for key in &keys {
        let value = subject.store.get(StoreId::MAIN, key).expect("readable");
        assert!(value.is_some(), "{}", text(key));
    }
}

/// The same key in two stores is two keys, and a scan stays in its store.
pub fn stores_are_apart(open: Open) {
    let mut subject = open(Limits::default());
    let stores = [StoreId::MAIN, StoreId(1), StoreId(0xff), StoreId(0x100), StoreId::LAST];
    let values: Vec<String> = stores.iter().map(|store| format!("of{store}")).collect();
    let mut batch = subject.batch(2);
    for (store, value) in stores.iter().zip(&values) {
        batch.put(*store, b"k", plain(value));
        batch.put(*store, b"\xff\xff", plain(value));
    }
    batch.remove(StoreId(2), b"k");
    subject.store.apply(&batch).expect("a batch that follows");
    for (store, value) in stores.iter().zip(&values) {
        let read = subject.store.get(*store, b"k").expect("readable").expect("written");
        assert_eq!(text(read.bytes()), *value);
        let expected = format!("k={value} \\xff\\xff={value}");
        assert_eq!(subject.shown(At::Newest, &Scan::all(*store)), expected);
        assert_eq!(subject.shown(At::Newest, &Scan::prefix(*store, b"k")), format!("k={value}"));
    }
    assert_eq!(subject.shown(At::Newest, &Scan::all(StoreId(2))), "");
}

/// Both bounds, of each kind, both ways; nothing lies between bounds that are the wrong way round.
pub fn a_scan_shows_what_lies_between_its_bounds(open: Open) {
    use Bound::{Excluded, Included, Unbounded};
    let mut subject = open(Limits::default());
    subject.write(&[("b", Some("2")), ("d", Some("4")), ("a", Some("1")), ("c", Some("3"))]);
    let check = |from: Bound<&str>, to: Bound<&str>, expected: &str| {
        let scan = Scan::range(StoreId::MAIN, from.map(str::as_bytes), to.map(str::as_bytes));
        assert_eq!(subject.shown(At::Newest, &scan), expected, "{scan:?}");
        let backward: Vec<&str> = expected.split(' ').rev().collect();
        assert_eq!(subject.shown(At::Newest, &scan.backward()), backward.join(" "));
    };
    check(Unbounded, Unbounded, "a=1 b=2 c=3 d=4");
    check(Included("b"), Unbounded, "b=2 c=3 d=4");
    check(Excluded("b"), Unbounded, "c=3 d=4");
    check(Unbounded, Included("c"), "a=1 b=2 c=3");
    check(Unbounded, Excluded("c"), "a=1 b=2");
    check(Included("b"), Included("c"), "b=2 c=3");
    check(Excluded("a"), Excluded("d"), "b=2 c=3");
    check(Included("aa"), Included("bb"), "b=2");
    check(Included("b"), Included("b"), "b=2");
    check(Included("b"), Excluded("b"), "");
    check(Excluded("b"), Included("b"), "");
    check(Excluded("b"), Excluded("b"), "");
    check(Included("c"), Included("b"), "");
    check(Excluded("c"), Excluded("a"), "");
    check(Included("e"), Unbounded, "");
}

/// Keys longer than any that can be there may be asked for, and may bound a scan.
pub fn keys_that_cannot_be_there_are_not(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[("a", Some("1")), ("b", Some("2"))]);
    for length in [33 << 10, 61 << 10, 65_535, 1 << 20] {
        let long = [b"a", vec![0; length].as_slice()].concat();
        assert_eq!(subject.store.get(StoreId::MAIN, &long).expect("readable"), None);
        for bound in [Bound::Included(&long[..]), Bound::Excluded(&long[..])] {
            let behind = Scan::range(StoreId::MAIN, bound, Bound::Unbounded);
            assert_eq!(subject.shown(At::Newest, &behind), "b=2");
            let before = Scan::range(StoreId::MAIN, Bound::Unbounded, bound);
            assert_eq!(subject.shown(At::Newest, &before), "a=1");
        }
    }
}

/// All keys that begin with the prefix and no others, also where no byte follows the prefix.
pub fn a_prefix_scan_shows_what_begins_with_it(open: Open) {
    let mut subject = open(Limits::default());
    let keys: [&[u8]; 6] = [b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xffz"];
    let mut batch = subject.batch(1);
    for key in keys {
        batch.put(StoreId::MAIN, key, plain("v"));
    }
    subject.store.apply(&batch).expect("a batch that follows");
    let check = |prefix: &[u8], expected: &str| {
        assert_eq!(subject.shown(At::Newest, &Scan::prefix(StoreId::MAIN, prefix)), expected);
    };
    check(b"", r"a=v a\xff=v a\xff\xff=v b=v \xff=v \xff\xffz=v");
    check(b"a", r"a=v a\xff=v a\xff\xff=v");
    check(b"a\xff", r"a\xff=v a\xff\xff=v");
    check(b"\xff", r"\xff=v \xff\xffz=v");
    check(b"\xff\xff", r"\xff\xffz=v");
    check(b"c", "");
}

/// Pieces of any size, joined, are the whole.
pub fn a_scan_in_pieces_shows_what_a_whole_one_does(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[("", Some("0")), ("a", Some("1")), ("b", Some("2")), ("c", Some("3")), ("d", Some("4"))]);
    let all = Scan::all(StoreId::MAIN);
    for whole in [all.clone(), all.backward()] {
        let expected = subject.shown(At::Newest, &whole);
        for limit in 1..7 {
            let mut words = Vec::new();
            let mut rest = whole.clone().limit(limit);
            loop {
                let (piece, scanned) = subject.piece(At::Newest, &rest);
                words.extend(piece.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
                let Scanned::Until(last) = scanned else { break };
                rest = rest.behind(last);
            }
            assert_eq!(words.join(" "), expected, "in pieces of {limit}");
        }
    }
}

/// The visitor's word ends the scan after the entry it was shown.
pub fn a_visitor_ends_a_scan(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]);
    let mut seen = 0;
    let mut visit = |_: &[u8], _: Value<'_>| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let scanned = subject.store.scan(At::Newest, &Scan::all(StoreId::MAIN), &mut visit);
    assert_eq!(scanned.expect("readable"), Scanned::Until(b"b".to_vec()));
}
