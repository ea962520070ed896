//! What a component does.
//!
//! A component holds vertices: of each there is one member, at one component or in one handover, and with it goes what is
//! known of its edges. A component's name is its least vertex, and after every step what it holds is connected and has that
//! name; anything else is handed over at once. So labels never have to be taken back: who loses an edge computes again.
//!
//! ```text
//!   vertex v                component c              component d > c               vertex w
//!   edges change ─ Report ─▶ v has w, not held
//!   at home      ◀── Home ── (meet w)
//!                ─────────────────────────── Meet (v is at c) ────────────────────▶ d is not c
//!                            holds v         ◀──────────────────────────── Invite ─
//!                            ──────────────── Yield ─▶ holds w
//!                            ◀───────────── Handover ─ all of it
//!                            is it connected?
//!                            ──────────────────────────── Home (c holds w) ───────▶ shows c
//! ```
//!
//! Why it is right at rest, why it comes to rest, and what shows meanwhile: `docs/adr/0008-graph.md`.

use std::collections::BTreeMap;

use crate::messages::{Handover, Home, Invite, Message, Report, Yield};
use crate::records::{Component, Member};
use crate::rule::Rule;
use crate::stores::Stores;

/// A new vertex is its own component.
pub(crate) fn found(here: &mut impl Stores, id: i32) {
    here.put_member(&Member::alone(id));
    here.put_component(id, &Component { ts: here.now(), connected: vec![id] });
}

/// A vertex tells its edges.
pub(crate) fn report(here: &mut impl Stores, id: i32, report: &Report) {
    let Some(known) = held(here, id, report.vertex) else { return };
    if report.version <= known.version && here.keeps(Rule::Version) {
        return;
    }
    let member = Member { version: report.version, edges: report.edges.clone(), ..known.clone() };
    here.put_member(&member);
    let lost = known.edges.iter().any(|other| !member.has(*other) && held(here, id, *other).is_some());
    if lost && here.keeps(Rule::Recompute) {
        let members = members(here, id);
        settle(here, id, members);
    }
    if held(here, id, report.vertex).is_some() && here.keeps(Rule::MeetNew) {
        let is_elsewhere = |other: &i32| !known.has(*other) && held(here, id, *other).is_none();
        let meet: Vec<i32> = report.edges.iter().copied().filter(is_elsewhere).collect();
        if !meet.is_empty() {
            tell_home(here, &member, meet);
        }
    }
}

/// Another component may belong to this one: if this one holds the vertex that is the reason, it says so.
pub(crate) fn invite(here: &mut impl Stores, id: i32, invite: &Invite) {
    if held(here, id, invite.host).is_some() {
        here.send(invite.from, &Message::Yield(Yield { guest: invite.guest, to: id }));
    }
}

/// This component belongs to a lesser one.
pub(crate) fn give_way(here: &mut impl Stores, id: i32, r#yield: &Yield) {
    if held(here, id, r#yield.guest).is_some() && r#yield.to < id {
        let members = members(here, id);
        here.delete_component(id);
        hand_over(here, r#yield.to, members.into_values());
    }
}

/// Vertices come. Those that do not belong here go on, the others are told, and which of their neighbours are elsewhere.
pub(crate) fn take_up(here: &mut impl Stores, id: i32, handover: &Handover) {
    let mut all = members(here, id);
    all.extend(handover.members.iter().map(|member| (member.vertex, member.clone())));
    let all = settle(here, id, all);
    for member in handover.members.iter().filter(|member| all.contains_key(&member.vertex)) {
        here.put_member(member);
        let elsewhere = member.edges.iter().copied().filter(|other| !all.contains_key(other));
        let meet = if here.keeps(Rule::Meet) { elsewhere.collect() } else { Vec::new() };
        tell_home(here, member, meet);
    }
}

fn tell_home(here: &mut impl Stores, member: &Member, meet: Vec<i32>) {
    let Member { component, moves, version, .. } = *member;
    here.send(member.vertex, &Message::Home(Home { component, moves, version, meet }));
}

/// Keeps of these vertices, all that the component has, those that are connected with its least one, and hands over the others,
/// each piece to the component it is now. Gives back what it keeps.
fn settle(here: &mut impl Stores, id: i32, mut members: BTreeMap<i32, Member>) -> BTreeMap<i32, Member> {
    let pieces = if here.keeps(Rule::Judge) { pieces(here, &members) } else { BTreeMap::new() };
    for (least, piece) in pieces.into_iter().filter(|(least, _)| *least != id) {
        let leaving: Vec<Member> = piece.iter().filter_map(|vertex| members.remove(vertex)).collect();
        hand_over(here, least, leaving);
    }
    let before = here.component(id).map(|component| component.connected);
    let connected: Vec<i32> = members.keys().copied().collect();
    if connected.is_empty() && before.is_some() {
        here.delete_component(id);
    } else if !connected.is_empty() && before.as_ref() != Some(&connected) {
        here.put_component(id, &Component { ts: here.now(), connected });
    }
    members
}

fn hand_over(here: &mut impl Stores, to: i32, members: impl IntoIterator<Item = Member>) {
    let mut moved = Vec::new();
    for member in members {
        if held(here, member.component, member.vertex).is_some() {
            here.delete_member(member.vertex);
        }
        moved.push(Member { component: to, moves: member.moves + 1, ..member });
    }
    for members in moved.chunks(here.handover_max()) {
        here.send(to, &Message::Handover(Handover { members: members.to_vec() }));
    }
}

/// The member of a vertex that the component holds.
fn held(here: &impl Stores, id: i32, vertex: i32) -> Option<Member> {
    here.member(vertex).filter(|member| member.component == id)
}

fn members(here: &impl Stores, id: i32) -> BTreeMap<i32, Member> {
    let connected = here.component(id).map_or_else(Vec::new, |component| component.connected);
    connected.into_iter().filter_map(|vertex| Some((vertex, held(here, id, vertex)?))).collect()
}

/// What is connected by edges that either end tells of, by the least vertex.
fn pieces(here: &impl Stores, members: &BTreeMap<i32, Member>) -> BTreeMap<i32, Vec<i32>> {
    let mut above: BTreeMap<i32, i32> = members.keys().map(|vertex| (*vertex, *vertex)).collect();
    for member in members.values() {
        for other in member.edges.iter().filter_map(|other| members.get(other)) {
            if other.has(member.vertex) || here.keeps(Rule::EitherEnd) {
                let (a, b) = (least(&mut above, member.vertex), least(&mut above, other.vertex));
                above.insert(a.max(b), a.min(b));
            }
        }
    }
    let mut pieces: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for vertex in members.keys() {
        pieces.entry(least(&mut above, *vertex)).or_default().push(*vertex);
    }
    pieces
}

/// The least vertex known to be connected with one, by the way up, which it halves.
fn least(above: &mut BTreeMap<i32, i32>, mut vertex: i32) -> i32 {
    loop {
        let next = above[&vertex];
        if next == vertex {
            return vertex;
        }
        let skip = above[&next];
        above.insert(vertex, skip);
        vertex = skip;
    }
}
