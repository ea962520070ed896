//! The cases that other people's programs made, one a line.

use affinity_avro::{DefaultPolicy, ParseOptions, Schema};
use serde_json::Value as Case;

/// The cases of a file.
pub(crate) fn cases(lines: &str) -> Vec<Case> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a case is JSON")).collect()
}

/// A text of a case.
pub(crate) fn text<'a>(case: &'a Case, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("{}: no {member}", case["id"]))
}

/// The bytes of a text in hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex");
    (0..text.len() / 2).map(byte).collect()
}

/// The schema in a member of a case.
pub(crate) fn schema(case: &Case, member: &str) -> Schema {
    let options = ParseOptions { defaults: DefaultPolicy::Check, ..ParseOptions::default() };
    let parsed = Schema::parse_with(text(case, member), &options);
    parsed.unwrap_or_else(|error| panic!("{}: {error}", case["id"]))
}
