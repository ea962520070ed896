//! Both backends keep the law of the contract.

use affinity_memstore::conformance::Subject;
use affinity_memstore::{MemoryStore, conformance_tests};

mod memory {
    use super::*;

    conformance_tests!(|limits| Subject::new(MemoryStore::new(limits), ()));
}

#[cfg(feature = "disk")]
mod disk {
    use super::*;
    use affinity_memstore::{Disk, DiskSettings, Facts, Limits};
    use affinity_types::{EventTime, Offset, TopicId};

    fn open(limits: Limits) -> Subject {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let (disk, _) = Disk::open(dir.path(), DiskSettings::default()).expect("a fresh folder");
        let facts = Facts {
            topic: TopicId(7),
            start: Offset(0),
            end: Offset(0),
            now: EventTime(0),
            delete_retention: None,
        };
        let opened = disk.open_store("p", limits, &facts).expect("a fresh store");
        Subject::new(opened.store, (disk, dir))
    }

    conformance_tests!(open);
}
