//! Indices: building them, watching their keys, and looking after them.

use std::ops::ControlFlow;
use std::task::Context;

use affinity_memstore::{At, Scan};
use affinity_state::IndexWatch;
use affinity_state::indices::split_entry;
use affinity_types::{Sequence, Version};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::Owner;
#[cfg(feature = "mutants")]
use super::Protection;
use super::reads::HeldAnswer;
use crate::message::IndexWatched;
use crate::{Failure, Partition, Reply};

impl<P: Partition> Owner<P> {
    /// Compares each index that is built with its function of the values; says how many entries there are, or what is wrong.
    /// Reads everything.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn verify_indices(&self) -> affinity_state::Result<Result<usize, String>> {
        self.state.indices().verify(self.state.memstore())
    }

    /// Goes on building and dropping indices, one step a poll.
    pub(super) fn build_indices(&mut self, cx: &mut Context<'_>) {
        #[cfg(feature = "mutants")]
        if self.removed(Protection::IndexInBatch)
            && let Err(error) = self.state.with_late_entries()
        {
            self.break_down(&error);
        }
        if self.broken.is_some() || !self.state.indices().has_work() {
            return;
        }
        match self.state.build_indices(self.settings.index_step_max) {
            Ok(()) => cx.waker().wake_by_ref(),
            Err(error) => self.break_down(&error),
        }
    }

    /// Begins a watch of an index key with those who have it in the memstore: what has landed is there first, and what comes
    /// later is told.
    pub(super) fn watch_index(
        &mut self,
        name: &'static str,
        prefix: &Bytes,
        saw: Option<Sequence>,
        reply: oneshot::Sender<Reply<IndexWatched, P::Error>>,
    ) {
        self.settle();
        if self.epoch().is_none() {
            return drop(reply.send(Err(Failure::Unavailable)));
        }
        let began = match self.keys_of_index(name, prefix) {
            Ok((index, keys)) => match self.watches.watch(index, prefix, Version::default()) {
                Some(watch) => Ok(IndexWatched { keys, watch: IndexWatch::new(watch) }),
                None => Err(Failure::Overloaded),
            },
            Err(failure) => Err(failure),
        };
        match began {
            Ok(watched) => self.hold(saw, HeldAnswer::Index(reply, watched)),
            Err(failure) => drop(reply.send(Err(failure))),
        }
    }

    /// The store of an index, and the keys whose entries begin with a prefix.
    fn keys_of_index(
        &mut self,
        name: &'static str,
        prefix: &Bytes,
    ) -> Result<(affinity_memstore::StoreId, Vec<Bytes>), Failure<P::Error>> {
        let now = self.tick();
        let index = self.state.indices().get(name);
        let index = index.ok_or(Failure::Invalid("the keyspace has no such index"))?;
        if !index.is_ready() {
            return Err(Failure::IndexBuilding { index: name });
        }
        let (mut keys, most) = (Vec::new(), self.settings.index_watch_keys_max);
        let scanned =
            self.state.memstore().scan(At::Newest, &Scan::prefix(index.id(), prefix), &mut |entry, value| {
                if value.expires().is_none_or(|expires| expires > now) {
                    keys.extend(split_entry(entry).map(|(_, key)| Bytes::copy_from_slice(key)));
                }
                if keys.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        scanned.map_err(|error| Failure::Corrupt(error.to_string()))?;
        if keys.len() > most {
            return Err(Failure::Invalid("more keys have the index key than a watch of it begins with"));
        }
        Ok((index.id(), keys))
    }
}
