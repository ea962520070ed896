//! The folder: which files are the registry's, and how the next entry comes to be.
//!
//! ```text
//! 0000000001.json            entry 1; never written again
//! 0000000002.json            entry 2
//! 0000000003.0.tmp           somebody writes entry 3, or died while doing so
//! ```
//!
//! An entry is written under a name of its own, synced, and then *linked* to its place, which fails where there is something: so of
//! all that want to be entry 3 one is, whole, without a lock that a stopped process could hold. A name `<n>.<k>.tmp` is
//! taken by whoever creates it, and may be removed by anybody once entry n is there, since nobody can link it to its place then.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::entry::ENTRY_BYTES_MAX;
use crate::{Error, ErrorKind};

/// Processes that can write the same entry at once, and leave their files behind.
const WRITERS_MAX: u32 = 1000;

/// A folder that is a registry's.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// What a file of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Entry(u64),
    Unfinished(u64),
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The highest number of an entry.
    pub(super) last: u64,
    unfinished: Vec<(u64, PathBuf)>,
}

impl Folder {
    /// Makes the folder, unless it is there, so that it stays.
    pub(super) fn create(path: PathBuf) -> Result<Folder, Error> {
        let folder = Folder(path);
        let missing: Vec<&Path> = folder.0.ancestors().take_while(|path| !is_there(path)).collect();
        let made = fs::create_dir_all(&folder.0)
            .and_then(|()| missing.iter().try_for_each(|path| sync(path.parent().unwrap_or(Path::new(".")))));
        made.map_err(|error| folder.unavailable("cannot be made", error))?;
        Ok(folder)
    }

    /// What lies in it.
    ///
    /// # Errors
    /// `Corrupt` if there is anything that no registry has written.
    pub(super) fn list(&self) -> Result<Listing, Error> {
        let unavailable = |error| self.unavailable("cannot be listed", error);
        let mut listing = Listing::default();
        for file in fs::read_dir(&self.0).map_err(unavailable)? {
            let name = file.map_err(unavailable)?.file_name();
            match kind(&name) {
                Some(Kind::Entry(number)) => listing.last = listing.last.max(number),
                Some(Kind::Unfinished(number)) => listing.unfinished.push((number, self.0.join(name))),
                None => {
                    let why =
                        "no registry has written this: move it out of the folder, or name another folder";
                    return Err(corrupt(&self.0.join(name), why));
                }
            }
        }
        Ok(listing)
    }

    /// Removes what was left unfinished by processes that are gone, or lost a race.
    pub(super) fn tidy(&self, listing: &Listing, entries: u64) {
        for (_, path) in listing.unfinished.iter().filter(|(number, _)| *number <= entries) {
            // Somebody else may have been faster; what stays is removed the next time.
            let _ = fs::remove_file(path);
        }
    }

    /// The bytes of an entry; `None` if it is not there.
    pub(super) fn read(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = self.entry(number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unavailable_file(&path, error)),
        };
        let mut bytes = Vec::new();
        match file.take(ENTRY_BYTES_MAX + 1).read_to_end(&mut bytes) {
            Ok(length) if length as u64 > ENTRY_BYTES_MAX => {
                Err(corrupt(&path, "no entry of a registry is so long"))
            }
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                Err(corrupt(&path, "it is a folder"))
            }
            Err(error) => Err(self.unavailable_file(&path, error)),
        }
    }

    /// Makes `bytes` entry `number`, unless there is one: then another process was first, and the answer is `false`. That the
    /// entry stays is certain after [`sync`](Folder::sync) only.
    pub(super) fn append(&self, number: u64, bytes: &[u8]) -> Result<bool, Error> {
        let (path, mut file) = self.unfinished(number)?;
        if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&path);
            return Err(self.unavailable_file(&path, error));
        }
        let linked = fs::hard_link(&path, self.entry(number));
        let _ = fs::remove_file(&path);
        match linked {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                // Not found: it was removed, since the entry is there.
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Ok(false),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{}: no hard link can be made here", self.0.display()),
                )
                .caused_by(error)),
                _ => Err(Error::new(ErrorKind::Unknown, format!("{}: entry {number}", self.0.display()))
                    .caused_by(error)),
            },
        }
    }

    /// A new file for an entry to come.
    fn unfinished(&self, number: u64) -> Result<(PathBuf, File), Error> {
        for writer in 0..WRITERS_MAX {
            let path = self.0.join(format!("{number:010}.{writer}.tmp"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.unavailable_file(&path, error)),
            }
        }
        let message = format!("{}: {WRITERS_MAX} processes write entry {number}", self.0.display());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// After this all entries that were found stay.
    pub(super) fn sync(&self) -> Result<(), Error> {
        sync(&self.0).map_err(|error| self.unavailable("cannot be synced", error))
    }

    /// Where an entry lies.
    pub(super) fn entry(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:010}.json"))
    }

    fn unavailable(&self, what: &str, error: io::Error) -> Error {
        let message = format!("the registry's folder {} {what}: {error}", self.0.display());
        Error::new(ErrorKind::Unavailable, message).caused_by(error)
    }

    fn unavailable_file(&self, path: &Path, error: io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}: {error}", path.display())).caused_by(error)
    }
}

/// What is wrong with a file.
pub(super) fn corrupt(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {why}", path.display()))
}

fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn kind(name: &OsStr) -> Option<Kind> {
    let name = name.to_str()?;
    let (number, rest) = name.split_once('.')?;
    let parsed: u64 = number.parse().ok().filter(|parsed| *parsed > 0)?;
    if format!("{parsed:010}") != number {
        return None;
    }
    match rest.strip_suffix(".tmp") {
        None => (rest == "json").then_some(Kind::Entry(parsed)),
        Some(writer) => writer.parse::<u32>().is_ok().then_some(Kind::Unfinished(parsed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_known_for_such() {
        let check =
            |name: &str, expected: Option<Kind>| assert_eq!(kind(OsStr::new(name)), expected, "{name}");
        check("0000000001.json", Some(Kind::Entry(1)));
        check("12345678901.json", Some(Kind::Entry(12_345_678_901)));
        check("0000000003.7.tmp", Some(Kind::Unfinished(3)));
        for name in ["0000000000.json", "1.json", "00000000001.json", "+000000001.json", "0000000001.JSON"] {
            check(name, None);
        }
        for name in ["0000000001", "0000000001.tmp", "0000000001.x.tmp", "0000000001.json~", ".gitignore", ""]
        {
            check(name, None);
        }
    }
}
