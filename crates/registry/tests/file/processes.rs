//! Other processes, and what a kill leaves. A child runs the same test of this binary; its environment tells it that it is one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use affinity_avro::Schema;
use affinity_registry::{FileRegistry, SchemaId, SchemaRegistry, Subject};

use super::block_on;

const FOLDER: &str = "AFFINITY_TEST_FOLDER";
const NUMBER: &str = "AFFINITY_TEST_NUMBER";

/// The folder and the number of a child; `None` in the parent.
fn child() -> Option<(PathBuf, u64)> {
    let number = std::env::var(NUMBER).ok()?;
    Some((std::env::var_os(FOLDER)?.into(), number.parse().unwrap()))
}

/// A child; killed when dropped.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(test: &str, folder: &Path, number: u64) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("processes::{test}"), "--nocapture"]);
        command.env(FOLDER, folder).env(NUMBER, number.to_string());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Process { child, lines }
    }

    /// The next line that was printed whole.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// SIGKILL, and gone.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A schema of nobody else.
fn own_schema(number: u64, n: u64) -> Schema {
    Schema::parse(&format!(r#"{{"type": "fixed", "name": "F{number}x{n}", "size": 1}}"#)).unwrap()
}

/// Version `n` of one that all have.
fn common_schema(n: u64) -> Schema {
    let field = |n| format!(r#"{{"name": "f{n}", "type": "int", "default": 0}}"#);
    let fields: Vec<String> = (0..n).map(field).collect();
    Schema::parse(&format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","))).unwrap()
}

/// The child's part: it registers without end, schemas of its own and some that others register too, and prints every answer.
fn register_without_end(folder: &Path, number: u64) {
    let registry = FileRegistry::open(folder).unwrap();
    let common = Subject::new("common").unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    for n in 0.. {
        let subject = Subject::new(format!("own{number}x{n}")).unwrap();
        let own = block_on(registry.register(&subject, &own_schema(number, n))).unwrap();
        writeln!(out, "told {} {number} {n}", own.id).unwrap();
        let all = block_on(registry.register(&common, &common_schema(n % 40))).unwrap();
        writeln!(out, "told {} common {}", all.id, n % 40).unwrap();
        out.flush().unwrap();
    }
}

/// What children have printed: the schema of each id.
#[derive(Default)]
struct Told(BTreeMap<u32, Schema>);

impl Told {
    /// Takes note of a line; whether it was an answer.
    fn note(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let ["told", id, whose, n] = words[..] else { return false };
        let n = n.parse().unwrap();
        let schema = if whose == "common" { common_schema(n) } else { own_schema(whose.parse().unwrap(), n) };
        let other = self.0.insert(id.parse().unwrap(), schema.clone());
        assert!(other.is_none_or(|other| other == schema), "id {id} was given twice");
        true
    }

    fn check(&self, folder: &Path) {
        let registry = FileRegistry::open(folder).unwrap();
        for (id, schema) in &self.0 {
            let there = block_on(registry.schema(SchemaId(*id))).unwrap();
            assert_eq!(there.as_ref(), Some(schema), "id {id} was told");
        }
    }
}

#[test]
fn what_was_told_outlives_kill_9_round_after_round() {
    const TEST: &str = "what_was_told_outlives_kill_9_round_after_round";
    if let Some((folder, number)) = child() {
        return register_without_end(&folder, number);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut leftovers = 0;
    for round in 0..12 {
        // Three at once: one is killed early, the others somewhere in the middle of what they do.
        let mut children: Vec<Process> =
            (0..3).map(|number| Process::start(TEST, folder.path(), 3 * round + number)).collect();
        for (child, answers) in children.iter_mut().zip([1 + round % 5, 20, 30 + 7 * round]) {
            let mut seen = 0;
            while seen < answers {
                seen += u64::from(told.note(&child.line().expect("the child goes on")));
            }
            child.kill();
        }
        for child in &mut children {
            while let Some(line) = child.line() {
                told.note(&line);
            }
        }
        let is_left = |file: &std::fs::DirEntry| file.file_name().to_str().unwrap().ends_with(".tmp");
        leftovers +=
            std::fs::read_dir(folder.path()).unwrap().filter(|file| is_left(file.as_ref().unwrap())).count();
        told.check(folder.path());
    }
    assert!(told.0.len() > 500, "{}", told.0.len());
    println!("{} schemas, {leftovers} files left by kills", told.0.len());
}

#[test]
fn processes_at_once_agree_on_every_id() {
    const TEST: &str = "processes_at_once_agree_on_every_id";
    if let Some((folder, number)) = child() {
        return register_without_end(&folder, number);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut children: Vec<Process> =
        (0..4).map(|number| Process::start(TEST, folder.path(), number)).collect();
    let mut told = Told::default();
    for _ in 0..100 {
        for child in &mut children {
            while !told.note(&child.line().expect("the child goes on")) {}
        }
    }
    children.iter_mut().for_each(Process::kill);
    told.check(folder.path());
    // Each of the schemas that all have was registered once.
    let registry = FileRegistry::open(folder.path()).unwrap();
    let versions = block_on(registry.versions(&Subject::new("common").unwrap())).unwrap();
    assert!(versions.len() <= 40, "{}", versions.len());
}
