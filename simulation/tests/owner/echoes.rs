//! Effects: every change of a list is told to the partition itself, over ways that lose and stray, and what comes of it is kept beside
//! the lists. So who sends and who receives meet every fault there is, and what they write expires and is indexed like all else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use affinity_cluster::PartitionName;
use affinity_keyspace::{
    DelayedEffect, Delivery, Destination, Handle, Incoming, Index, Links, Master, Refused, Store,
};
use affinity_memstore::StoreId;
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{EventTime, Version, varint};
use bytes::Bytes;

use crate::builds::{BY_LENGTH, is_measured};
use crate::lists::{Effect, Lists, Seen, Trail, freshen, is_listed, take};
use crate::world::{NODES, Random, World};

/// What became of effects, by that and by the key of their list.
pub(crate) const ECHOES: Store<str, Trail> = Store::new("echoes");
/// Its number.
const ECHOES_ID: StoreId = StoreId(3);
/// The last delayed effect of a list, to cancel it.
const TOKENS: Store<str, String> = Store::new("tokens");
const HERE: Destination<str, Told> = Destination::new("lists");

/// Echoes by their ids.
pub(crate) const BY_ECHO: Index<str, Trail, u64> = Index::new("by_echo", 1, &ECHOES, Trail::ids);

/// As many places as there may be.
pub(crate) const MANY: usize = 99;

/// What is told of a change.
struct Told {
    id: u64,
    due: EventTime,
}

impl Encode for Told {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.id);
        varint::put_signed(out, self.due.0);
    }
}

impl Decode for Told {
    fn decode(mut bytes: &[u8]) -> Result<Told, CodecError> {
        let id = take(&mut bytes)?;
        let due = varint::take_signed(&mut bytes).ok_or_else(|| CodecError("cut short".into()))?;
        Ok(Told { id, due: EventTime(due) })
    }
}

/// What is to become of the effect of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Told,
    Answered,
    Refused,
    Delayed,
}

fn fate(id: u64) -> Fate {
    match id % 8 {
        3 => Fate::Refused,
        4 => Fate::Answered,
        5 => Fate::Delayed,
        _ => Fate::Told,
    }
}

/// Ids with one of these fates, in their order.
fn ids_of(trail: &Trail, fates: &[Fate]) -> Vec<u64> {
    trail.ids().into_iter().filter(|id| fates.contains(&fate(*id))).collect()
}

fn note(cx: &mut Master<'_>, place: &str, effect: Effect) {
    let mut trail = cx.get(&ECHOES, place).unwrap_or_default();
    trail.0.push(effect);
    cx.put(&ECHOES, place, &trail);
}

fn echo(id: u64, expires: EventTime) -> Effect {
    Effect { id, deletes: false, after: Version::default(), expires }
}

/// Tells of a change.
pub(crate) fn tell(cx: &mut Master<'_>, key: &str, id: u64) {
    // Others than effects write what effects wrote: compaction takes the records that those came with.
    let came = format!("came {key}");
    if let Some(trail) = cx.get(&ECHOES, came.as_str()) {
        cx.put(&ECHOES, came.as_str(), &trail);
    }
    let told = Told { id, due: EventTime(i64::MIN) };
    match fate(id) {
        Fate::Told | Fate::Refused => cx.emit(&HERE, key, &told),
        Fate::Answered => cx.emit_asking(&HERE, key, &told, &id),
        Fate::Delayed => {
            let due = cx.now().plus_ms(id % 100);
            let effect = cx.emit_at(&HERE, key, &Told { id, due }, due);
            cx.put(&TOKENS, key, &String::decode(&effect.to_bytes()).unwrap());
            note(cx, &format!("delayed {key}"), echo(id, due));
        }
    }
}

/// Cancels the last delayed effect of a list, and keeps whether its time had not come.
pub(crate) fn cancel(cx: &mut Master<'_>, key: &str) {
    let Some(token) = cx.get(&TOKENS, key) else { return };
    let delayed = cx.get(&ECHOES, format!("delayed {key}").as_str());
    let last = *delayed.as_ref().and_then(|delayed| delayed.0.last()).unwrap();
    cx.cancel(&DelayedEffect::decode(token.as_bytes()).unwrap());
    cx.delete(&TOKENS, key);
    let deletes = cx.now() < last.expires;
    note(cx, &format!("cancelled {key}"), Effect { deletes, ..last });
}

/// An effect has come.
pub(crate) fn come(cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
    let (key, Told { id, due }) = (effect.key::<String>()?, effect.message()?);
    assert!(cx.now() >= due, "it comes before its time");
    match fate(id) {
        Fate::Refused => return Err(Refused("one in eight".into())),
        Fate::Delayed => note(cx, &format!("late {key}"), echo(id, due)),
        Fate::Told | Fate::Answered => {
            let expires = freshen(cx, &format!("echo {key}"), id);
            note(cx, &format!("came {key}"), echo(id, expires));
            let place = format!("came {key}");
            let trail = cx.get(&ECHOES, place.as_str()).unwrap_or_default();
            // While that index is built, no effect is refused.
            let measured = is_measured(&place, &trail, |length| cx.by(&BY_LENGTH, length, MANY));
            if cx.by(&BY_ECHO, &id, 9) != [place] || !measured {
                return Err(Refused("an index does not agree with the list".into()));
            }
        }
    }
    Ok((2 * id).to_bytes())
}

/// The answer to one has come.
pub(crate) fn answered(cx: &mut Master<'_>, answer: &Incoming<'_>) -> Result<(), Refused> {
    let (key, id, twice): (String, u64, u64) = (answer.key()?, answer.tag()?, answer.message()?);
    assert_eq!(twice, 2 * id, "the answer to another");
    note(cx, &format!("answered {key}"), echo(id, EventTime(0)));
    Ok(())
}

/// One has come back.
pub(crate) fn refused(cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<(), Refused> {
    let (key, Told { id, .. }) = (effect.key::<String>()?, effect.message()?);
    note(cx, &format!("refused {key}"), echo(id, EventTime(0)));
    Ok(())
}

/// Whether what has come of a list's changes is their beginning, in their order, and is indexed and expires as all else.
pub(crate) fn is_echoed(
    key: &str,
    trail: &Trail,
    (came, fresh, now): (Option<Trail>, Option<u64>, EventTime),
    by_echo: impl Fn(u64) -> Vec<String>,
    by_fresh: impl Fn(u8) -> Vec<String>,
) -> bool {
    let came = came.unwrap_or_default();
    let last = came.0.last().map(|effect| by_echo(effect.id));
    ids_of(trail, &[Fate::Told, Fate::Answered]).starts_with(&came.ids())
        && last.is_none_or(|places| places.contains(&format!("came {key}")))
        && fresh == came.fresh(now)
        && is_listed(&format!("echo {key}"), fresh, by_fresh)
}

/// The ways of effects: one may lose an effect, or bring it to somebody who does not serve.
pub(crate) struct Ways(Mutex<(Vec<Option<Handle<Lists>>>, Random)>);

impl Ways {
    pub(crate) fn new(seed: u64) -> Ways {
        Ways(Mutex::new((vec![None; NODES], Random(seed))))
    }

    pub(crate) fn lead_to(&self, n: usize, handle: &Handle<Lists>) {
        self.0.lock().unwrap().0[n] = Some(handle.clone());
    }
}

impl Links for Ways {
    fn partitions(&self, keyspace: &str) -> Option<u32> {
        (keyspace == "lists").then_some(1)
    }

    fn deliver(&self, _: &PartitionName, delivery: Delivery) {
        let (handles, random) = &mut *self.0.lock().unwrap();
        let handle = match random.below(16) {
            0 => None,
            1 => handles[random.index(NODES)].as_ref(),
            _ => handles.iter().flatten().max_by_key(|handle| handle.status().serving),
        };
        if let Some(handle) = handle {
            handle.deliver(delivery);
        }
    }
}

impl World {
    /// Every effect is done and cleared, and each has become what it should, once and in order.
    pub(crate) fn check_echoes(&mut self, leader: usize, at_last: &BTreeMap<String, Seen>) {
        let mut echoes = self.echoes(leader);
        for _ in 0..100 {
            if echoes.is_some() {
                break;
            }
            (0..20).for_each(|_| self.settle());
            echoes = self.echoes(leader);
        }
        let echoes = echoes.expect("an effect is on its way for ever");
        let of = |what: &str, key: &str| echoes.get(&format!("{what} {key}")).cloned().unwrap_or_default();
        for (key, Seen { trail, .. }) in at_last {
            for (what, fates) in [
                ("came", &[Fate::Told, Fate::Answered][..]),
                ("answered", &[Fate::Answered]),
                ("refused", &[Fate::Refused]),
                ("delayed", &[Fate::Delayed]),
            ] {
                let ids = of(what, key).ids();
                assert_eq!(ids, ids_of(trail, fates), "{what} of {key}");
                self.counts.effects += ids.len() as u64;
            }
            let (late, cancelled) = (of("late", key).ids(), of("cancelled", key));
            let once: BTreeSet<u64> = late.iter().copied().collect();
            assert_eq!(once.len(), late.len(), "{key}: one came twice, late: {late:?}");
            let all: BTreeSet<u64> = of("delayed", key).ids().into_iter().collect();
            let may = cancelled.ids().into_iter().collect();
            let never: BTreeSet<u64> =
                cancelled.0.iter().filter(|one| one.deletes).map(|one| one.id).collect();
            assert!(once.is_subset(&all) && once.is_disjoint(&never), "{key}: {late:?}, never {never:?}");
            assert!(once.is_superset(&(&all - &may)), "{key}: of {all:?} came {once:?}, cancelled {may:?}");
            self.counts.delayed_effects += late.len() as u64;
            self.counts.cancelled += never.len() as u64;
        }
    }

    /// What became of effects, if none is on its way or waits.
    fn echoes(&self, leader: usize) -> Option<BTreeMap<String, Trail>> {
        let (_, entries) = self.nodes[leader].running.as_ref().unwrap().0.dump().unwrap();
        let is_effect = |key: &Bytes| key.windows(6).any(|part| part == b"effect" || part == b"delaye");
        if entries.iter().any(|(store, key, ..)| *store == StoreId::LAST && is_effect(key)) {
            return None;
        }
        let echoes = entries.iter().filter(|(store, ..)| *store == ECHOES_ID);
        let echo = |(_, key, _, value): &affinity_keyspace::Entry| {
            (String::decode(key).unwrap(), Trail::decode(value).unwrap())
        };
        Some(echoes.map(echo).collect())
    }
}
