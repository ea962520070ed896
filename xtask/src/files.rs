//! Every source file says at its head what it is for, and stays one thing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// Folders that hold sources of ours.
const FOLDERS: [&str; 6] = ["crates", "benches", "examples", "tests", "xtask", "simulation"];

/// Most lines before a file's tests. The house aims at 500; past this it is surely two things.
const LINES_MAX: usize = 700;

/// # Errors
/// A line for each file that breaks a rule.
pub(crate) fn check() -> Result<(), String> {
    let mut files = Vec::new();
    for folder in FOLDERS.iter().map(|folder| root().join(folder)).filter(|folder| folder.exists()) {
        sources(&folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut broken = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display();
        broken.extend(complaints(&text).into_iter().map(|complaint| format!("{name}: {complaint}")));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Collects the `.rs` files below `folder`, other than what a build left there and the tests of a file, which are told
/// by the file they belong to.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, files)?;
            }
        } else if !path.ends_with("tests.rs") && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn complaints(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push("does not begin with `//!` and what it is for".to_owned());
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    if lines > LINES_MAX {
        complaints.push(format!("{lines} lines before its tests, at most {LINES_MAX}: make it two things"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_head_or_beyond_all_measure_is_named() {
        let check = |text: &str, expected: usize| assert_eq!(complaints(text).len(), expected);
        let long = "//! Head.\n".to_owned() + &"fn f() {}\n".repeat(LINES_MAX);
        check("//! Head.\n", 0);
        check("fn main() {}\n", 1);
        check(&long, 1);
        check(&long.replacen("fn f() {}\n", "#[cfg(test)]\n", 1), 0);
    }
}
