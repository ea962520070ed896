//! Other processes: who has the folder, and what a kill leaves. A child runs the same test of this binary; its environment
//! tells it that it is one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Cleanup, ErrorKind, Log, Outcome, TopicPartition, TopicSpec, next_ack};
use affinity_types::PartitionId;

use super::owner::{Found, Owner, Random, compacted, create, files, kept, open, read, record, try_open};

const FOLDER: &str = "AFFINITY_TEST_FOLDER";
const ROUND: &str = "AFFINITY_TEST_ROUND";
const PARTITIONS: u32 = 3;
const KEYS: u64 = 40;

/// The folder and the round of a child; `None` in the parent.
fn child() -> Option<(PathBuf, u64)> {
    let round = std::env::var(ROUND).ok()?;
    Some((std::env::var_os(FOLDER)?.into(), round.parse().unwrap()))
}

/// A child; killed when dropped.
struct Process(Child);

impl Process {
    fn start(test: &str, folder: &Path, round: u64) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("processes::{test}"), "--nocapture"]);
        command.env(FOLDER, folder).env(ROUND, round.to_string());
        Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn lines(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    /// SIGKILL, and gone.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn assert_in_use(folder: &Path) {
    let error = try_open(folder).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("in use by another process") && text.contains(folder.to_str().unwrap()), "{text}");
}

#[test]
fn a_second_log_on_the_same_folder_is_refused_until_the_first_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    assert_in_use(folder.path());
    log.close();
    open(folder.path()).close();
}

/// The child's part: it opens the folder, says so, and waits to be killed.
fn hold(folder: &Path) -> ! {
    let _log = open(folder);
    println!("\nopen");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_second_process_is_refused_until_the_first_is_killed() {
    if let Some((folder, _)) = child() {
        hold(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Process::start("a_second_process_is_refused_until_the_first_is_killed", folder.path(), 0);
    let mut lines = child.lines().lines();
    assert!(lines.any(|line| line.unwrap() == "open"), "the child has opened the folder");
    assert_in_use(folder.path());
    child.kill();
    open(folder.path()).close();
}

/// Partition p of topic `compacted` or `kept`.
fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, PartitionId(partition))
}

async fn make(log: &EmbeddedLog, topic: &str, cleanup: Cleanup) {
    log.create_topic(topic, TopicSpec { partitions: PARTITIONS, cleanup }).await.unwrap();
}

/// A value that says what it is.
fn value(round: u64, n: u64) -> Vec<u8> {
    format!("{round} {n} {}", "v".repeat(usize::try_from(n % 7 * 100).unwrap())).into_bytes()
}

/// The child's part: it appends without end and prints every acknowledgement.
async fn append_without_end(folder: &Path, round: u64) {
    let log = open(folder);
    make(&log, "compacted", compacted()).await;
    make(&log, "kept", kept()).await;
    let mut owners = Vec::new();
    for topic in ["compacted", "kept"] {
        for partition in 0..PARTITIONS {
            owners.push((topic, partition, Owner::take_over(&log, &place(topic, partition), round).await));
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    for n in 0.. {
        // All partitions at once: their groups share group commits.
        for (_, _, owner) in &mut owners {
            let group = owner.group(vec![record(&format!("k{}", n % KEYS), value(round, n))]);
            owner.writer.append(&group).unwrap();
        }
        for (topic, partition, owner) in &mut owners {
            let Outcome::Appended { first, .. } = next_ack(&mut *owner.writer).await.outcome else {
                panic!("an append came to nothing");
            };
            writeln!(out, "ack {topic} {partition} {first} {n}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// What the child has printed: offset, round and number of the group, by topic and partition.
type Printed = BTreeMap<(String, u32), Vec<(u64, u64, u64)>>;

/// Takes note of a line, if all of it was printed; whether it was an acknowledgement.
fn note(printed: &mut Printed, line: &str, round: u64) -> bool {
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let ["ack", topic, partition, offset, n] = words[..] else { return false };
    let place = (topic.to_owned(), partition.parse().unwrap());
    printed.entry(place).or_default().push((offset.parse().unwrap(), round, n.parse().unwrap()));
    true
}

/// Lets a child append, kills it after so many acknowledgements, and takes note of all it has printed.
fn kill_after(folder: &Path, round: u64, acknowledgements: u64, printed: &mut Printed) {
    let mut child = Process::start("what_was_acknowledged_outlives_kill_9_round_after_round", folder, round);
    let mut lines = child.lines();
    let (mut line, mut seen) = (String::new(), 0);
    while seen < acknowledgements {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the child has ended");
        seen += u64::from(note(printed, &line, round));
    }
    child.kill();
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            return;
        }
        note(printed, &line, round);
    }
}

/// Every record of the topic that keeps all is there, once, in order, as it was printed.
fn check_kept(found: &[Found], printed: &[(u64, u64, u64)], at: &str) {
    for (offset, round, n) in printed {
        let at = found
            .binary_search_by_key(offset, |found| found.offset)
            .unwrap_or_else(|_| panic!("{offset} of {at} is lost"));
        assert_eq!(found[at].key, format!("k{}", n % KEYS));
        assert_eq!(found[at].value.as_deref(), Some(&value(*round, *n)[..]));
    }
    let ours: Vec<_> = found.iter().filter(|found| found.key.starts_with('k')).collect();
    assert!(ours.len() >= printed.len());
}

/// The newest record of each key is the last printed one, or one that was on its way when the child was killed.
fn check_compacted(found: &[Found], printed: &[(u64, u64, u64)], at: &str) {
    let mut newest = BTreeMap::new();
    for (offset, round, n) in printed {
        newest.insert(format!("k{}", n % KEYS), (*offset, *round, *n));
    }
    for (key, (offset, round, n)) in newest {
        let last =
            found.iter().rfind(|found| found.key == key).unwrap_or_else(|| panic!("{key} of {at} is lost"));
        assert!(last.offset >= offset, "{key} of {at} is older than what was acknowledged");
        if last.offset == offset {
            assert_eq!(last.value.as_deref(), Some(&value(round, n)[..]));
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_kill_9_round_after_round() {
    if let Some((folder, round)) = child() {
        return append_without_end(&folder, round).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut printed = Printed::new();
    let mut random = Random(9);
    for round in 1..=9 {
        kill_after(folder.path(), round, 1 + random.below(4_000), &mut printed);
        if round % 3 == 1 {
            // The next child finds what this one left.
            continue;
        }
        let log = open(folder.path());
        for ((topic, partition), printed) in &printed {
            let at = format!("{topic}/{partition} after round {round}");
            assert!(printed.is_sorted_by(|a, b| a.0 < b.0), "{at}: offsets rise");
            let found = read(&log, &place(topic, *partition)).await;
            match topic.as_str() {
                "kept" => check_kept(&found, printed, &at),
                _ => check_compacted(&found, printed, &at),
            }
        }
        if round % 3 == 0 {
            log.compact().unwrap();
        }
        log.close();
    }
    assert!(!files(folder.path(), "sorted-").is_empty(), "the journal has rolled");
}

#[tokio::test]
async fn a_process_that_is_killed_before_its_first_append_leaves_a_folder_that_opens() {
    if let Some((folder, _)) = child() {
        hold(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let test = "a_process_that_is_killed_before_its_first_append_leaves_a_folder_that_opens";
        let mut child = Process::start(test, folder.path(), 0);
        assert!(child.lines().lines().any(|line| line.unwrap() == "open"));
        child.kill();
    }
    let log = open(folder.path());
    let place = create(&log, 1, compacted()).await.remove(0);
    assert_eq!(Owner::take_over(&log, &place, 1).await.put("k", "v").await.0, 1);
}
