//! Handlers in the harness, as an application tests its own.

use affinity_keyspace::{
    Changed, Condition, ConditionFailed, Failure, Harness, KeyRange, Master, Partition, Sent, Store, View,
};
use affinity_types::codec::Encode;
use affinity_types::{EventTime, Version};

const NOTES: Store<str, String> = Store::new("notes");
const TIMES: Store<str, i64> = Store::new("times");
/// The bytes of the notes, read as what they are not.
const MISREAD: Store<str, u64> = Store::new("notes");
const MISSING: Store<str, u64> = Store::new("missing");

struct Notes;

#[derive(Clone, Debug)]
enum Command {
    Write(&'static str, &'static str),
    WriteIf(&'static str, Condition, &'static str),
    Erase(&'static str),
    /// Changes, reads its own change back, and changes again.
    Twice(&'static str),
    FailAfterChange(&'static str),
    PanicAfterChange(&'static str),
    Misread(&'static str),
    Missing,
    Draw,
    /// Adds and removes under a prefix, and answers what is there then, backwards.
    Gather(&'static str),
    Nothing,
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{self:?}").as_bytes());
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NotesError {
    #[error("no")]
    Refused,
    #[error("{0}")]
    Condition(#[from] ConditionFailed),
}

impl Partition for Notes {
    const STORES: &'static [&'static str] = &["notes", "times"];
    type Command = Command;
    type Query = &'static str;
    type Answer = String;
    type Error = NotesError;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<String, NotesError> {
        match *command {
            Command::Write(key, text) => {
                cx.put(&NOTES, key, &text.to_string());
                let now = cx.now().0;
                cx.put(&TIMES, key, &now);
                cx.send(&NOTES, key, &format!("wrote {text}"));
            }
            Command::WriteIf(key, condition, text) => {
                cx.put_if(&NOTES, key, condition, &text.to_string())?;
            }
            Command::Erase(key) => cx.delete(&NOTES, key),
            Command::Twice(key) => {
                cx.put(&NOTES, key, &"one".to_string());
                let one = cx.get(&NOTES, key).unwrap_or_default();
                cx.put(&NOTES, key, &format!("{one} two"));
                return Ok(one);
            }
            Command::FailAfterChange(key) => {
                cx.put(&NOTES, key, &"failed".to_string());
                cx.send(&NOTES, key, &"failed".to_string());
                return Err(NotesError::Refused);
            }
            Command::PanicAfterChange(key) => {
                cx.put(&NOTES, key, &"panicked".to_string());
                panic!("a handler of this test panics");
            }
            Command::Misread(key) => {
                let misread = cx.get(&MISREAD, key).unwrap_or_default();
                cx.put(&NOTES, key, &misread.to_string());
            }
            Command::Missing => cx.put(&MISSING, "k", &1),
            Command::Draw => return Ok(cx.random().to_string()),
            Command::Gather(prefix) => {
                cx.put(&NOTES, &format!("{prefix}3"), &"new".to_string());
                cx.delete(&NOTES, &format!("{prefix}1"));
                let found = cx.scan(&NOTES, &KeyRange::prefix(prefix).backward(), 10);
                let found: Vec<_> = found.iter().map(|(key, note)| format!("{key}={note}")).collect();
                return Ok(found.join(" "));
            }
            Command::Nothing => {}
        }
        Ok(String::new())
    }

    fn query(&self, cx: &View<'_>, key: &&'static str) -> Result<String, NotesError> {
        if *key == "panic" {
            panic!("a handler of this test panics");
        }
        cx.get(&NOTES, *key).ok_or(NotesError::Refused)
    }
}

fn text(text: &str) -> String {
    text.to_string()
}

#[test]
fn a_command_shows_its_answer_changes_and_events() {
    let mut harness = Harness::new(Notes, 1);
    harness.set_now(EventTime(70));
    let outcome = harness.command(Command::Write("k", "hello"));
    assert_eq!(outcome.answer, Ok(text("")));
    let changes = [Changed::put(&NOTES, "k", &text("hello")), Changed::put(&TIMES, "k", &70)];
    assert_eq!(outcome.changes, changes);
    assert_eq!(outcome.events, [Sent::new(&NOTES, "k", &text("wrote hello"))]);
    assert_eq!(harness.command(Command::Erase("k")).changes, [Changed::delete(&NOTES, "k")]);
    assert_eq!((harness.get(&NOTES, "k"), harness.get(&TIMES, "k")), (None, Some(70)));
}

#[test]
fn the_next_handler_sees_what_was_changed() {
    let mut harness = Harness::new(Notes, 1);
    assert_eq!(harness.query("k"), Err(Failure::Handler(NotesError::Refused)));
    harness.given(&NOTES, "k", &text("given"));
    assert_eq!(harness.query("k"), Ok(text("given")));
    harness.command(Command::Write("k", "written"));
    assert_eq!(harness.query("k"), Ok(text("written")));
}

#[test]
fn a_key_that_is_changed_twice_is_one_change() {
    let mut harness = Harness::new(Notes, 1);
    let outcome = harness.command(Command::Twice("k"));
    assert_eq!(outcome.answer, Ok(text("one")));
    assert_eq!(outcome.changes, [Changed::put(&NOTES, "k", &text("one two"))]);
}

#[test]
fn what_fails_or_panics_changes_nothing() {
    let mut harness = Harness::new(Notes, 1);
    harness.given(&NOTES, "k", &text("given"));
    let version = harness.version(&NOTES, "k");
    for (command, failure) in [
        (Command::FailAfterChange("k"), Failure::Handler(NotesError::Refused)),
        (Command::PanicAfterChange("k"), Failure::Panicked),
    ] {
        let outcome = harness.command(command);
        assert_eq!(outcome.answer, Err(failure));
        assert!(outcome.changes.is_empty() && outcome.events.is_empty());
        assert_eq!((harness.get(&NOTES, "k"), harness.version(&NOTES, "k")), (Some(text("given")), version));
    }
    assert_eq!(harness.query("panic"), Err(Failure::Panicked));
}

#[test]
fn what_cannot_be_read_is_corrupt_whatever_the_handler_makes_of_it() {
    let mut harness = Harness::new(Notes, 1);
    harness.given(&NOTES, "k", &text("given"));
    for command in [Command::Misread("k"), Command::Missing] {
        let outcome = harness.command(command);
        assert!(matches!(outcome.answer, Err(Failure::Corrupt(_))), "{outcome:?}");
        assert!(outcome.changes.is_empty());
    }
    assert_eq!(harness.get(&NOTES, "k"), Some(text("given")));
}

#[test]
fn conditions_hold_against_versions() {
    let mut harness = Harness::new(Notes, 1);
    let write = |condition, text| Command::WriteIf("k", condition, text);
    assert_eq!(harness.command(write(Condition::Absent, "first")).answer, Ok(text("")));
    let first = harness.version(&NOTES, "k").unwrap();
    let refused = |version| Err(Failure::Handler(NotesError::Condition(ConditionFailed(version))));
    assert_eq!(harness.command(write(Condition::Absent, "late")).answer, refused(Some(first)));
    assert_eq!(harness.command(write(Condition::Version(first), "second")).answer, Ok(text("")));
    let second = harness.version(&NOTES, "k").unwrap();
    assert!(second > first);
    for stale in [first, Version::default()] {
        let outcome = harness.command(write(Condition::Version(stale), "late"));
        assert_eq!(outcome.answer, refused(Some(second)));
    }
    assert_eq!(harness.get(&NOTES, "k"), Some(text("second")));
}

#[test]
fn time_stands_still_until_it_is_set_and_never_goes_back_behind_a_change() {
    let mut harness = Harness::new(Notes, 1);
    harness.set_now(EventTime(70));
    harness.command(Command::Nothing);
    harness.set_now(EventTime(60));
    assert_eq!(harness.now(), EventTime(60), "nothing was changed at 70");
    harness.set_now(EventTime(80));
    harness.command(Command::Write("k", "at 80"));
    harness.set_now(EventTime(60));
    harness.command(Command::Write("k", "later"));
    assert_eq!(harness.get(&TIMES, "k"), Some(80));
}

#[test]
fn equal_seeds_give_equal_chance() {
    let draw = |seed| {
        let mut harness = Harness::new(Notes, seed);
        [harness.command(Command::Draw).answer.unwrap(), harness.command(Command::Draw).answer.unwrap()]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}

#[test]
#[should_panic(expected = "a value of store notes")]
fn a_test_that_misreads_is_told() {
    let mut harness = Harness::new(Notes, 1);
    harness.given(&NOTES, "k", &text("given"));
    let _ = harness.get(&MISREAD, "k");
}

#[test]
#[should_panic(expected = "store missing is not among the partition's")]
fn a_test_that_names_no_store_is_told() {
    Harness::new(Notes, 1).given(&MISSING, "k", &1);
}

#[test]
fn a_handler_scans_a_prefix_as_it_has_left_it_so_far() {
    let mut harness = Harness::new(Notes, 1);
    for (key, note) in [("a/1", "x"), ("a/2", "y"), ("b/1", "z")] {
        harness.given(&NOTES, key, &text(note));
    }
    let outcome = harness.command(Command::Gather("a/"));
    assert_eq!(outcome.answer, Ok(text("a/3=new a/2=y")));
    assert_eq!(harness.get(&NOTES, "a/1"), None);
}
