//! What clients saw, and whether it can have been.
//!
//! Every operation on a key answers the whole list, so a history is linearizable exactly if all lists answered are
//! beginnings of the last one, ids are in it once, and what ended before another began is a beginning of that one's.

use std::collections::BTreeMap;

use crate::lists::Ids;

/// An operation that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) key: String,
    /// The id that it appended; a read appends none.
    pub(crate) appended: Option<u64>,
    pub(crate) ids: Ids,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// What was seen and what was asked.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) answered: Vec<Answered>,
    /// Appends that were refused for sure.
    pub(crate) never: Vec<(String, u64)>,
}

impl History {
    /// Holds the history against the lists as they are at last.
    ///
    /// # Panics
    /// If it cannot have been.
    pub(crate) fn check(&self, at_last: &BTreeMap<String, Ids>) {
        for (key, Ids(list)) in at_last {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), list.len(), "{key}: an effect twice in {list:?}");
            let mut of_key: Vec<_> = self.answered.iter().filter(|op| &op.key == key).collect();
            for op in &of_key {
                let seen = &op.ids.0;
                assert!(list.starts_with(seen), "{key}: {op:?} saw what is not so: {list:?}");
                if let Some(id) = op.appended {
                    assert!(seen.contains(&id), "{key}: {op:?} does not see its own effect");
                }
            }
            of_key.sort_by_key(|op| op.ended);
            // The longest list that was answered before a moment: whoever begins later sees at least that.
            let mut by_began = of_key.clone();
            by_began.sort_by_key(|op| op.began);
            let (mut ended, mut longest) = (0, 0);
            for op in by_began {
                while ended < of_key.len() && of_key[ended].ended < op.began {
                    longest = longest.max(of_key[ended].ids.0.len());
                    ended += 1;
                }
                let seen = op.ids.0.len() - usize::from(op.appended.is_some());
                let seen =
                    op.appended.map_or(seen, |id| op.ids.0.iter().position(|i| *i == id).unwrap_or(seen));
                assert!(
                    seen >= longest,
                    "{key}: {op:?} does not see what {longest} others had been answered"
                );
            }
            for (_, id) in self.never.iter().filter(|(k, _)| k == key) {
                assert!(!list.contains(id), "{key}: {id} was refused and is in {list:?}");
            }
        }
    }
}
