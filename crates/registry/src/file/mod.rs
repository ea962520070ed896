//! The file backend: a registry in a folder that several processes share.
//!
//! The folder is a log: entry after entry, each a file that is never written again ([`folder`], [`entry`]). What is registered is what the
//! entries make of nothing. Whoever wants to add one reads all that are there, decides, and adds the next number; where
//! another process was faster it begins again. There is no lock: a process that is stopped or killed at any point holds nobody up.
//!
//! Nobody is told of an entry before the folder is synced, by whoever tells: an id that is in frames must not be lost with the power and
//! given again.

mod entry;
mod folder;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use affinity_avro::{Compatibility, Schema};

use self::folder::{Folder, corrupt};
use crate::catalog::{Catalog, Change, Decision};
use crate::{BoxFuture, Error, ErrorKind, Registered, SchemaId, SchemaRegistry, SchemaVersion, Subject};

/// Times that others may be faster in one call.
const RACES_MAX: u32 = 10_000;

/// A registry in a folder. A clone is another handle to the same one; any number of them, in any number of processes, may have the
/// same folder. It needs a file system with hard links that all of them see alike, as local ones are.
///
/// Ids are 1, 2, 3 and so on, in the order of registering. The folder is meant to be kept and copied with the data: entries are
/// lines of JSON, and a copy of the folder is the registry. What was told before is answered without the disk.
#[derive(Clone)]
pub struct FileRegistry(Arc<Mutex<State>>);

struct State {
    folder: Folder,
    catalog: Catalog,
    /// Entries in the catalog.
    entries: u64,
    /// The checksum of the last of them.
    last: u32,
}

impl FileRegistry {
    /// The registry in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// `Corrupt`, with the name of the file and the reason, if there is anything in it that no registry has written, or an entry is
    /// torn, changed, missing or of a later format; `Unavailable` if the disk refuses.
    pub fn open(folder: impl Into<PathBuf>) -> Result<FileRegistry, Error> {
        let folder = Folder::create(folder.into())?;
        let listing = folder.list()?;
        let mut state = State { folder, catalog: Catalog::default(), entries: 0, last: 0 };
        state.load()?;
        if listing.last > state.entries {
            let missing = state.folder.entry(state.entries + 1);
            let why = format!("it is missing, and entry {} is there", listing.last);
            return Err(corrupt(&missing, &why));
        }
        state.folder.tidy(&listing, state.entries);
        Ok(FileRegistry(Arc::new(Mutex::new(state))))
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        act: impl FnOnce(&mut State) -> Result<T, Error> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async { act(&mut self.0.lock().expect("nobody panics under the lock")) })
    }
}

impl fmt::Debug for FileRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRegistry").finish_non_exhaustive()
    }
}

impl State {
    /// Takes in what was added since.
    fn load(&mut self) -> Result<(), Error> {
        let mut found = Vec::new();
        loop {
            let number = self.entries + found.len() as u64 + 1;
            let Some(bytes) = self.folder.read(number)? else { break };
            let parsed = entry::parse(number, &bytes);
            found.push(parsed.map_err(|why| corrupt(&self.folder.entry(number), &why))?);
        }
        if found.is_empty() {
            return Ok(());
        }
        self.folder.sync()?;
        for (change, checksum) in found {
            let path = self.folder.entry(self.entries + 1);
            self.catalog.apply(change).map_err(|why| corrupt(&path, &why))?;
            self.entries += 1;
            self.last = checksum;
        }
        Ok(())
    }

    /// Makes the change that `decide` wants by what is there, if any. It is asked again where another process was faster.
    fn commit(&mut self, decide: impl Fn(&Catalog) -> Result<Option<Change>, Error>) -> Result<(), Error> {
        self.load()?;
        for _ in 0..RACES_MAX {
            let Some(change) = decide(&self.catalog)? else { return Ok(()) };
            self.is_still_ours()?;
            let number = self.entries + 1;
            let is_ours = self.folder.append(number, &entry::write(number, &change))?;
            let loaded = self.load();
            if is_ours {
                return loaded.map_err(|error| {
                    let message = format!("entry {number} was written, and cannot be read or kept: {error}");
                    Error::new(ErrorKind::Unknown, message).caused_by(error)
                });
            }
            loaded?;
            if self.entries < number {
                let path = self.folder.entry(number);
                let message = format!("{} cannot be made, and is not there", path.display());
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
        let message = format!("other processes were faster {RACES_MAX} times");
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Nothing is added to a folder that was emptied or replaced under our hands: its next id is one that we have told.
    fn is_still_ours(&self) -> Result<(), Error> {
        if self.entries == 0 {
            return Ok(());
        }
        let there = self.folder.read(self.entries)?;
        let checksum = there.and_then(|bytes| entry::parse(self.entries, &bytes).ok()).map(|(_, sum)| sum);
        if checksum == Some(self.last) {
            return Ok(());
        }
        Err(corrupt(&self.folder.entry(self.entries), "it is gone, or another than it was a while ago"))
    }

    fn register(&mut self, subject: &Subject, schema: &Schema) -> Result<Registered, Error> {
        if let Some(known) = self.catalog.find(subject, schema)? {
            return Ok(known);
        }
        self.commit(|catalog| match catalog.decide(subject, schema)? {
            Decision::Known(_) => Ok(None),
            Decision::Add(change) => Ok(Some(change)),
        })?;
        let found = self.catalog.find(subject, schema)?;
        found.ok_or_else(|| Error::new(ErrorKind::Unknown, "what was registered is not there"))
    }
}

impl SchemaRegistry for FileRegistry {
    fn register<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Registered, Error>> {
        self.call(|state| state.register(subject, schema))
    }

    fn check<'a>(&'a self, subject: &'a Subject, schema: &'a Schema) -> BoxFuture<'a, Result<(), Error>> {
        self.call(|state| {
            state.load()?;
            state.catalog.decide(subject, schema).map(drop)
        })
    }

    fn schema(&self, id: SchemaId) -> BoxFuture<'_, Result<Option<Schema>, Error>> {
        self.call(move |state| {
            if state.catalog.schema(id).is_none() {
                state.load()?;
            }
            Ok(state.catalog.schema(id).cloned())
        })
    }

    fn find<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.call(|state| {
            if let Some(known) = state.catalog.find(subject, schema)? {
                return Ok(Some(known));
            }
            state.load()?;
            state.catalog.find(subject, schema)
        })
    }

    fn version<'a>(
        &'a self,
        subject: &'a Subject,
        version: SchemaVersion,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.call(move |state| {
            if let Some(known) = state.catalog.version(subject, version) {
                return Ok(Some(known));
            }
            state.load()?;
            Ok(state.catalog.version(subject, version))
        })
    }

    fn latest<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.call(|state| {
            state.load()?;
            Ok(state.catalog.latest(subject))
        })
    }

    fn versions<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<SchemaVersion>, Error>> {
        self.call(|state| {
            state.load()?;
            Ok(state.catalog.versions(subject))
        })
    }

    fn compatibility<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Compatibility, Error>> {
        self.call(|state| {
            state.load()?;
            Ok(state.catalog.level(subject))
        })
    }

    fn set_compatibility<'a>(
        &'a self,
        subject: &'a Subject,
        level: Compatibility,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.call(move |state| state.commit(|catalog| Ok(catalog.decide_level(subject, level))))
    }
}
