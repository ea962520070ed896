//! Files that are not as they were left, and files of others.

use std::fs;
use std::path::Path;

use affinity_avro::Schema;
use affinity_registry::{Error, ErrorKind, FileRegistry, SchemaRegistry, Subject};

use super::block_on;

fn subject() -> Subject {
    Subject::new("subject").unwrap()
}

/// Version `n` of a schema that only grows.
fn schema(n: usize) -> Schema {
    let field = |n| format!(r#"{{"name": "f{n}", "type": "int", "default": 0}}"#);
    let fields: Vec<String> = (0..n).map(field).collect();
    Schema::parse(&format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","))).unwrap()
}

fn register(registry: &FileRegistry, n: usize) -> Result<u32, Error> {
    block_on(registry.register(&subject(), &schema(n))).map(|registered| registered.id.0)
}

/// A folder with three entries.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::open(folder.path()).unwrap();
    for n in 1..=3 {
        assert_eq!(register(&registry, n).unwrap(), u32::try_from(n).unwrap());
    }
    folder
}

fn refused(folder: &Path, name: &str, why: &str) {
    let error = FileRegistry::open(folder).map(drop).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
    let path = folder.join(name);
    assert!(text.starts_with(path.to_str().unwrap()) && text.contains(why), "{text}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const ENTRIES: [&str; 3] = ["0000000001.json", "0000000002.json", "0000000003.json"];

#[test]
fn a_torn_or_changed_entry_is_refused_by_name() {
    for name in ENTRIES {
        let folder = filled();
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            refused(folder.path(), name, "torn");
        }
        fs::write(&path, vec![0; bytes.len()]).unwrap();
        refused(folder.path(), name, "torn");
        fs::write(&path, String::from_utf8(bytes.clone()).unwrap().replace("subject\":\"s", "subject\":\"t"))
            .unwrap();
        refused(folder.path(), name, "checksum");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(register(&FileRegistry::open(folder.path()).unwrap(), 4).unwrap(), 4);
    }
}

#[test]
fn entries_that_are_missing_or_exchanged_are_refused_by_name() {
    let folder = filled();
    let at = |name: &str| folder.path().join(name);
    fs::rename(at(ENTRIES[1]), at("aside")).unwrap();
    refused(folder.path(), "aside", "no registry has written this");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(at("aside"), elsewhere.path().join("aside")).unwrap();
    refused(folder.path(), ENTRIES[1], "it is missing, and entry 3 is there");
    fs::copy(at(ENTRIES[2]), at(ENTRIES[1])).unwrap();
    refused(folder.path(), ENTRIES[1], "it is entry 3 by its content");
    fs::remove_file(at(ENTRIES[1])).unwrap();
    fs::create_dir(at(ENTRIES[1])).unwrap();
    refused(folder.path(), ENTRIES[1], "it is a folder");
}

#[test]
fn entries_of_another_registry_are_refused_by_name() {
    let folder = filled();
    let other = tempfile::tempdir().unwrap();
    let registry = FileRegistry::open(other.path()).unwrap();
    for n in [2, 1, 4, 5] {
        register(&registry, n).unwrap();
    }
    fs::copy(other.path().join(ENTRIES[1]), folder.path().join(ENTRIES[1])).unwrap();
    refused(folder.path(), ENTRIES[1], "schema 2 is that of 1");
}

#[test]
fn files_of_others_are_refused_by_name() {
    for name in [".gitignore", "1.json", "0000000004.json~", "lock", "0000000001.avsc", "0000000000.json"] {
        let folder = filled();
        fs::write(folder.path().join(name), "x").unwrap();
        refused(folder.path(), name, "no registry has written this: move it out of the folder");
        fs::remove_file(folder.path().join(name)).unwrap();
        FileRegistry::open(folder.path()).unwrap();
    }
}

#[test]
fn an_entry_beyond_all_measure_is_refused_and_not_read() {
    let folder = filled();
    let file = fs::File::create(folder.path().join("0000000004.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    refused(folder.path(), "0000000004.json", "so long");
}

#[test]
fn what_a_killed_process_left_at_any_step_is_passed_over_and_removed() {
    let donor = filled();
    let registry = FileRegistry::open(donor.path()).unwrap();
    register(&registry, 4).unwrap();
    let bytes = fs::read(donor.path().join("0000000004.json")).unwrap();
    for length in (0..bytes.len()).step_by(16).chain([bytes.len() - 1, bytes.len()]) {
        let folder = filled();
        let left = folder.path().join("0000000004.0.tmp");
        fs::write(&left, &bytes[..length]).unwrap();
        let registry = FileRegistry::open(folder.path()).unwrap();
        assert!(left.exists(), "somebody may be writing it");
        assert_eq!(register(&registry, 5).unwrap(), 4);
        assert_eq!(register(&FileRegistry::open(folder.path()).unwrap(), 6).unwrap(), 5);
        assert!(!left.exists(), "its entry is there");
    }
    // It was linked, and not removed.
    let folder = filled();
    for name in ["0000000004.json", "0000000004.0.tmp"] {
        fs::write(folder.path().join(name), &bytes).unwrap();
    }
    let registry = FileRegistry::open(folder.path()).unwrap();
    assert_eq!(register(&registry, 4).unwrap(), 4);
    assert_eq!(names(folder.path()), [&ENTRIES[..], &["0000000004.json"]].concat());
}

#[test]
fn nothing_is_left_over_by_a_registry_that_ends_well() {
    assert_eq!(names(filled().path()), ENTRIES);
}

#[test]
fn a_folder_that_was_replaced_under_our_hands_gets_no_entry() {
    let folder = filled();
    let registry = FileRegistry::open(folder.path()).unwrap();
    for name in ENTRIES {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let kind = |answer: Result<u32, Error>| answer.map_err(|error| error.kind());
    assert_eq!(kind(register(&registry, 4)), Err(ErrorKind::Corrupt));
    assert_eq!(register(&registry, 3).unwrap(), 3, "what was told stays true");
    let other = FileRegistry::open(folder.path()).unwrap();
    for n in [7, 8, 9] {
        register(&other, n).unwrap();
    }
    assert_eq!(kind(register(&registry, 4)), Err(ErrorKind::Corrupt));
    assert_eq!(names(folder.path()), ENTRIES);
}

#[test]
fn a_folder_that_is_gone_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::open(folder.path()).unwrap();
    drop(folder);
    assert_eq!(register(&registry, 1).map_err(|error| error.kind()), Err(ErrorKind::Unavailable));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = FileRegistry::open(file.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
