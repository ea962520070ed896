//! The file backend: the conformance suite, damage, strangers' files, and other processes that are killed.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod damage;
mod processes;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_registry::conformance::{Backend, Case};
use affinity_registry::{BoxFuture, FileRegistry, SchemaRegistry};

/// A folder; each handle reads it for itself, as processes do, or all are one.
struct Folder {
    folder: tempfile::TempDir,
    shared: Option<Mutex<FileRegistry>>,
}

impl Folder {
    fn new(shared: bool) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared.then(|| Mutex::new(FileRegistry::open(path(&folder)).unwrap()));
        Folder { folder, shared }
    }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("not/there/yet")
}

impl Backend for Folder {
    fn registry(&self) -> Arc<dyn SchemaRegistry> {
        match &self.shared {
            Some(registry) => Arc::new(registry.lock().unwrap().clone()),
            None => Arc::new(FileRegistry::open(path(&self.folder)).unwrap()),
        }
    }

    fn reopen(&self) -> BoxFuture<'_, bool> {
        if let Some(registry) = &self.shared {
            *registry.lock().unwrap() = FileRegistry::open(path(&self.folder)).unwrap();
        }
        Box::pin(std::future::ready(true))
    }
}

/// Runs a future to its end on one thread; one that hangs fails.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await }).expect("it hangs")
}

mod conformance {
    use super::{Case, Folder, block_on};

    mod by_one_process {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&Folder::new(true)));
        }
        affinity_registry::registry_conformance!(run);
    }

    mod by_several {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&Folder::new(false)));
        }
        affinity_registry::registry_conformance!(run);
    }
}
