//! The bytes of one entry: a line of JSON, which people can read, and a line with its checksum.
//!
//! ```text
//! {"format":1,"entry":7,"change":{"version":{"subject":"orders-value","version":2,"id":5,"schema":"{\"type\":...}"}}}
//! 1f0e6a2b
//! ```
//!
//! The line and its checksum stay when the format changes, so that every version of this can tell a later one from damage.

use affinity_avro::{Compatibility, Schema};
use serde::{Deserialize, Serialize};

use crate::catalog::Change;
use crate::{SchemaId, SchemaVersion, Subject};

/// The format that is written; others are refused.
const FORMAT: u32 = 1;

/// Bytes of an entry at most: those of the longest schema, each escaped as `\u0000`, and a name.
pub(super) const ENTRY_BYTES_MAX: u64 = 8 << 20;

/// Bytes of the second line with the end of the first, without its own.
const CHECKSUM_BYTES: usize = 9;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    format: u32,
    entry: u64,
    change: Written,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Written {
    Version {
        subject: String,
        version: u32,
        id: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<String>,
    },
    Compatibility {
        subject: String,
        level: String,
    },
}

/// The bytes of entry `number`.
pub(super) fn write(number: u64, change: &Change) -> Vec<u8> {
    let change = match change {
        Change::Version { subject, version, id, schema } => Written::Version {
            subject: subject.as_str().to_owned(),
            version: version.0,
            id: id.0,
            schema: schema.as_ref().map(|schema| schema.text().to_owned()),
        },
        Change::Level { subject, level } => {
            Written::Compatibility { subject: subject.as_str().to_owned(), level: level.name().to_owned() }
        }
    };
    let line = Line { format: FORMAT, entry: number, change };
    let mut bytes = serde_json::to_vec(&line).expect("texts and numbers are always JSON");
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(format!("\n{checksum:08x}\n").as_bytes());
    bytes
}

/// The change in the bytes of entry `number`, and their checksum; else why they are none.
pub(super) fn parse(number: u64, bytes: &[u8]) -> Result<(Change, u32), String> {
    let torn = || "it is torn, or was changed by hand: its checksum is wrong".to_owned();
    let body = bytes.strip_suffix(b"\n").ok_or_else(torn)?;
    let at = body.len().checked_sub(CHECKSUM_BYTES).ok_or_else(torn)?;
    let (line, checksum) = (&body[..at], &body[at..]);
    let expected = crc32c::crc32c(line);
    if checksum != format!("\n{expected:08x}").as_bytes() {
        return Err(torn());
    }
    let wrong = |error: serde_json::Error| format!("it is no entry of a registry: {error}");
    let head: Head = serde_json::from_slice(line).map_err(wrong)?;
    if head.format != FORMAT {
        return Err(format!("it has format {}, and this version knows {FORMAT} only", head.format));
    }
    let line: Line = serde_json::from_slice(line).map_err(wrong)?;
    if line.entry != number {
        return Err(format!("it is entry {} by its content: was it renamed?", line.entry));
    }
    let subject = |name: String| Subject::new(name).map_err(|error| error.to_string());
    let change = match line.change {
        Written::Version { subject: name, version, id, schema } => Change::Version {
            subject: subject(name)?,
            version: SchemaVersion(version),
            id: SchemaId(id),
            schema: schema.map(|text| Schema::parse(&text)).transpose().map_err(|error| error.to_string())?,
        },
        Written::Compatibility { subject: name, level } => Change::Level {
            subject: subject(name)?,
            level: level.parse::<Compatibility>().map_err(|error| error.to_string())?,
        },
    };
    Ok((change, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(schema: Option<&str>) -> Change {
        Change::Version {
            subject: Subject::new("a \"b\" ä").unwrap(),
            version: SchemaVersion(2),
            id: SchemaId(5),
            schema: schema.map(|text| Schema::parse(text).unwrap()),
        }
    }

    #[test]
    fn the_bytes_are_settled() {
        let check = |change: &Change, text: &str| {
            let bytes = write(7, change);
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
            assert_eq!(parse(7, &bytes).map(|(change, _)| change).as_ref(), Ok(change));
        };
        check(
            &version(Some(r#"{ "type": "int" }"#)),
            concat!(
                r#"{"format":1,"entry":7,"change":{"version":{"subject":"a \"b\" ä","version":2,"id":5,"#,
                r#""schema":"{ \"type\": \"int\" }"}}}"#,
                "\n31c6ed35\n"
            ),
        );
        check(
            &version(None),
            concat!(
                r#"{"format":1,"entry":7,"change":{"version":{"subject":"a \"b\" ä","version":2,"id":5}}}"#,
                "\n88f9b86c\n"
            ),
        );
        let level =
            Change::Level { subject: Subject::new("a").unwrap(), level: Compatibility::FullTransitive };
        check(
            &level,
            concat!(
                r#"{"format":1,"entry":7,"change":{"compatibility":{"subject":"a","level":"FULL_TRANSITIVE"}}}"#,
                "\nf5bc7462\n"
            ),
        );
    }

    #[test]
    fn any_other_bytes_are_refused() {
        let bytes = write(7, &version(Some("\"int\"")));
        for length in 0..bytes.len() {
            assert!(parse(7, &bytes[..length]).is_err(), "the first {length} bytes");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] ^= flip;
                assert!(parse(7, &other).is_err(), "byte {at}");
            }
        }
        assert!(parse(7, &vec![0; bytes.len()]).is_err());
        let signed = |line: &str| format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes())).into_bytes();
        let check = |line: &str, why: &str| {
            let error = parse(7, &signed(line)).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        };
        check(r#"{"format":2,"new":true}"#, "it has format 2, and this version knows 1 only");
        check(
            r#"{"format":1,"entry":8,"change":{"compatibility":{"subject":"a","level":"FULL"}}}"#,
            "entry 8",
        );
        check(r#"{"format":1,"entry":7,"change":{"compatibility":{"subject":"a","level":"HALF"}}}"#, "HALF");
        check(
            r#"{"format":1,"entry":7,"change":{"compatibility":{"subject":"","level":"FULL"}}}"#,
            "subject",
        );
        check(r#"{"format":1,"entry":7,"change":{"version":{"subject":"a","version":1,"id":-1}}}"#, "-1");
        check(r#"{"format":1,"entry":7,"change":{},"more":1}"#, "no entry");
        check("[", "no entry");
    }
}
