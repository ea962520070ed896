//! Compaction and restarts, many times over.

use super::owner::{Owner, SEGMENT, compacted, create, open, read};

#[tokio::test]
async fn the_newest_of_every_key_outlives_compaction_and_restart() {
    const KEYS: usize = 7;
    let folder = tempfile::tempdir().unwrap();
    let mut end = 0;
    for epoch in 1..=4u16 {
        let log = open(folder.path());
        let place = create(&log, 2, compacted()).await.remove(1);
        let mut owner = Owner::take_over(&log, &place, epoch.into()).await;
        end += 1;
        let length = 500 + usize::from(epoch);
        for n in 0..1500 {
            assert_eq!(owner.put(&format!("k{}", n % KEYS), vec![7; length]).await.0, end);
            end += 1;
        }
        if epoch == 3 {
            log.compact().unwrap();
        }
        let found = read(&log, &place).await;
        assert_eq!(found.last().unwrap().offset, end - 1);
        let newest: Vec<_> = found.iter().rev().take(KEYS).collect();
        for k in 0..KEYS {
            let key = format!("k{k}");
            let value = newest.iter().find(|found| found.key == key).and_then(|found| found.value.as_ref());
            assert_eq!(value.map(Vec::len), Some(length), "{key}");
        }
        if epoch == 3 {
            assert!(found.len() < 20, "{} records are left", found.len());
            let usage = log.usage();
            assert!(usage.journal + usage.sorted < 3 * u64::from(SEGMENT), "{usage:?}");
        }
        log.close();
    }
}
