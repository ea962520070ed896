//! What batches do, and what refused ones do not.

use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};
use bytes::Bytes;

use super::{Open, Subject, TOPIC, checkpoint, plain};
use crate::{At, Batch, Checkpoint, Error, ErrorKind, Limits, RequestEntry, Scan, StoreId, Value};

/// In the order of the log, within a batch too.
pub fn the_last_change_of_a_batch_wins(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[
        ("a", Some("1")),
        ("a", Some("2")),
        ("b", Some("1")),
        ("b", None),
        ("c", None),
        ("c", Some("3")),
    ]);
    assert_eq!(subject.shown(At::Newest, &Scan::all(StoreId::MAIN)), "a=2 c=3");
}

/// Removing is no value, and what was never there can be removed.
pub fn a_removed_key_is_gone(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[("a", Some("1")), ("b", Some("2"))]);
    subject.write(&[("a", None), ("never", None)]);
    assert_eq!(subject.value(At::Newest, "a"), None);
    assert_eq!(subject.shown(At::Newest, &Scan::all(StoreId::MAIN)), "b=2");
    subject.write(&[("a", Some("3"))]);
    assert_eq!(subject.value(At::Newest, "a").as_deref(), Some("3"));
}

/// Every batch does, an empty one too; an empty store begins anywhere.
pub fn a_batch_moves_the_checkpoint(open: Open) {
    let mut subject = open(Limits::default());
    let first = Checkpoint {
        attachment: Bytes::from_static(b"positions"),
        ..Checkpoint::new(TOPIC, Offset(45), Epoch(3), EventTime(-5))
    };
    subject.store.apply(&Batch::new(Offset(40), first.clone())).expect("an empty store begins anywhere");
    assert_eq!(subject.store.checkpoint(), Some(&first));
    let touched = Checkpoint::new(TOPIC, Offset(45), Epoch(4), EventTime(9));
    subject.store.apply(&Batch::new(Offset(45), touched.clone())).expect("follows");
    assert_eq!(subject.store.checkpoint(), Some(&touched));
}

/// Added with the batch, forgotten from the oldest on, whole when asked for.
pub fn the_window_of_requests_grows_and_is_evicted(open: Open) {
    let mut subject = open(Limits::default());
    let mut step = |add: &[u64], evict_below: u64, expected: &[u64]| {
        let mut batch = subject.batch(10);
        add.iter().for_each(|&offset| batch.remember(request(offset)));
        batch.forget_requests_before(Offset(evict_below));
        subject.store.apply(&batch).expect("follows");
        let expected: Vec<RequestEntry> = expected.iter().map(|&offset| request(offset)).collect();
        assert_eq!(subject.store.requests().expect("readable"), expected);
    };
    step(&[0, 5, 9], 0, &[0, 5, 9]);
    step(&[10, 11], 5, &[5, 9, 10, 11]);
    step(&[], 0, &[5, 9, 10, 11]);
    step(&[30, 35], 35, &[35]);
    step(&[], 1000, &[]);
    step(&[59], 0, &[59]);
}

fn request(offset: u64) -> RequestEntry {
    RequestEntry { offset: Offset(offset), bytes: Bytes::from(format!("request {offset}")) }
}

/// A gap, an overlap, another topic, an older epoch.
pub fn a_batch_that_does_not_follow_changes_nothing(open: Open) {
    let mut subject = open(Limits::default());
    let begin = Checkpoint::new(TOPIC, Offset(10), Epoch(5), EventTime(1));
    subject.store.apply(&Batch::new(Offset(0), begin)).expect("an empty store begins anywhere");
    let at = |topic, epoch| Checkpoint::new(TopicId(topic), Offset(12), Epoch(epoch), EventTime(1));
    refuse(&mut subject, ErrorKind::Conflict, Batch::new(Offset(11), at(TOPIC.0, 5)));
    refuse(&mut subject, ErrorKind::Conflict, Batch::new(Offset(9), at(TOPIC.0, 5)));
    refuse(&mut subject, ErrorKind::Invalid, Batch::new(Offset(10), at(TOPIC.0 + 1, 5)));
    refuse(&mut subject, ErrorKind::Invalid, Batch::new(Offset(10), at(TOPIC.0, 4)));
    let error = subject.store.apply(&Batch::new(Offset(11), at(TOPIC.0, 5))).expect_err("a gap");
    assert!(matches!(error, Error::NotContiguous { next: Offset(10), from: Offset(11) }), "{error}");
}

/// A limit met by one change refuses the whole batch; at the limit all is well.
pub fn a_batch_that_breaks_a_limit_changes_nothing(open: Open) {
    let limits =
        Limits { key_max_bytes: 4, value_max_bytes: 6, attachment_max_bytes: 3, ..Limits::default() };
    let mut subject = open(limits);
    subject.write(&[("1234", Some("123456"))]);
    let mut check = |spoil: &dyn Fn(&mut Batch<'_>)| {
        let mut batch = subject.batch(1);
        batch.put(StoreId::MAIN, b"good", plain("new"));
        spoil(&mut batch);
        refuse(&mut subject, ErrorKind::Invalid, batch);
    };
    check(&|batch| batch.put(StoreId::MAIN, b"12345", plain("v")));
    check(&|batch| batch.remove(StoreId::MAIN, b"12345"));
    check(&|batch| batch.put(StoreId::MAIN, b"k", plain("1234567")));
    check(&|batch| batch.put(StoreId(u16::MAX), b"k", plain("v")));
    check(&|batch| {
        batch.put(StoreId::MAIN, b"k", Value::new(b"v", Version::new(Epoch(1 << 63), Sequence(0))));
    });
    check(&|batch| batch.remember(RequestEntry { offset: Offset(1), bytes: Bytes::from_static(b"1234567") }));
    check(&|batch| batch.checkpoint.attachment = Bytes::from_static(b"1234"));
}

/// Ends that lie before beginnings, requests that lie outside.
pub fn a_batch_that_contradicts_itself_changes_nothing(open: Open) {
    let mut subject = open(Limits::default());
    subject.write(&[("a", Some("1")), ("b", Some("2"))]);
    let backwards = Batch::new(Offset(2), checkpoint(Offset(1)));
    refuse(&mut subject, ErrorKind::Invalid, backwards);
    for offsets in [&[1][..], &[4], &[3, 2], &[3, 3]] {
        let mut batch = subject.batch(2);
        offsets.iter().for_each(|&offset| batch.remember(request(offset)));
        refuse(&mut subject, ErrorKind::Invalid, batch);
    }
}

/// Sees that `batch` is refused as `kind` and that nothing of it is there.
fn refuse(subject: &mut Subject, kind: ErrorKind, mut batch: Batch<'_>) {
    let before = (subject.store.checkpoint().cloned(), subject.shown(At::Newest, &Scan::all(StoreId::MAIN)));
    batch.put(StoreId::MAIN, b"ref", plain("used"));
    batch.forget_requests_before(Offset(u64::MAX));
    let error = subject.store.apply(&batch).expect_err("to be refused");
    assert_eq!(error.kind(), kind, "{error}");
    let after = (subject.store.checkpoint().cloned(), subject.shown(At::Newest, &Scan::all(StoreId::MAIN)));
    assert_eq!(after, before);
}
