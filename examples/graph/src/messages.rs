//! What clients ask, and what vertices and components say to each other.

use std::collections::BTreeMap;

use affinity_avro::Record;

use crate::records::{Component, Edge, Member, VertexProps};

/// What changes the graph. It is handled by the partition of its [`key`](Ask::key).
#[derive(Clone, Debug, PartialEq, Eq, Record)]
pub enum Ask {
    /// Connects two vertices, which need not be there.
    Connect(Connect),
    /// Disconnects two vertices.
    Disconnect(Disconnect),
}

/// Connects two vertices. If they are connected already, nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, Record)]
pub struct Connect {
    /// One end.
    pub from: i32,
    /// The other.
    pub to: i32,
    /// What both ends of the edge say of it.
    pub headers: BTreeMap<String, String>,
}

/// Disconnects two vertices.
#[derive(Clone, Debug, PartialEq, Eq, Record)]
pub struct Disconnect {
    /// One end.
    pub from: i32,
    /// The other.
    pub to: i32,
}

impl Ask {
    /// The vertex whose partition decides: the lesser end. So what races for an edge has one order.
    #[must_use]
    pub fn key(&self) -> i32 {
        let (Ask::Connect(Connect { from, to, .. }) | Ask::Disconnect(Disconnect { from, to })) = self;
        *from.min(to)
    }
}

/// What only looks. It is handled by the partition of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A vertex.
    Vertex(i32),
    /// A component, by its least vertex.
    Component(i32),
}

/// The answer to either.
#[derive(Clone, Debug, PartialEq, Eq, Record)]
pub enum Answer {
    /// There is no such vertex or component.
    Nothing,
    /// Whether the command changed anything.
    Changed(bool),
    /// The vertex.
    Vertex(VertexProps),
    /// The component.
    Component(Component),
}

/// A message to a vertex or a component; the number it is for is its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) enum Message {
    /// To a vertex: it is connected.
    Joined(Joined),
    /// To a vertex: it is disconnected.
    Parted(Parted),
    /// To a vertex: it is held by a component.
    Home(Home),
    /// To a vertex: a neighbour is held by a component.
    Meet(Meet),
    /// To a component: the edges of a vertex.
    Report(Report),
    /// To the lesser component: there is an edge to another.
    Invite(Invite),
    /// To the greater component: it belongs to another.
    Yield(Yield),
    /// To a component: vertices that are its own from now on, perhaps.
    Handover(Handover),
}

/// An edge, as the vertex that is told has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Joined {
    pub(crate) edge: Edge,
}

/// The edge to `target` is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Parted {
    pub(crate) target: i32,
}

/// The component holds the vertex that is told, after so many moves, and knows its edges of that version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Home {
    pub(crate) component: i32,
    pub(crate) moves: i64,
    pub(crate) version: i64,
    /// Its neighbours that the component does not hold: they are to be told.
    pub(crate) meet: Vec<i32>,
}

/// The vertex, a neighbour of the one that is told, is held by the component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Meet {
    pub(crate) vertex: i32,
    pub(crate) component: i32,
}

/// All edges of a vertex at a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Report {
    pub(crate) vertex: i32,
    pub(crate) version: i64,
    pub(crate) edges: Vec<i32>,
}

/// If the component that is told holds `host`, `from`, which holds `guest`, belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Invite {
    pub(crate) host: i32,
    pub(crate) guest: i32,
    pub(crate) from: i32,
}

/// If the component that is told holds `guest`, it is to hand over to `to` all that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Yield {
    pub(crate) guest: i32,
    pub(crate) to: i32,
}

/// Vertices with all that is known of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Handover {
    pub(crate) members: Vec<Member>,
}
