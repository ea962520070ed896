//! The application of the simulation: lists that grow and are deleted, and beside each the trail of all that was done to
//! it, so that an answer shows everything that came before it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use affinity_keyspace::{
    Applied, AppliedValue, Condition, Incoming, Index, Indexed, Master, Partition, Refused, Store, View,
};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Epoch, EventTime, Sequence, Version, varint};
use bytes::Bytes;
use thiserror::Error;

use crate::builds::{BY_LENGTH, ByLength, is_measured};
use crate::echoes::{self, BY_ECHO, ECHOES, MANY, is_echoed};

/// The handlers, and what they heard since their owner was made.
#[derive(Default)]
pub(crate) struct Lists {
    last: Mutex<BTreeMap<String, Trail>>,
    heard: Arc<Mutex<Heard>>,
}

/// What all nodes heard.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) trails: Vec<(String, Trail)>,
    /// The first thing that was out of order.
    pub(crate) wrong: Option<String>,
}

impl Lists {
    pub(crate) fn new(heard: Arc<Mutex<Heard>>) -> Lists {
        Lists { last: Mutex::default(), heard }
    }
}

/// Keys to lists of the ids appended.
pub(crate) const LISTS: Store<str, Ids> = Store::new("lists");
/// Keys to what was done to their lists, deletions too: every change writes both stores, in one group.
pub(crate) const TRAILS: Store<str, Trail> = Store::new("trails");

/// The lists that an id is in, and those that end with it.
const BY_ID: Index<str, Ids, u64> = Index::new("by_id", 1, &LISTS, |list| list.0.clone());
/// Lists by their last id, which no two have.
const BY_LAST: Index<str, Ids, u64> =
    Index::new("by_last", 1, &LISTS, |list| list.0.last().copied().into_iter().collect()).unique();

/// Lists by whether their length is odd: every change of a list that goes on moves it.
pub(crate) const BY_PARITY: Index<str, Ids, u8> =
    Index::new("by_parity", 1, &LISTS, |list| vec![parity(list)]);

pub(crate) fn parity(list: &Ids) -> u8 {
    u8::from(list.0.len() % 2 == 1)
}

/// Keys to the id of the last append, for a while.
pub(crate) const FRESH: Store<str, u64> = Store::new("fresh").expiring_after(FRESH_MS);

/// As long as some dozens of steps, and little longer than wall clocks are apart.
const FRESH_MS: u64 = 30;

/// Keys by whether their fresh id is odd: what has expired is in it no more.
const BY_FRESH: Index<str, u64, u8> = Index::new("by_fresh", 1, &FRESH, |id| vec![odd(*id)]);

fn odd(id: u64) -> u8 {
    u8::from(id % 2 == 1)
}

/// How many stores there are.
pub(crate) const STORES: u16 = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids(pub(crate) Vec<u64>);

impl Encode for Ids {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
    }
}

impl Decode for Ids {
    fn decode(bytes: &[u8]) -> Result<Ids, CodecError> {
        let ids = bytes.chunks(8).map(|chunk| chunk.try_into().map(u64::from_be_bytes));
        ids.collect::<Result<_, _>>().map(Ids).map_err(|_| CodecError("a list of whole ids".into()))
    }
}

/// Something that was done to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) id: u64,
    pub(crate) deletes: bool,
    /// Version of the effect before it: a group's own is not known to its handler.
    pub(crate) after: Version,
    /// Until when its id is the fresh one.
    pub(crate) expires: EventTime,
}

/// All that was done to a list. A place in it is how many effects came before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail(pub(crate) Vec<Effect>);

impl Trail {
    /// The list as it was at a place.
    pub(crate) fn list_at(&self, place: usize) -> Option<Ids> {
        let before = &self.0[..place];
        let since = before.iter().rposition(|effect| effect.deletes).map_or(0, |deletion| deletion + 1);
        let ids: Vec<u64> = before[since..].iter().map(|effect| effect.id).collect();
        (!ids.is_empty()).then_some(Ids(ids))
    }

    pub(crate) fn list(&self) -> Option<Ids> {
        self.list_at(self.0.len())
    }

    /// The id that is fresh at `now`.
    pub(crate) fn fresh(&self, now: EventTime) -> Option<u64> {
        self.0.last().filter(|effect| effect.expires > now).map(|effect| effect.id)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.0.iter().map(|effect| effect.id).collect()
    }
}

impl Encode for Trail {
    fn encode(&self, out: &mut Vec<u8>) {
        for effect in &self.0 {
            varint::put(out, effect.id << 1 | u64::from(effect.deletes));
            put_version(out, effect.after);
            varint::put_signed(out, effect.expires.0);
        }
    }
}

impl Decode for Trail {
    fn decode(mut bytes: &[u8]) -> Result<Trail, CodecError> {
        let mut effects = Vec::new();
        while !bytes.is_empty() {
            let id = take(&mut bytes)?;
            let after = take_version(&mut bytes)?;
            let expires = varint::take_signed(&mut bytes).ok_or_else(|| CodecError("cut short".into()))?;
            effects.push(Effect { id: id >> 1, deletes: id & 1 == 1, after, expires: EventTime(expires) });
        }
        Ok(Trail(effects))
    }
}

pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64, CodecError> {
    varint::take(bytes).ok_or_else(|| CodecError("cut short".into()))
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    varint::put(out, version.epoch.0);
    varint::put(out, version.sequence.0);
}

fn take_version(bytes: &mut &[u8]) -> Result<Version, CodecError> {
    let epoch = Epoch(take(bytes)?);
    Ok(Version::new(epoch, Sequence(take(bytes)?)))
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Append,
    Delete,
    /// It changes nothing: its event goes alone.
    Tell,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) key: String,
    pub(crate) id: u64,
    pub(crate) act: Act,
    /// Only if the list is so.
    pub(crate) condition: Option<Condition>,
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.id);
        self.key.encode(out);
    }
}

/// What every command sends to the watchers of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    /// Place in the trail behind the command.
    pub(crate) place: usize,
    /// Whether it came with a change.
    pub(crate) changes: bool,
}

impl Encode for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.id);
        varint::put(out, self.place as u64);
        varint::put(out, u64::from(self.changes));
    }
}

impl Decode for Event {
    fn decode(mut bytes: &[u8]) -> Result<Event, CodecError> {
        let (id, place, changes) = (take(&mut bytes)?, take(&mut bytes)?, take(&mut bytes)?);
        let place = usize::try_from(place).map_err(|_| CodecError("a place".into()))?;
        Ok(Event { id, place, changes: changes == 1 })
    }
}

/// A trail, behind the command that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) trail: Trail,
    /// Version of the trail; for a command, the one before it.
    pub(crate) last: Version,
    /// Version of the list, likewise.
    pub(crate) version: Option<Version>,
    /// No id is fresh any more.
    pub(crate) gone: bool,
}

impl Encode for Seen {
    fn encode(&self, out: &mut Vec<u8>) {
        put_version(out, self.last);
        out.push(u8::from(self.version.is_some()));
        put_version(out, self.version.unwrap_or_default());
        out.push(u8::from(self.gone));
        self.trail.encode(out);
    }
}

impl Decode for Seen {
    fn decode(mut bytes: &[u8]) -> Result<Seen, CodecError> {
        let last = take_version(&mut bytes)?;
        let there = take(&mut bytes)? == 1;
        let version = Some(take_version(&mut bytes)?).filter(|_| there);
        let gone = take(&mut bytes)? == 1;
        Ok(Seen { trail: Trail::decode(bytes)?, last, version, gone })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the list has changed")]
    Changed,
    #[error("the stores disagree")]
    Torn,
    #[error("an index does not agree with the list")]
    Unindexed,
    #[error("effects did not come as they were emitted")]
    Unechoed,
    #[error("a value expired early, or too late")]
    Untimely,
}

/// Whether a list is found by its first and its last id, and by no other as its last one.
fn is_indexed(
    key: &str,
    list: &Ids,
    by_id: impl Fn(&u64) -> Vec<String>,
    by_last: impl Fn(&u64) -> Vec<String>,
) -> bool {
    let (Some(first), Some(last)) = (list.0.first(), list.0.last()) else { return true };
    let not_last = list.0.len() < 2 || by_last(first).is_empty();
    by_id(first) == [key] && by_last(last) == [key] && not_last
}

/// Whether a key is found by its fresh id, and not at all without one.
pub(crate) fn is_listed(key: &str, fresh: Option<u64>, by_fresh: impl Fn(u8) -> Vec<String>) -> bool {
    let is_in = |parity| by_fresh(parity).iter().any(|other| other == key);
    [0, 1].into_iter().all(|parity| is_in(parity) == (fresh.map(odd) == Some(parity)))
}

/// Keeps the id of an append fresh, in one of the ways there are; answers until when.
pub(crate) fn freshen(cx: &mut Master<'_>, key: &str, id: u64) -> EventTime {
    let now = cx.now();
    match id % 4 {
        0 | 1 => {
            cx.put(&FRESH, key, &id);
            now.plus_ms(FRESH_MS)
        }
        2 => {
            let expires = now.plus_ms(id % 10);
            cx.put_until(&FRESH, key, &id, expires);
            expires
        }
        _ => {
            let happened = now.minus_ms(id % 40);
            cx.put_at(&FRESH, key, &id, happened);
            happened.plus_ms(FRESH_MS)
        }
    }
}

impl Partition for Lists {
    const STORES: &'static [&'static str] = &["lists", "trails", "fresh", "echoes", "tokens"];
    const INDICES: &'static [&'static dyn Indexed] =
        &[&BY_ID, &BY_LAST, &BY_PARITY, &BY_FRESH, &BY_ECHO, &ByLength];
    const LISTENS: bool = true;
    type Command = Command;
    type Query = String;
    type Answer = Seen;
    type Error = Refusal;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<Seen, Refusal> {
        let key = command.key.as_str();
        let mut trail = cx.get(&TRAILS, key).unwrap_or_default();
        let list = cx.get(&LISTS, key);
        if list != trail.list() {
            return Err(Refusal::Torn);
        }
        if let Some(list) = &list
            && !is_indexed(key, list, |id| cx.by(&BY_ID, id, 9), |id| cx.by(&BY_LAST, id, 9))
        {
            return Err(Refusal::Unindexed);
        }
        let now = cx.now();
        if cx.get(&FRESH, key) != trail.fresh(now) {
            return Err(Refusal::Untimely);
        }
        if !is_listed(key, trail.fresh(now), |odd| cx.by(&BY_FRESH, &odd, 9)) {
            return Err(Refusal::Untimely);
        }
        let (place, echo) = (format!("came {key}"), format!("echo {key}"));
        let (came, echoed) = (cx.get(&ECHOES, place.as_str()), cx.get(&FRESH, echo.as_str()));
        if let Some(came) = &came
            && !is_measured(&place, came, |length| cx.by(&BY_LENGTH, length, MANY))
        {
            return Err(Refusal::Unindexed);
        }
        let (by_echo, by_fresh) = (|id| cx.by(&BY_ECHO, &id, 9), |odd| cx.by(&BY_FRESH, &odd, 9));
        if !is_echoed(key, &trail, (came, echoed, now), by_echo, by_fresh) {
            return Err(Refusal::Unechoed);
        }
        let last = cx.version(&TRAILS, key).unwrap_or_default();
        let version = cx.version(&LISTS, key);
        let mut effect = Effect {
            id: command.id,
            deletes: command.act == Act::Delete,
            after: last,
            expires: EventTime(i64::MIN),
        };
        match (command.act, command.condition) {
            (Act::Append, condition) => {
                let mut list = list.unwrap_or_default();
                list.0.push(command.id);
                match condition {
                    None => cx.put(&LISTS, key, &list),
                    Some(condition) => {
                        cx.put_if(&LISTS, key, condition, &list).map_err(|_| Refusal::Changed)?;
                    }
                }
                effect.expires = freshen(cx, key, command.id);
            }
            (Act::Delete, _) => {
                cx.delete(&LISTS, key);
                cx.delete(&FRESH, key);
            }
            (Act::Tell, _) => {}
        }
        if command.act != Act::Tell {
            trail.0.push(effect);
            cx.put(&TRAILS, key, &trail);
            if command.act == Act::Delete {
                echoes::cancel(cx, key);
            }
            echoes::tell(cx, key, command.id);
        }
        let event = Event { id: command.id, place: trail.0.len(), changes: command.act != Act::Tell };
        cx.send(&LISTS, key, &event);
        let gone = trail.fresh(now).is_none();
        Ok(Seen { trail, last, version, gone })
    }

    fn query(&self, cx: &View<'_>, key: &String) -> Result<Seen, Refusal> {
        let key = key.as_str();
        let trail = cx.get(&TRAILS, key).unwrap_or_default();
        let list = cx.get(&LISTS, key);
        if list != trail.list() {
            return Err(Refusal::Torn);
        }
        if let Some(list) = &list
            && !is_indexed(key, list, |id| cx.by(&BY_ID, id, 9), |id| cx.by(&BY_LAST, id, 9))
        {
            return Err(Refusal::Unindexed);
        }
        let fresh = cx.get(&FRESH, key);
        if fresh != trail.fresh(cx.now()) {
            return Err(Refusal::Untimely);
        }
        if !is_listed(key, fresh, |odd| cx.by(&BY_FRESH, &odd, 9)) {
            return Err(Refusal::Untimely);
        }
        let (place, echo) = (format!("came {key}"), format!("echo {key}"));
        let (came, echoed) = (cx.get(&ECHOES, place.as_str()), cx.get(&FRESH, echo.as_str()));
        if let Some(came) = &came
            && !is_measured(&place, came, |length| cx.by(&BY_LENGTH, length, MANY))
        {
            return Err(Refusal::Unindexed);
        }
        let (by_echo, by_fresh) = (|id| cx.by(&BY_ECHO, &id, 9), |odd| cx.by(&BY_FRESH, &odd, 9));
        if !is_echoed(key, &trail, (came, echoed, cx.now()), by_echo, by_fresh) {
            return Err(Refusal::Unechoed);
        }
        let last = cx.version(&TRAILS, key).unwrap_or_default();
        Ok(Seen { trail, last, version: cx.version(&LISTS, key), gone: fresh.is_none() })
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        echoes::come(cx, effect)
    }

    fn answered(&self, cx: &mut Master<'_>, answer: &Incoming<'_>) -> Result<(), Refused> {
        echoes::answered(cx, answer)
    }

    fn refused(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<(), Refused> {
        echoes::refused(cx, effect)
    }

    fn changed(&self, applied: &Applied<'_>) {
        let Some(Ok(AppliedValue { key, old, new: Some(new) })) = applied.of(&TRAILS) else { return };
        let (mut last, mut heard) = (self.last.lock().unwrap(), self.heard.lock().unwrap());
        let before = last.insert(key.clone(), new.clone());
        let old = old.unwrap_or_default();
        // What compaction took is not heard, but never a thing twice.
        if before.is_some_and(|before| before != old)
            || new.0.len() <= old.0.len()
            || !new.0.starts_with(&old.0)
        {
            heard.wrong.get_or_insert(format!("{key}: {new:?} is heard behind {old:?}"));
        }
        heard.trails.push((key, new));
    }
}
