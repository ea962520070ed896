//! Clients: they read, append, delete and send events, some of it on a condition, retry under one id, and watch.

use std::collections::BTreeMap;

use affinity_keyspace::{Condition, Failure, Handle, Reply};
use affinity_types::{Clock, RequestId};
use tokio::sync::oneshot;

use crate::history::Answered;
use crate::lists::{Act, Command, Lists, Refusal, Seen};
use crate::watching::Watching;
use crate::world::{KEYS, NODES, World};

/// A command, and how it has fared so far.
struct Try {
    command: Command,
    request: Option<RequestId>,
    began: u64,
    /// It may have been done already.
    unknown: bool,
}

/// What a client waits for.
enum Asked {
    Nothing,
    Command(Try, Answer),
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
    /// How lists were when they were read last.
    known: BTreeMap<String, Condition>,
    pub(crate) watch: Option<Watching>,
}

impl Client {
    pub(crate) fn new(number: usize) -> Client {
        Client { number, asked: Asked::Nothing, requests: 0, known: BTreeMap::new(), watch: None }
    }

    pub(crate) fn waits(&self) -> bool {
        !matches!(self.asked, Asked::Nothing)
    }
}

impl World {
    pub(crate) fn client(&mut self, c: usize) {
        self.look(c);
        if self.random.once_in(4) {
            self.watch_entries();
        }
        if self.random.once_in(3) {
            self.scan();
        }
        let client = &mut self.clients[c];
        match std::mem::replace(&mut client.asked, Asked::Nothing) {
            Asked::Nothing => self.ask(c),
            Asked::Again(again) => {
                self.counts.retried += 1;
                self.send(c, again);
            }
            Asked::Command(tried, mut reply) => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => client.asked = Asked::Command(tried, reply),
                Err(oneshot::error::TryRecvError::Closed) => self.failed(c, tried, None),
                Ok(Err(failure)) => self.failed(c, tried, Some(&failure)),
                Ok(Ok(seen)) => {
                    let Try { command, began, .. } = tried;
                    let effect = (command.act != Act::Tell).then_some(command.id);
                    self.counts.deleted += u64::from(command.act == Act::Delete);
                    self.count_expired(&seen);
                    let (key, ids, ended) = (command.key, seen.trail.ids(), self.time.micros());
                    self.answered(c, Answered { key, effect, ids, gone: seen.gone, began, ended });
                }
            },
            Asked::Read { key, began, mut reply } => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => client.asked = Asked::Read { key, began, reply },
                Ok(Ok(seen)) => {
                    let condition = seen.version.map_or(Condition::Absent, Condition::Version);
                    client.known.insert(key.clone(), condition);
                    self.count_expired(&seen);
                    let (ids, ended) = (seen.trail.ids(), self.time.micros());
                    self.answered(c, Answered { key, effect: None, ids, gone: seen.gone, began, ended });
                }
                Ok(Err(Failure::Handler(refusal))) => panic!("client {c}: reading {key}: {refusal}"),
                _ => {}
            },
        }
    }

    fn count_expired(&mut self, seen: &Seen) {
        let appended = seen.trail.0.last().is_some_and(|effect| !effect.deletes);
        self.counts.expired += u64::from(seen.gone && appended);
    }

    fn answered(&mut self, c: usize, answered: Answered) {
        self.counts.answered += 1;
        let Answered { key, effect, ids, gone, .. } = &answered;
        self.trace.note(format_args!("client {c} is answered: {key} {effect:?} {} {gone}", ids.len()));
        self.history.answered.push(answered);
    }

    /// A command was not answered with a trail.
    fn failed(&mut self, c: usize, mut tried: Try, failure: Option<&Failure<Refusal>>) {
        self.trace.note(format_args!("client {c}: {:?} {failure:?}", tried.command));
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
                | Failure::NotUnique { .. }
                | Failure::Handler(Refusal::Torn | Refusal::Unindexed | Refusal::Untimely | Refusal::Unechoed),
            ) => panic!("client {c}: {:?} under {:?}: {failure:?}", tried.command, tried.request),
            Some(_) => self.counts.refused += 1,
        }
        let decided = matches!(failure, Some(Failure::Handler(_)));
        if tried.request.is_some() && !decided {
            self.clients[c].asked = Asked::Again(tried);
        } else if !tried.unknown {
            self.history.never.push((tried.command.key, tried.command.id));
        }
    }

    /// A node that may be master, or any.
    pub(crate) fn somebody(&mut self) -> Option<(usize, Handle<Lists>)> {
        let serving: Vec<usize> = (0..NODES)
            .filter(|n| self.nodes[*n].running.as_ref().is_some_and(|r| r.1.status().serving.is_some()))
            .collect();
        let n = if serving.is_empty() || self.random.once_in(5) {
            self.random.index(NODES)
        } else {
            serving[self.random.index(serving.len())]
        };
        Some((n, self.nodes[n].running.as_ref()?.1.clone()))
    }

    fn ask(&mut self, c: usize) {
        let began = self.time.micros();
        let key = format!("k{}", self.random.below(KEYS));
        if self.random.once_in(2) {
            let (send, reply) = oneshot::channel();
            let Some((n, handle)) = self.somebody() else { return };
            self.trace.note(format_args!("client {c} reads {key} at node {n}"));
            if handle.query(key.clone(), None, send).is_ok() {
                self.clients[c].asked = Asked::Read { key, began, reply };
            }
            return;
        }
        if self.random.once_in(6) && self.clients[c].watch.is_none() {
            self.watch(c, key);
            return;
        }
        if self.random.once_in(12) {
            self.stop_watching(c);
        }
        self.next_id += 1;
        let act = match self.random.below(10) {
            0 | 1 => Act::Delete,
            2 => Act::Tell,
            _ => Act::Append,
        };
        let known = self.clients[c].known.get(&key).copied();
        let condition = known.filter(|_| act == Act::Append && self.random.once_in(3));
        let command = Command { key, id: self.next_id, act, condition };
        let request = self.random.once_in(2).then(|| {
            let client = &mut self.clients[c];
            client.requests += 1;
            let issued = Some(self.nodes[0].clock.now());
            RequestId { client: 1 + client.number as u128, sequence: client.requests, issued }
        });
        self.send(c, Try { command, request, began, unknown: false });
    }

    fn send(&mut self, c: usize, tried: Try) {
        let (send, reply) = oneshot::channel();
        let Some((n, handle)) = self.somebody() else { return };
        self.trace.note(format_args!("client {c} asks node {n}: {:?} {:?}", tried.command, tried.request));
        let sent = handle.command(tried.command.clone(), tried.request, None, Some(send));
        self.clients[c].asked = match sent {
            Ok(()) => Asked::Command(tried, reply),
            Err(_) if tried.request.is_some() => Asked::Again(tried),
            Err(_) => Asked::Nothing,
        };
    }
}
