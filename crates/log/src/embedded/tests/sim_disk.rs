//! A disk in memory that forgets what was not synced.
//!
//! Files have two contents: what the page cache shows, and what is on the platter. A sync brings the writes since the
//! last one to the platter; a failed sync brings some of them there and calls all of them clean, as Linux does, so that
//! the page cache shows what is not on the disk. A crash leaves the platter and, of each write that was not synced, any of
//! its sectors; of the names changed since they were last synced, a beginning or any part.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Random;
use crate::embedded::disk::{Disk, Fill, LogFile};

const SECTOR: usize = 512;

#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

struct State {
    files: Vec<SimFile>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    random: Random,
    calls: u64,
    /// The call at which the machine stops; every call from there on fails.
    crash_at: u64,
    /// Chance in a thousand that a sync fails.
    sync_failures: u64,
    /// Bytes that fit on the disk.
    capacity: usize,
}

#[derive(Clone, Default)]
struct SimFile {
    cached: Vec<u8>,
    platter: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
            NameChange::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl SimFile {
    fn write(content: &mut Vec<u8>, position: usize, bytes: &[u8]) {
        if content.len() < position + bytes.len() {
            content.resize(position + bytes.len(), 0);
        }
        content[position..position + bytes.len()].copy_from_slice(bytes);
    }

    /// Brings the sectors of the unsynced writes that `reaches` picks to the platter.
    fn settle(&mut self, mut reaches: impl FnMut() -> bool) {
        for (position, bytes) in std::mem::take(&mut self.unsynced) {
            let mut at = 0;
            while at < bytes.len() {
                let sector_end = ((position + at) / SECTOR + 1) * SECTOR - position;
                let end = sector_end.min(bytes.len());
                if reaches() {
                    SimFile::write(&mut self.platter, position + at, &bytes[at..end]);
                }
                at = end;
            }
        }
    }
}

impl SimDisk {
    pub(super) fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            random: Random(seed),
            calls: 0,
            crash_at: u64::MAX,
            sync_failures: 0,
            capacity: usize::MAX,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Stops the machine `calls` calls from now.
    pub(super) fn crash_in(&self, calls: u64) {
        let mut state = self.state();
        state.crash_at = state.calls + calls;
    }

    pub(super) fn crashed(&self) -> bool {
        let state = self.state();
        state.calls >= state.crash_at
    }

    pub(super) fn set_sync_failures(&self, per_thousand: u64) {
        self.state().sync_failures = per_thousand;
    }

    /// Lets `more` bytes be added to what is there.
    pub(super) fn set_room(&self, more: Option<usize>) {
        let mut state = self.state();
        let used = state.used();
        state.capacity = more.map_or(usize::MAX, |more| used + more);
    }

    /// What the next start of the machine finds.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        let State { files, durable_names, name_changes, random, .. } = &mut *state;
        let share = [0, 50, 50, 100][usize::try_from(random.below(4)).unwrap()];
        for file in files.iter_mut() {
            file.settle(|| random.below(100) < share);
            file.cached.clone_from(&file.platter);
        }
        let changes = std::mem::take(name_changes);
        let prefix =
            random.once_in(2).then(|| usize::try_from(random.below(changes.len() as u64 + 1)).unwrap());
        for (i, change) in changes.iter().enumerate() {
            if prefix.map_or_else(|| random.once_in(2), |prefix| i < prefix) {
                change.apply(durable_names);
            }
        }
        state.names = state.durable_names.clone();
        (state.crash_at, state.sync_failures, state.capacity) = (u64::MAX, 0, usize::MAX);
    }

    /// Flips one bit of one file and answers which.
    pub(super) fn flip(&self, random: &mut Random) -> Option<(String, usize)> {
        let mut state = self.state();
        let names: Vec<_> = state.names.iter().map(|(name, file)| (name.clone(), *file)).collect();
        let (name, file) = names[usize::try_from(random.below(names.len() as u64)).unwrap()].clone();
        let content = &mut state.files[file];
        let written = content.platter.iter().rposition(|byte| *byte != 0)? + 1;
        let at = usize::try_from(random.below(written as u64)).unwrap();
        content.platter[at] ^= 1 << random.below(8);
        content.cached.clone_from(&content.platter);
        Some((name, at))
    }
}

impl State {
    /// Counts a call; from the crash on there are none.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.calls > self.crash_at { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].cached.len()).sum()
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

impl Disk for SimDisk {
    fn place(&self) -> String {
        "simulated".into()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.call()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut state = self.state();
        state.call()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(SimFile::default());
        let file = state.files.len() - 1;
        state.change_name(NameChange::Create(name.into(), file));
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut state = self.state();
        state.call()?;
        let file = state.file(name)?;
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let file = state.file(from)?;
        state.change_name(NameChange::Rename(from.into(), to.into(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.file(name)?;
        state.change_name(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }

    fn fresh_id(&self) -> io::Result<u128> {
        Ok(u128::from(self.state().random.next()))
    }
}

struct Handle {
    disk: SimDisk,
    file: usize,
}

impl LogFile for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        let position = usize::try_from(position).unwrap();
        let content = state.files[self.file].cached.get(position..position + buffer.len());
        buffer.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let position = usize::try_from(position).unwrap();
        let grows = (position + bytes.len()).saturating_sub(state.files[self.file].cached.len());
        if state.used() + grows > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let alive = state.call();
        if alive.is_ok() || state.calls == state.crash_at + 1 {
            // The call in which the machine stops may have done its work or not: it is one more unsynced write.
            let file = &mut state.files[self.file];
            SimFile::write(&mut file.cached, position, bytes);
            file.unsynced.push((position, bytes.to_vec()));
        }
        alive
    }

    fn allocate(&self, length: u64, _: Fill) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        let length = usize::try_from(length).unwrap();
        let grows = length.saturating_sub(state.files[self.file].cached.len());
        if state.used() + grows > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut state.files[self.file];
        file.cached.resize(length, 0);
        file.platter.resize(length, 0);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        let length = usize::try_from(length).unwrap();
        let file = &mut state.files[self.file];
        file.cached.truncate(length);
        file.platter.truncate(length);
        file.unsynced.retain(|(position, bytes)| position + bytes.len() <= length);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let State { files, random, sync_failures, .. } = &mut *state;
        let fails = random.below(1000) < *sync_failures;
        if fails {
            files[self.file].settle(|| random.once_in(2));
            state.call()?;
            return Err(io::Error::other("the disk reports an error"));
        }
        state.call()?;
        state.files[self.file].settle(|| true);
        Ok(())
    }
}
