//! Clients: they read, append, append on a condition, retry under one id, and watch.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use affinity_keyspace::{Failure, Handle, Reply, WatchReceiver, Watched};
use affinity_state::Update;
use affinity_types::codec::Decode;
use affinity_types::{Clock, RequestId, Version};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::history::Answered;
use crate::lists::{Append, Ids, Lists, Refusal, Seen};
use crate::world::{KEYS, NODES, World};

/// An append, and how it has fared so far.
struct Try {
    append: Append,
    request: Option<RequestId>,
    began: u64,
    /// It may have been done already.
    unknown: bool,
}

/// What a client waits for.
enum Asked {
    Nothing,
    Append(Try, Answer),
    Read {
        key: String,
        began: u64,
        reply: Answer,
    },
    /// To ask again under the same id.
    Again(Try),
}

type Answer = oneshot::Receiver<Reply<Seen, Refusal>>;

pub(crate) struct Client {
    number: usize,
    asked: Asked,
    requests: u64,
    versions: BTreeMap<String, Version>,
    watch: Option<Watching>,
}

impl Client {
    pub(crate) fn new(number: usize) -> Client {
        Client { number, asked: Asked::Nothing, requests: 0, versions: BTreeMap::new(), watch: None }
    }

    pub(crate) fn waits(&self) -> bool {
        !matches!(self.asked, Asked::Nothing)
    }
}

struct Watching {
    key: String,
    last: Option<Version>,
    ids: Ids,
    state: WatchState,
}

enum WatchState {
    Asked(WatchReceiver<Lists>),
    Watching(Watched),
}

impl World {
    pub(crate) fn client(&mut self, c: usize) {
        self.watching(c);
        let client = &mut self.clients[c];
        match std::mem::replace(&mut client.asked, Asked::Nothing) {
            Asked::Nothing => self.ask(c),
            Asked::Again(again) => {
                self.counts.retried += 1;
                self.send(c, again);
            }
            Asked::Append(tried, mut reply) => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => client.asked = Asked::Append(tried, reply),
                Err(oneshot::error::TryRecvError::Closed) => self.failed(c, tried, None),
                Ok(Err(failure)) => self.failed(c, tried, Some(&failure)),
                Ok(Ok(seen)) => {
                    let Try { append, began, .. } = tried;
                    self.answered(append.key, Some(append.id), seen, began);
                }
            },
            Asked::Read { key, began, mut reply } => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => client.asked = Asked::Read { key, began, reply },
                Ok(Ok(seen)) => {
                    client.versions.extend(seen.version.map(|version| (key.clone(), version)));
                    self.answered(key, None, seen, began);
                }
                _ => {}
            },
        }
    }

    fn answered(&mut self, key: String, appended: Option<u64>, seen: Seen, began: u64) {
        self.counts.answered += 1;
        let ended = self.time.micros();
        self.history.answered.push(Answered { key, appended, ids: seen.ids, began, ended });
    }

    /// An append was not answered with a list.
    fn failed(&mut self, c: usize, mut tried: Try, failure: Option<&Failure<Refusal>>) {
        match failure {
            None | Some(Failure::Unknown) => {
                self.counts.unknown += 1;
                tried.unknown = true;
            }
            // It may have been applied long ago: nobody knows any more.
            Some(Failure::RequestExpired) => return,
            Some(
                Failure::Panicked
                | Failure::Conflict
                | Failure::Invalid(_)
                | Failure::Corrupt(_)
                | Failure::Handler(Refusal::Torn),
            ) => panic!("client {c}: {:?} under {:?}: {failure:?}", tried.append, tried.request),
            Some(_) => self.counts.refused += 1,
        }
        let decided = matches!(failure, Some(Failure::Handler(_)));
        if tried.request.is_some() && !decided {
            self.clients[c].asked = Asked::Again(tried);
        } else if !tried.unknown {
            self.history.never.push((tried.append.key, tried.append.id));
        }
    }

    /// A node that may be master, or any.
    fn somebody(&mut self) -> Option<Handle<Lists>> {
        let serving: Vec<usize> = (0..NODES)
            .filter(|n| self.nodes[*n].running.as_ref().is_some_and(|r| r.1.status().serving.is_some()))
            .collect();
        let n = if serving.is_empty() || self.random.once_in(5) {
            self.random.index(NODES)
        } else {
            serving[self.random.index(serving.len())]
        };
        Some(self.nodes[n].running.as_ref()?.1.clone())
    }

    fn ask(&mut self, c: usize) {
        let began = self.time.micros();
        let key = format!("k{}", self.random.below(KEYS));
        if self.random.once_in(2) {
            let (send, reply) = oneshot::channel();
            let Some(handle) = self.somebody() else { return };
            if handle.query(key.clone(), None, send).is_ok() {
                self.clients[c].asked = Asked::Read { key, began, reply };
            }
            return;
        }
        if self.random.once_in(6) && self.clients[c].watch.is_none() {
            self.watch(c, key);
            return;
        }
        self.next_id += 1;
        let known = self.clients[c].versions.get(&key).copied();
        let version = known.filter(|_| self.random.once_in(3));
        let append = Append { key, id: self.next_id, version };
        let request = self.random.once_in(2).then(|| {
            let client = &mut self.clients[c];
            client.requests += 1;
            let issued = Some(self.nodes[0].clock.now());
            RequestId { client: 1 + client.number as u128, sequence: client.requests, issued }
        });
        self.send(c, Try { append, request, began, unknown: false });
    }

    fn send(&mut self, c: usize, tried: Try) {
        let (send, reply) = oneshot::channel();
        let Some(handle) = self.somebody() else { return };
        let sent = handle.command(tried.append.clone(), tried.request, None, Some(send));
        self.clients[c].asked = match sent {
            Ok(()) => Asked::Append(tried, reply),
            Err(_) if tried.request.is_some() => Asked::Again(tried),
            Err(_) => Asked::Nothing,
        };
    }

    fn watch(&mut self, c: usize, key: String) {
        let Some(handle) = self.somebody() else { return };
        if let Ok(reply) = handle.begin_watch("lists", Bytes::from(key.clone())) {
            let state = WatchState::Asked(reply);
            self.clients[c].watch = Some(Watching { key, last: None, ids: Ids::default(), state });
        }
    }

    fn watching(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some(mut watching) = client.watch.take() else { return };
        if let WatchState::Asked(reply) = &mut watching.state {
            match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(Ok(watched)) => {
                    watching.see(&watched.current);
                    watching.state = WatchState::Watching(watched);
                }
                _ => return,
            }
        }
        if let WatchState::Watching(watched) = &mut watching.state {
            let mut updates = Vec::new();
            let mut ended = false;
            while let Poll::Ready(update) = watched.watch.poll_next(&mut Context::from_waker(Waker::noop())) {
                match update {
                    Ok(update) => updates.push(update),
                    Err(_) => {
                        ended = true;
                        break;
                    }
                }
            }
            for update in updates {
                self.counts.watched += 1;
                watching.see(&update);
            }
            if ended {
                return;
            }
        }
        client.watch = Some(watching);
    }
}

impl Watching {
    /// Versions rise, and what is seen grows.
    fn see(&mut self, update: &Update) {
        let Update::Value { value, version } = update else { panic!("nobody sends events") };
        let ids = value.as_ref().map(|bytes| Ids::decode(bytes).unwrap()).unwrap_or_default();
        if let Some(last) = self.last {
            assert!(*version > last, "{}: version {version} after {last}", self.key);
        }
        assert!(ids.0.starts_with(&self.ids.0), "{}: {ids:?} after {:?}", self.key, self.ids);
        (self.last, self.ids) = (Some(*version), ids);
    }
}
