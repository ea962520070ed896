//! A disk of the operating system that counts, fills up and fails as it is told.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use affinity_log::embedded::{Disk, Fill, LogFile, OsDisk};

use super::owner::folder_bytes;

#[derive(Clone)]
pub(crate) struct OddDisk {
    disk: OsDisk,
    folder: PathBuf,
    orders: Arc<Orders>,
}

struct Orders {
    read: AtomicU64,
    /// Bytes that all files together may have.
    capacity: AtomicU64,
    fail_syncs: AtomicBool,
    deny_listing: AtomicBool,
}

impl OddDisk {
    pub(crate) fn new(folder: &Path) -> OddDisk {
        let orders = Orders {
            read: AtomicU64::new(0),
            capacity: AtomicU64::new(u64::MAX),
            fail_syncs: AtomicBool::new(false),
            deny_listing: AtomicBool::new(false),
        };
        OddDisk { disk: OsDisk::new(folder).unwrap(), folder: folder.into(), orders: Arc::new(orders) }
    }

    /// Bytes read since this was asked last.
    pub(crate) fn take_read(&self) -> u64 {
        self.orders.read.swap(0, Ordering::SeqCst)
    }

    /// Leaves room for so many more bytes; for all there are if `None`.
    pub(crate) fn set_room(&self, more: Option<u64>) {
        let capacity = more.map_or(u64::MAX, |more| folder_bytes(&self.folder) + more);
        self.orders.capacity.store(capacity, Ordering::SeqCst);
    }

    /// Has every sync of a journal segment fail, or work again.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.orders.fail_syncs.store(fail, Ordering::SeqCst);
    }

    pub(crate) fn deny_listing(&self) {
        self.orders.deny_listing.store(true, Ordering::SeqCst);
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        let capacity = self.orders.capacity.load(Ordering::SeqCst);
        if capacity != u64::MAX && more > 0 && folder_bytes(&self.folder) + more > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn wrap(&self, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(OddFile { file, disk: self.clone() })
    }
}

impl Disk for OddDisk {
    fn place(&self) -> String {
        self.disk.place()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        if self.orders.deny_listing.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.room_for(1)?;
        Ok(self.wrap(self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.wrap(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock()
    }

    fn fresh_id(&self) -> io::Result<u128> {
        self.disk.fresh_id()
    }
}

struct OddFile {
    file: Arc<dyn LogFile>,
    disk: OddDisk,
}

impl LogFile for OddFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.disk.orders.read.fetch_add(buffer.len() as u64, Ordering::SeqCst);
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let grows = (position + bytes.len() as u64).saturating_sub(self.file.length()?);
        self.disk.room_for(grows)?;
        self.file.write_at(bytes, position)
    }

    fn allocate(&self, length: u64, fill: Fill) -> io::Result<()> {
        self.disk.room_for(length.saturating_sub(self.file.length()?))?;
        self.file.allocate(length, fill)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.orders.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk reports an error"));
        }
        self.file.sync()
    }
}
