//! The barest group commit: a thread that writes what has gathered to a preallocated file and syncs it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::harness::Failure;

const FILE_BYTES: u64 = 256 << 20;

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    filled: Condvar,
}

/// A file that is written from its beginning again when it is full.
pub(crate) struct BareLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl BareLog {
    pub(crate) fn create(dir: &Path) -> Result<BareLog, Failure> {
        let file = File::create(dir.join("bare"))?;
        let zeros = vec![0; 1 << 20];
        for position in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(&zeros, position)?;
        }
        file.sync_all()?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("bare".into()).spawn(move || commit(&of_thread, &file))?;
        Ok(BareLog { shared, thread: Some(thread) })
    }

    /// Appends and tells when it is durable.
    pub(crate) fn append(&self, bytes: &[u8]) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut gathered = self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.bytes.extend_from_slice(bytes);
        gathered.waiting.push(sender);
        let first = gathered.waiting.len() == 1;
        drop(gathered);
        if first {
            self.shared.filled.notify_one();
        }
        receiver
    }
}

impl Drop for BareLog {
    fn drop(&mut self) {
        self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn commit(shared: &Shared, file: &File) {
    let mut position = 0;
    let mut mine = Gathered::default();
    loop {
        let mut gathered = shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        while gathered.waiting.is_empty() {
            if gathered.closed {
                return;
            }
            gathered = shared.filled.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut gathered.bytes, &mut mine.bytes);
        std::mem::swap(&mut gathered.waiting, &mut mine.waiting);
        drop(gathered);
        if position + mine.bytes.len() as u64 > FILE_BYTES {
            position = 0;
        }
        file.write_all_at(&mine.bytes, position).expect("the benchmark's disk can be written");
        file.sync_data().expect("the benchmark's disk can be synced");
        position += mine.bytes.len() as u64;
        mine.bytes.clear();
        for waiting in mine.waiting.drain(..) {
            let _ = waiting.send(());
        }
    }
}
