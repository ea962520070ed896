//! What a run has come across.

/// Counts that show whether the runs are vacuous.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Deletions answered.
    pub(crate) deleted: u64,
    pub(crate) promotions: u64,
    pub(crate) crashes: u64,
    /// Restarts with a store that stands where it stood.
    pub(crate) kept: u64,
    /// Restarts with a store that stands further back.
    pub(crate) fell_back: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) retried: u64,
    /// Records that compaction took.
    pub(crate) compacted: u64,
    /// Updates that watchers were told.
    pub(crate) watched: u64,
    /// Events among them.
    pub(crate) events: u64,
    /// Answers for which something had expired.
    pub(crate) expired: u64,
    /// Watches that lived when all was over.
    pub(crate) watched_to_the_end: u64,
    pub(crate) strangers: u64,
    /// Elections that reached the coordinator late.
    pub(crate) delayed: u64,
    /// Backups that the coordinator was restored from, or losses of all it knew.
    pub(crate) restored: u64,
    /// Entries of indices that were compared with the values at the end.
    pub(crate) indexed: u64,
    /// Updates that a watcher of an index key was told.
    pub(crate) entries: u64,
    /// Such watches that lived when all was over.
    pub(crate) entries_to_the_end: u64,
    /// Changes that listeners heard.
    pub(crate) heard: u64,
    /// What became of effects.
    pub(crate) effects: u64,
    /// Delayed effects that came.
    pub(crate) delayed_effects: u64,
    /// Delayed effects that were cancelled before their time.
    pub(crate) cancelled: u64,
    /// Scans that came to their end, and that did not.
    pub(crate) scans: u64,
    pub(crate) scans_failed: u64,
    /// Restarts that found an index of another version.
    pub(crate) rebuilt: u64,
}

impl Counts {
    fn numbers(&mut self) -> [&mut u64; 27] {
        [
            &mut self.answered,
            &mut self.deleted,
            &mut self.promotions,
            &mut self.crashes,
            &mut self.kept,
            &mut self.fell_back,
            &mut self.unknown,
            &mut self.refused,
            &mut self.retried,
            &mut self.compacted,
            &mut self.watched,
            &mut self.events,
            &mut self.expired,
            &mut self.watched_to_the_end,
            &mut self.strangers,
            &mut self.delayed,
            &mut self.restored,
            &mut self.indexed,
            &mut self.entries,
            &mut self.entries_to_the_end,
            &mut self.heard,
            &mut self.effects,
            &mut self.delayed_effects,
            &mut self.cancelled,
            &mut self.rebuilt,
            &mut self.scans,
            &mut self.scans_failed,
        ]
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        let mut other = *other;
        self.numbers().into_iter().zip(other.numbers()).for_each(|(mine, theirs)| *mine += *theirs);
    }

    pub(crate) fn each_at_least(mut self, least: u64) -> bool {
        self.numbers().into_iter().all(|number| *number >= least)
    }
}
