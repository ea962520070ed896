//! The files underneath, behind a small trait, so that a test can crash, tear and reorder what was not synced.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

/// One folder of files. Names have no separators. What a call did survives a crash only as the calls say.
pub trait Disk: Send + Sync + 'static {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Names of all files.
    ///
    /// # Errors
    /// As the operating system says, here and below.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file. Its name survives a crash after [`sync_names`](Disk::sync_names).
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// An existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Renames a file, over another one if need be, as one step. Survives a crash after `sync_names`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name; who has it open goes on. Survives a crash after `sync_names`.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals before it durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Takes the folder for this process until the guard is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody has it.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// A random number that no other folder has.
    fn fresh_id(&self) -> io::Result<u128>;
}

/// How [`LogFile::allocate`] makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Only claim the space: at once, but the first write to each place costs the file system a change of its own.
    Reserve,
    /// Write zeros: slow, for the background; later writes change data only.
    Zeros,
}

/// One file.
pub trait LogFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `position` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before, and as the operating system says, here and below.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `position`; durable after [`sync`](LogFile::sync).
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Extends the file to `length` bytes with space on the disk behind it.
    fn allocate(&self, length: u64, fill: Fill) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes all writes before it durable, and the length.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system's file system.
#[derive(Clone, Debug)]
pub struct OsDisk {
    folder: PathBuf,
}

impl OsDisk {
    /// The folder at `path`; made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(path: &Path) -> io::Result<OsDisk> {
        fs::create_dir_all(path)?;
        Ok(OsDisk { folder: path.to_path_buf() })
    }
}

const LOCK: &str = "lock";

/// The lock's file. To close it is not enough: a process that is just being forked off may have it too.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Disk for OsDisk {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names =
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.filter(|name| !matches!(name, Ok(name) if name == LOCK)).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.folder.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.folder.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let path = self.folder.join(LOCK);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(Lock(file)))
    }

    fn fresh_id(&self) -> io::Result<u128> {
        let mut id = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut id)?;
        Ok(u128::from_le_bytes(id))
    }
}

impl LogFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.read_exact_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn allocate(&self, length: u64, fill: Fill) -> io::Result<()> {
        const CHUNK: u64 = 1 << 20;
        fallocate(self, FallocateFlags::empty(), 0, length)?;
        if fill == Fill::Zeros {
            let zeros = vec![0; 1 << 20];
            let mut position = 0;
            while position < length {
                let size = CHUNK.min(length - position);
                self.write_all_at(&zeros[..usize::try_from(size).expect("a chunk")], position)?;
                position += size;
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
