//! A watcher of an index key, who keeps the set of those who have it by what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

use affinity_keyspace::IndexWatchReceiver;
use affinity_state::{IndexUpdate, IndexWatch};
use affinity_types::codec::Decode;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::lists::{BY_PARITY, Lists, Seen, parity};
use crate::world::World;

/// Who watches the lists of an odd length.
pub(crate) struct Entries {
    /// The node that tells.
    node: usize,
    state: State,
}

enum State {
    Asked(IndexWatchReceiver<Lists>),
    Watching { odd: BTreeSet<String>, watch: IndexWatch },
}

fn text(key: &Bytes) -> String {
    String::decode(key).unwrap()
}

impl World {
    /// The watcher comes to see, or begins again.
    pub(crate) fn watch_entries(&mut self) {
        let Some(Entries { node, state }) = self.entries.take() else {
            let Some((node, handle)) = self.somebody() else { return };
            let asked = handle.begin_watch_index(&BY_PARITY, &1).ok();
            self.entries = asked.map(|reply| Entries { node, state: State::Asked(reply) });
            return;
        };
        let state = match state {
            State::Asked(mut reply) => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => State::Asked(reply),
                Ok(Ok(watched)) => {
                    let odd = watched.keys.iter().map(text).collect();
                    State::Watching { odd, watch: watched.watch }
                }
                _ => return,
            },
            State::Watching { mut odd, mut watch } => {
                while let Poll::Ready(update) = watch.poll_next(&mut Context::from_waker(Waker::noop())) {
                    let Ok(update) = update else { return };
                    self.trace.note(format_args!("the watcher of odd lists is told {update:?}"));
                    self.counts.entries += 1;
                    match update {
                        IndexUpdate::Entered(key) => assert!(odd.insert(text(&key)), "{key:?} enters twice"),
                        IndexUpdate::Left(key) => assert!(odd.remove(&text(&key)), "{key:?} leaves twice"),
                    }
                }
                State::Watching { odd, watch }
            }
        };
        self.entries = Some(Entries { node, state });
    }

    /// If it still watches, it was told all that happened.
    pub(crate) fn check_entries(&mut self, leader: usize, at_last: &BTreeMap<String, Seen>) {
        if self.entries.is_some() {
            self.watch_entries();
        }
        // What follows a beginning that came only now.
        if self.entries.is_some() {
            self.watch_entries();
        }
        let Some(Entries { node, state: State::Watching { odd, .. } }) = &self.entries else { return };
        assert_eq!(*node, leader, "the watcher of odd lists is not told that it ended");
        let is_odd = |(key, seen): (&String, &Seen)| {
            (seen.trail.list().is_some_and(|list| parity(&list) == 1)).then(|| key.clone())
        };
        assert_eq!(
            *odd,
            at_last.iter().filter_map(is_odd).collect(),
            "the watcher of odd lists missed something"
        );
        self.counts.entries_to_the_end += 1;
    }
}
