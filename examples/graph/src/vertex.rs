//! What a vertex does.
//!
//! It alone knows its edges, tells them to the component that it believes to be held by, and shows that one. An edge stands at both
//! ends; the lesser end decides and tells the other, in order, so both agree when nothing is on its way. For all else see
//! [`crate::component`].

use std::cmp::Ordering;

use crate::GraphError;
use crate::component;
use crate::messages::{Connect, Disconnect, Home, Invite, Joined, Meet, Message, Parted, Report};
use crate::records::{Edge, Place, VertexProps};
use crate::rule::Rule;
use crate::stores::Stores;

/// Connects two vertices at the lesser one; whether they were not connected.
pub(crate) fn connect(here: &mut impl Stores, connect: &Connect) -> Result<bool, GraphError> {
    let (lesser, greater) = ends(connect.from, connect.to)?;
    let edge = |target| Edge { target, timestamp: here.now(), headers: connect.headers.clone() };
    let (to_greater, to_lesser) = (edge(greater), edge(lesser));
    let is_new = add(here, lesser, to_greater);
    if is_new {
        here.send(greater, &Message::Joined(Joined { edge: to_lesser }));
    }
    Ok(is_new)
}

/// Disconnects two vertices at the lesser one.
pub(crate) fn disconnect(here: &mut impl Stores, disconnect: &Disconnect) -> Result<(), GraphError> {
    let (lesser, greater) = ends(disconnect.from, disconnect.to)?;
    if !remove(here, lesser, greater) {
        return Err(GraphError::NotConnected);
    }
    here.send(greater, &Message::Parted(Parted { target: lesser }));
    Ok(())
}

fn ends(from: i32, to: i32) -> Result<(i32, i32), GraphError> {
    if from == to { Err(GraphError::SameVertex) } else { Ok((from.min(to), from.max(to))) }
}

/// The lesser end has connected this one.
pub(crate) fn joined(here: &mut impl Stores, id: i32, joined: &Joined) {
    add(here, id, joined.edge.clone());
}

/// The lesser end has disconnected this one.
pub(crate) fn parted(here: &mut impl Stores, id: i32, parted: &Parted) {
    remove(here, id, parted.target);
}

fn add(here: &mut impl Stores, id: i32, edge: Edge) -> bool {
    let mut props = here.vertex(id).unwrap_or_else(|| {
        component::found(here, id);
        VertexProps { ts: 0, component: id, edges: Vec::new() }
    });
    let Err(at) = find(&props, edge.target) else { return false };
    props.edges.insert(at, edge);
    put_changed(here, id, props);
    true
}

fn remove(here: &mut impl Stores, id: i32, target: i32) -> bool {
    let Some(mut props) = here.vertex(id) else { return false };
    let Ok(at) = find(&props, target) else { return false };
    props.edges.remove(at);
    put_changed(here, id, props);
    true
}

fn find(props: &VertexProps, target: i32) -> Result<usize, usize> {
    props.edges.binary_search_by_key(&target, |edge| edge.target)
}

/// Puts a vertex whose edges have changed, and tells its component.
fn put_changed(here: &mut impl Stores, id: i32, props: VertexProps) {
    let Place { moves, version } = here.place(id);
    let (props, place) = (VertexProps { ts: here.now(), ..props }, Place { moves, version: version + 1 });
    here.put_vertex(id, &props);
    here.put_place(id, &place);
    report(here, id, &props, place.version);
}

fn report(here: &mut impl Stores, id: i32, props: &VertexProps, version: i64) {
    let edges = props.edges.iter().map(|edge| edge.target).collect();
    here.send(props.component, &Message::Report(Report { vertex: id, version, edges }));
}

/// A component holds this vertex, and there may be neighbours to be told.
pub(crate) fn home(here: &mut impl Stores, id: i32, home: &Home) {
    let Some(mut props) = here.vertex(id) else { return };
    let place = here.place(id);
    if home.moves < place.moves && here.keeps(Rule::Moves) {
        // It has been handed on since, and whoever holds it lets its neighbours know.
        return;
    }
    if home.moves != place.moves {
        here.put_place(id, &Place { moves: home.moves, ..place });
        if home.component != props.component {
            (props.ts, props.component) = (here.now(), home.component);
            here.put_vertex(id, &props);
        }
        // What was told to those who held it before may have come when they did not any more.
        if home.version < place.version && here.keeps(Rule::CatchUp) {
            report(here, id, &props, place.version);
        }
    }
    // Only now: whoever answers finds this vertex at home.
    for other in &home.meet {
        here.send(*other, &Message::Meet(Meet { vertex: id, component: home.component }));
    }
}

/// A neighbour is held by a component. If that is another, the lesser of the two is asked first.
///
/// The edge is not looked at: it may be there only again, and then nobody would ask a second time. One that is gone costs a
/// handover and its return.
pub(crate) fn meet(here: &mut impl Stores, id: i32, meet: &Meet) {
    let Some(VertexProps { component: own, .. }) = here.vertex(id) else { return };
    let (to, invite) = match meet.component.cmp(&own) {
        Ordering::Equal => return,
        Ordering::Less => (meet.component, Invite { host: meet.vertex, guest: id, from: own }),
        Ordering::Greater => (own, Invite { host: id, guest: meet.vertex, from: meet.component }),
    };
    here.send(to, &Message::Invite(invite));
}
