//! Watchers, who come when they like and write down what they were told.

use std::task::{Context, Poll, Waker};

use affinity_keyspace::{WatchReceiver, Watched};
use affinity_state::Update;
use affinity_types::codec::Decode;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::history::{Told, WatchLog};
use crate::lists::{Event, FRESH, Ids, LISTS, Lists};
use crate::world::World;

pub(crate) struct Watching {
    /// The node that tells.
    pub(crate) node: usize,
    pub(crate) log: WatchLog,
    state: State,
}

enum State {
    Asked(WatchReceiver<Lists>),
    Watching(Watched),
    Ended,
}

impl Watching {
    pub(crate) fn lives(&self) -> bool {
        matches!(self.state, State::Watching(_))
    }

    /// Takes what there is to be told; says how much.
    fn take(&mut self) -> u64 {
        if let State::Asked(reply) = &mut self.state {
            match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(Ok(watched)) => {
                    self.log.told.push(told(&watched.current));
                    self.state = State::Watching(watched);
                }
                _ => self.state = State::Ended,
            }
        }
        let State::Watching(watched) = &mut self.state else { return 0 };
        let before = self.log.told.len();
        while let Poll::Ready(update) = watched.watch.poll_next(&mut Context::from_waker(Waker::noop())) {
            let Ok(update) = update else {
                self.state = State::Ended;
                break;
            };
            self.log.told.push(told(&update));
        }
        (self.log.told.len() - before) as u64
    }
}

fn told(update: &Update) -> Told {
    match update {
        Update::Value { value, version } => {
            Told::Value(value.as_ref().map(|bytes| Ids::decode(bytes).unwrap()), *version)
        }
        Update::Event(bytes) => Told::Event(Event::decode(bytes).unwrap()),
    }
}

impl World {
    pub(crate) fn watch(&mut self, c: usize, key: String) {
        let Some((node, handle)) = self.somebody() else { return };
        let fresh = self.random.once_in(3);
        let store = if fresh { FRESH.name() } else { LISTS.name() };
        if let Ok(reply) = handle.begin_watch(store, Bytes::from(key.clone())) {
            self.trace.note(format_args!("client {c} watches {store} {key} at node {node}"));
            let log = WatchLog { key, fresh, began: self.time.micros(), told: Vec::new() };
            self.clients[c].watch = Some(Watching { node, log, state: State::Asked(reply) });
        }
    }

    /// A watcher comes to see; one whose watch has ended lets go of it.
    pub(crate) fn look(&mut self, c: usize) {
        let Some(mut watching) = self.clients[c].watch.take() else { return };
        let before = watching.log.told.len();
        self.counts.watched += watching.take();
        for told in &watching.log.told[before..] {
            self.counts.events += u64::from(matches!(told, Told::Event(_)));
            self.trace.note(format_args!("client {c} is told of {}: {told:?}", watching.log.key));
        }
        if matches!(watching.state, State::Ended) {
            self.history.watches.push(watching.log);
        } else {
            self.clients[c].watch = Some(watching);
        }
    }

    /// A watcher goes away.
    pub(crate) fn stop_watching(&mut self, c: usize) {
        if let Some(watching) = self.clients[c].watch.take() {
            self.history.watches.push(watching.log);
        }
    }
}
