//! A graph over many partitions, in which every vertex knows its connected component.
//!
//! It is the example of the Scala original, whose records and calls it keeps: vertices are numbers, two of them are connected or
//! disconnected, and each shows the component it belongs to, which is named after its least vertex. A vertex lives in the
//! partition of its number, so everything here spans partitions, by effects alone. This is the heart of the example: it
//! knows no HTTP.
//!
//! Its invariant: **when no effect is on its way, every vertex shows its true component**, and the component lists exactly its
//! vertices, whatever raced and whoever failed. How and why: [`component`], and `docs/adr/0008-graph.md`.
//!
//! ```
//! use affinity_keyspace::Harness;
//! use graph::{Ask, Answer, Connect, Graph, Look};
//!
//! let mut partition = Harness::new(Graph::default(), 1);
//! let ask = Ask::Connect(Connect { from: 4, to: 2, headers: [].into() });
//! assert_eq!(ask.key(), 2);
//! assert_eq!(partition.command(ask).answer, Ok(Answer::Changed(true)));
//! let Ok(Answer::Vertex(vertex)) = partition.query(Look::Vertex(2)) else { panic!("no vertex") };
//! assert_eq!((vertex.component, vertex.edges[0].target), (2, 4));
//! ```

pub mod component;
mod messages;
mod records;
mod rule;
mod stores;
#[cfg(test)]
mod tests;
pub mod vertex;

use affinity_keyspace::{AnyStore, Incoming, Master, Partition, Refused, View};
use bytes::Bytes;
use thiserror::Error;

pub use messages::{Answer, Ask, Connect, Disconnect, Look};
pub use records::{Component, Edge, VertexProps};
pub use stores::{COMPONENTS, GRAPH, VERTICES};

use messages::Message;
use stores::{Here, MEMBERS, PLACES};

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GraphError {
    /// Both ends are the same vertex.
    #[error("a vertex is not connected with itself")]
    SameVertex,
    /// There is no such edge.
    #[error("the vertices are not connected")]
    NotConnected,
}

/// The handlers of the keyspace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Graph {
    /// A rule that is taken away, for the proof that the proof can fail.
    #[cfg(test)]
    removed: Option<rule::Rule>,
}

impl Graph {
    fn here<'a, 'm>(self, cx: &'a mut Master<'m>) -> Here<'a, 'm> {
        Here {
            cx,
            #[cfg(test)]
            removed: self.removed,
        }
    }
}

impl Partition for Graph {
    const STORES: &'static [&'static str] =
        &[VERTICES.name(), COMPONENTS.name(), PLACES.name(), MEMBERS.name()];
    const RECORDS: &'static [&'static dyn AnyStore] = &[&VERTICES, &COMPONENTS, &PLACES, &MEMBERS];
    type Command = Ask;
    type Query = Look;
    type Answer = Answer;
    type Error = GraphError;

    fn command(&self, cx: &mut Master<'_>, ask: &Ask) -> Result<Answer, GraphError> {
        let mut here = self.here(cx);
        match ask {
            Ask::Connect(connect) => vertex::connect(&mut here, connect).map(Answer::Changed),
            Ask::Disconnect(disconnect) => {
                vertex::disconnect(&mut here, disconnect).map(|()| Answer::Changed(true))
            }
        }
    }

    fn query(&self, cx: &View<'_>, look: &Look) -> Result<Answer, GraphError> {
        Ok(match look {
            Look::Vertex(id) => cx.get(&VERTICES, id).map_or(Answer::Nothing, Answer::Vertex),
            Look::Component(id) => cx.get(&COMPONENTS, id).map_or(Answer::Nothing, Answer::Component),
        })
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        let (id, message) = (effect.key::<i32>()?, effect.message()?);
        take(&mut self.here(cx), id, &message);
        Ok(Bytes::new())
    }

    /// No message is ever refused, but one by which more vertices would leave a component than a group may have changes, some 16,000: then
    /// what these show stays behind. It is counted among what the owner drops.
    fn refused(&self, _: &mut Master<'_>, effect: &Incoming<'_>) -> Result<(), Refused> {
        Err(Refused(format!("for {}: {}", effect.key::<i32>()?, effect.reason())))
    }
}

/// Handles a message for vertex or component `id`.
fn take(here: &mut impl stores::Stores, id: i32, message: &Message) {
    match message {
        Message::Joined(joined) => vertex::joined(here, id, joined),
        Message::Parted(parted) => vertex::parted(here, id, parted),
        Message::Home(home) => vertex::home(here, id, home),
        Message::Meet(meet) => vertex::meet(here, id, meet),
        Message::Report(report) => component::report(here, id, report),
        Message::Invite(invite) => component::invite(here, id, invite),
        Message::Yield(r#yield) => component::give_way(here, id, r#yield),
        Message::Handover(handover) => component::take_up(here, id, handover),
    }
}
