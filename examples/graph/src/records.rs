//! The records that clients know, as the original has them, and those of the stores behind them.

use std::collections::BTreeMap;

use affinity_avro::Record;

/// A vertex: its component and its edges.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
#[avro(namespace = "message")]
pub struct VertexProps {
    /// When it changed last, in milliseconds.
    #[avro(default = 1475178519756)]
    pub ts: i64,
    /// The least vertex of its component, as far as it knows.
    #[avro(default = -1)]
    pub component: i32,
    /// Its edges, in the order of their other ends.
    #[avro(default)]
    pub edges: Vec<Edge>,
}

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
#[avro(namespace = "message")]
pub struct Edge {
    /// The vertex at the other end.
    pub target: i32,
    /// When the two were connected, in milliseconds.
    #[avro(default = 0)]
    pub timestamp: i64,
    /// What was given with it.
    #[avro(default)]
    pub headers: BTreeMap<String, String>,
}

/// A component: what is connected, directly or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
#[avro(namespace = "message")]
pub struct Component {
    /// When it changed last, in milliseconds.
    #[avro(default = 0)]
    pub ts: i64,
    /// Its vertices, in their order; never none.
    #[avro(default)]
    pub connected: Vec<i32>,
}

/// What a vertex knows beside its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Record)]
pub(crate) struct Place {
    /// How often it had been handed over when its component told it of that last.
    pub(crate) moves: i64,
    /// Counts the changes of its edges.
    pub(crate) version: i64,
}

/// A vertex as the component knows it that holds it. There is one of each vertex: in a store, or in one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Record)]
pub(crate) struct Member {
    pub(crate) vertex: i32,
    /// The component that holds it.
    pub(crate) component: i32,
    /// How often it was handed over.
    pub(crate) moves: i64,
    /// The version of its edges.
    pub(crate) version: i64,
    /// The other ends of its edges, in their order.
    pub(crate) edges: Vec<i32>,
}

impl Member {
    /// A vertex without edges, which is its own component.
    pub(crate) fn alone(vertex: i32) -> Member {
        Member { vertex, component: vertex, moves: 0, version: 0, edges: Vec::new() }
    }

    /// Whether it says that it is connected with another.
    pub(crate) fn has(&self, other: i32) -> bool {
        self.edges.binary_search(&other).is_ok()
    }
}
