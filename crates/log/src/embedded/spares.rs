//! Files that wait to become segments: made in the background, or left over from a segment that was sorted. Writing into
//! one changes data only, so that a sync of it is as cheap as can be.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, Fill, LogFile};
use super::segment::Segment;

const PREFIX: &str = "spare-";

/// A file of a segment's length under a name of its own.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn LogFile>,
    /// Whether it was a segment before.
    pub(super) recycled: bool,
}

/// At most one spare.
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    length: u64,
    names: AtomicU64,
    kept: Mutex<Option<Spare>>,
}

impl Spares {
    pub(super) fn new(disk: Arc<dyn Disk>, length: u32) -> Spares {
        Spares { disk, length: length.into(), names: AtomicU64::new(0), kept: Mutex::new(None) }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Spare>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept().is_none()
    }

    fn name(&self) -> String {
        format!("{PREFIX}{:x}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    /// The spare, or a file made at once.
    pub(super) fn take(&self) -> io::Result<Spare> {
        let kept = self.kept().take();
        kept.map_or_else(|| self.make(Fill::Reserve), Ok)
    }

    /// Makes a spare if there is none.
    pub(super) fn fill(&self) -> io::Result<()> {
        let spare = self.make(Fill::Zeros)?;
        self.keep(spare);
        Ok(())
    }

    /// Removes the spare, if there is one; what cannot be removed now, the next opening removes.
    pub(super) fn discard(&self) {
        if let Some(spare) = self.kept().take() {
            let _ = self.disk.remove(&spare.name);
        }
    }

    fn make(&self, fill: Fill) -> io::Result<Spare> {
        let name = self.name();
        let file = self.disk.create(&name)?;
        let made = file.allocate(self.length, fill).and_then(|()| file.sync());
        if let Err(error) = made {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        Ok(Spare { name, file, recycled: false })
    }

    fn keep(&self, spare: Spare) {
        let mut kept = self.kept();
        match *kept {
            None => *kept = Some(spare),
            Some(_) => drop(self.disk.remove(&spare.name)),
        }
    }

    /// Keeps the file of a segment that is needed no more, if nobody reads it, or removes it. What cannot be removed
    /// now, the next opening removes.
    pub(super) fn retire(&self, segment: Arc<Segment>, name: &str) {
        let whole = segment.file.length().is_ok_and(|length| length == self.length);
        if let Some(segment) = Arc::try_unwrap(segment).ok().filter(|_| whole && self.is_empty()) {
            let spare = Spare { name: self.name(), file: segment.file, recycled: true };
            if self.disk.rename(name, &spare.name).is_ok() {
                return self.keep(spare);
            }
        }
        let _ = self.disk.remove(name);
    }

    /// Takes over what an earlier process left: one file of the right length is kept, others are removed.
    pub(super) fn adopt(&self, names: &BTreeSet<String>) -> io::Result<()> {
        for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
            let number = u64::from_str_radix(&name[PREFIX.len()..], 16).unwrap_or(0);
            self.names.fetch_max(number.saturating_add(1), Ordering::SeqCst);
            let file = self.disk.open(name)?;
            if self.is_empty() && file.length()? == self.length {
                self.keep(Spare { name: name.clone(), file, recycled: true });
            } else {
                self.disk.remove(name)?;
            }
        }
        Ok(())
    }
}
