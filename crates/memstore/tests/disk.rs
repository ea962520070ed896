//! Which store on disk is resumed, which is set aside, and what a crash leaves.
#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use affinity_memstore::{Batch, Checkpoint, Disk, DiskSettings, Error, ErrorKind, Facts, Limits, MemStore};
use affinity_memstore::{Opened, Reason, RequestEntry, StoreId, Value, Verdict};
use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};
use bytes::Bytes;

const TOPIC: TopicId = TopicId(7);

const FACTS: Facts = Facts {
    topic: TOPIC,
    start: Offset(0),
    end: Offset(1 << 40),
    now: EventTime(0),
    delete_retention: Some(Duration::from_secs(60)),
};

const VERSION: Version = Version::new(Epoch(1), Sequence(1));

fn disk(path: &Path) -> Disk {
    let (disk, aside) = Disk::open(path, DiskSettings::default()).expect("a usable folder");
    assert_eq!(aside, None, "nothing is set aside");
    disk
}

fn open(disk: &Disk, facts: &Facts) -> Opened {
    disk.open_store("p.0", Limits::default(), facts).expect("a usable database")
}

/// Writes one key, which says what the offset is, and moves on by one.
fn write(store: &mut impl MemStore, topic: TopicId) {
    let next = store.checkpoint().map_or(Offset(0), |c| c.next);
    let value = next.to_string();
    let mut batch = Batch::new(next, Checkpoint::new(topic, next.advance(1), Epoch(1), EventTime(0)));
    batch.put(StoreId::MAIN, b"k", Value::new(value.as_bytes(), VERSION));
    batch.remember(RequestEntry { offset: next, bytes: Bytes::copy_from_slice(value.as_bytes()) });
    store.apply(&batch).expect("a batch that follows");
}

#[test]
fn a_store_goes_on_where_it_was_closed() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    {
        let disk = disk(dir.path());
        let mut opened = open(&disk, &FACTS);
        assert_eq!((&opened.verdict, opened.store.checkpoint()), (&Verdict::Begin, None));
        write(&mut opened.store, TOPIC);
        write(&mut opened.store, TOPIC);
    }
    let disk = disk(dir.path());
    let mut opened = open(&disk, &FACTS);
    assert_eq!(opened.verdict, Verdict::Resume);
    let offsets: Vec<u64> = opened.requests.iter().map(|r| r.offset.0).collect();
    assert_eq!(offsets, [0, 1]);
    assert_eq!(opened.store.get(StoreId::MAIN, b"k").unwrap().unwrap().bytes(), b"1");
    write(&mut opened.store, TOPIC);
    assert_eq!(opened.store.checkpoint().map(|c| c.next), Some(Offset(3)));
}

#[test]
fn a_store_that_cannot_be_used_is_set_aside_and_says_why() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let disk = disk(dir.path());
    let mut generation = open(&disk, &FACTS);
    let later = EventTime(60_001);
    let cases = [
        (Facts { topic: TopicId(8), ..FACTS }, "it is of topic 00000000000000000000000000000007, not of"),
        (Facts { end: Offset(0), ..FACTS }, "it stands at 1, the log ends at 0"),
        (Facts { start: Offset(2), ..FACTS }, "it stands at 1, the log begins at 2"),
        (Facts { now: later, ..FACTS }, "it is 60 s old, the log remembers deletions for 60 s"),
    ];
    for (facts, why) in cases {
        write(&mut generation.store, TOPIC);
        drop(generation);
        generation = open(&disk, &facts);
        let Verdict::Rebuild(reason) = &generation.verdict else { panic!("{:?}", generation.verdict) };
        assert!(reason.to_string().starts_with(why), "{reason}");
        assert_eq!(generation.store.checkpoint(), None);
        assert_eq!(generation.requests, []);
        assert_eq!(generation.store.get(StoreId::MAIN, b"k").unwrap(), None);
        drop(generation);
        generation = open(&disk, &FACTS);
        assert_eq!(generation.verdict, Verdict::Begin, "an empty store is not set aside");
    }
}

#[test]
fn what_is_set_aside_is_bounded() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let database = dir.path().join("db");
    let trees = || fs::read_dir(database.join("keyspaces")).unwrap().count();
    let disk = disk(&database);
    let mut counts = Vec::new();
    for _ in 0..5 {
        let mut opened = open(&disk, &FACTS);
        write(&mut opened.store, TOPIC);
        drop(opened);
        disk.set_aside("p.0").expect("a usable database");
        counts.push(trees());
    }
    assert_eq!(counts[1..], [counts[1]; 4], "folders after each time");
}

#[test]
fn a_damaged_store_is_set_aside() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let spoil = |key: &[u8], value: &[u8]| {
        let db = fjall::Database::builder(dir.path()).open().unwrap();
        let name = db.list_keyspace_names().into_iter().max().unwrap();
        let tree = db.keyspace(&name, fjall::KeyspaceCreateOptions::default).unwrap();
        tree.insert(key, value).unwrap();
        if value.is_empty() {
            tree.remove(key).unwrap();
        }
    };
    let check = |key: &[u8], value: &[u8], expected: Reason| {
        write(&mut open(&disk(dir.path()), &FACTS).store, TOPIC);
        spoil(key, value);
        assert_eq!(open(&disk(dir.path()), &FACTS).verdict, Verdict::Rebuild(expected));
    };
    check(b"\xff\xff\x00", b"\x01too short", Reason::Damaged);
    check(b"\xff\xff\x00", b"\x02from the future", Reason::Format(2));
    check(b"\xff\xff\x00", b"", Reason::NoCheckpoint);
    check(b"\xff\xff\x01no offset", b"v", Reason::Damaged);
}

#[test]
fn a_record_that_is_damaged_is_an_error_of_its_reader() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    write(&mut open(&disk(dir.path()), &FACTS).store, TOPIC);
    {
        let db = fjall::Database::builder(dir.path()).open().unwrap();
        let tree = db.keyspace("p.0.0", fjall::KeyspaceCreateOptions::default).unwrap();
        tree.insert(b"\0\0k", b"\x80").unwrap();
    }
    let disk = disk(dir.path());
    let opened = open(&disk, &FACTS);
    let error = opened.store.get(StoreId::MAIN, b"k").expect_err("half a number");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_damaged_database_is_set_aside_and_replaced() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("db");
    for round in 1..4 {
        write(&mut open(&disk(&path), &FACTS).store, TOPIC);
        fs::write(path.join("keyspaces/0/current"), b"rubbish").expect("a file of the database");
        let (disk, aside) = Disk::open(&path, DiskSettings::default()).expect("an empty one in its place");
        assert_eq!(aside, Some(dir.path().join(format!("db.set-aside-{round}"))));
        assert_eq!(open(&disk, &FACTS).verdict, Verdict::Begin);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "one is kept");
    }
}

#[test]
fn a_database_in_use_is_not_set_aside() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("db");
    let _disk = disk(&path);
    let error = Disk::open(&path, DiskSettings::default()).expect_err("somebody has it");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_store_has_one_owner() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let disk = disk(dir.path());
    let opened = open(&disk, &FACTS);
    let error = disk.open_store("p.0", Limits::default(), &FACTS).expect_err("open already");
    assert!(matches!(&error, Error::AlreadyOpen(name) if name == "p.0"), "{error}");
    drop(opened);
    drop(open(&disk, &FACTS));
    for name in ["", &"x".repeat(201)] {
        let error = disk.open_store(name, Limits::default(), &FACTS).expect_err("not a name");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

/// Keys that every batch of the crash tests writes, in several stores.
const STORES: [StoreId; 3] = [StoreId::MAIN, StoreId(1), StoreId::LAST];
const KEYS: u64 = 20;

/// Where a process that writes until it is killed finds its folder.
const CRASH_DIR: &str = "MEMSTORE_CRASH_DIR";

/// Small, so that flushes and compactions are under way when the process dies.
fn crash_settings() -> DiskSettings {
    DiskSettings { memtable_max_bytes: 64 << 10, ..DiskSettings::default() }
}

/// Batch `n`, which gives every key the value `n` and removes or puts back a key of its own each time.
fn crash_batch(store: &mut impl MemStore, n: u64) {
    let keys: Vec<[u8; 8]> = (0..KEYS).map(u64::to_be_bytes).collect();
    let value = [n.to_be_bytes(); 8].concat();
    let mut batch = Batch::new(Offset(n), Checkpoint::new(TOPIC, Offset(n + 1), Epoch(1), EventTime(0)));
    for store in STORES {
        for key in &keys {
            batch.put(store, key, Value::new(&value, Version::new(Epoch(1), Sequence(n))));
        }
        if n.is_multiple_of(2) {
            batch.put(store, b"even", Value::new(&value, VERSION));
        } else {
            batch.remove(store, b"even");
        }
    }
    batch.remember(RequestEntry { offset: Offset(n), bytes: Bytes::copy_from_slice(&n.to_be_bytes()) });
    batch.forget_requests_before(Offset(n.saturating_sub(9)));
    store.apply(&batch).expect("a batch that follows");
}

/// Sees that checkpoint, data and window are of the same batch, and says which batch comes next.
fn check_agreement(opened: &Opened) -> u64 {
    let Some(next) = opened.store.checkpoint().map(|c| c.next.0) else {
        assert_eq!(opened.verdict, Verdict::Begin);
        return 0;
    };
    let newest = next - 1;
    for store in STORES {
        for key in (0..KEYS).map(u64::to_be_bytes) {
            let value = opened.store.get(store, &key).unwrap().expect("written by every batch");
            assert_eq!(value.version().sequence, Sequence(newest), "store {store}");
            assert_eq!(value.bytes()[..8], newest.to_be_bytes());
        }
        let even = opened.store.get(store, b"even").unwrap();
        assert_eq!(even.is_some(), newest.is_multiple_of(2), "store {store} after batch {newest}");
    }
    let window: Vec<u64> = opened.requests.iter().map(|r| r.offset.0).collect();
    assert_eq!(window, (newest.saturating_sub(9)..next).collect::<Vec<_>>());
    next
}

/// Runs in the process that is to be killed.
fn write_until_killed(dir: &Path) {
    let (disk, _) = Disk::open(dir, crash_settings()).expect("what the process before left is whole");
    let mut opened = open(&disk, &FACTS);
    for n in check_agreement(&opened).. {
        crash_batch(&mut opened.store, n);
        println!("batch {n}");
    }
}

#[test]
fn data_and_checkpoint_agree_after_the_writer_was_killed() {
    if let Some(dir) = std::env::var_os(CRASH_DIR) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a folder for the test");
    let mut reached = 0;
    for lines in [1, 50, 333, 1500, 700] {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "data_and_checkpoint_agree_after_the_writer_was_killed", "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test starts once more");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let said = output.lines().map_while(Result::ok).filter(|line| line.contains("batch "));
        assert_eq!(said.take(lines).count(), lines, "the child writes until it is killed");
        child.kill().expect("SIGKILL");
        child.wait().expect("dead");
        let (disk, aside) = Disk::open(dir.path(), crash_settings()).expect("a usable folder");
        assert_eq!(aside, None, "a crash is no damage");
        let next = check_agreement(&open(&disk, &FACTS));
        assert!(next >= reached + lines as u64, "{next} batches: what was applied is there after a kill");
        reached = next;
    }
}

/// A machine that loses power keeps what it synced: of the journal, which nobody syncs, some beginning.
#[test]
fn data_and_checkpoint_agree_after_the_end_of_the_journal_was_lost() {
    let mut found = agreements_of_cut_journals(&DiskSettings::default());
    found.dedup();
    assert!(found.len() > 30, "nothing was flushed, so each cut falls into another batch: {found:?}");
}

#[test]
fn data_and_checkpoint_agree_where_flushes_outlived_the_journal() {
    agreements_of_cut_journals(&crash_settings());
}

/// Cuts the journal at 41 places and says at which batch checkpoint and data agree then.
fn agreements_of_cut_journals(settings: &DiskSettings) -> Vec<u64> {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let whole = dir.path().join("whole");
    {
        let (disk, _) = Disk::open(&whole, settings.clone()).expect("a usable folder");
        let mut opened = open(&disk, &FACTS);
        (0..100).for_each(|n| crash_batch(&mut opened.store, n));
    }
    let journal = newest_journal(&whole);
    // The file is allocated ahead: behind what was written are zeros.
    let bytes = fs::read(whole.join(&journal)).unwrap();
    let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
    let mut found = Vec::new();
    for cut in (0..=40).map(|step| length * step / 40) {
        let path = dir.path().join("cut");
        copy_folder(&whole, &path);
        fs::File::options().write(true).open(path.join(&journal)).unwrap().set_len(cut).unwrap();
        let (disk, aside) = Disk::open(&path, settings.clone()).expect("a usable folder");
        assert_eq!(aside, None, "a torn end is no damage");
        found.push(check_agreement(&open(&disk, &FACTS)));
        drop(disk);
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(found.is_sorted(), "the longer the journal, the newer the store: {found:?}");
    assert_eq!(found.last(), Some(&100));
    found
}

fn newest_journal(database: &Path) -> String {
    let names = fs::read_dir(database).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let number = |name: &String| name.strip_suffix(".jnl")?.parse::<u64>().ok();
    names.filter(|name| number(name).is_some()).max_by_key(number).expect("a database has a journal")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
