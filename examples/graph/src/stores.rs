//! The stores of a partition, and what the handlers need of them.

use affinity_keyspace::{Destination, Master, Store};

use crate::messages::Message;
use crate::records::{Component, Member, Place, VertexProps};
use crate::rule::Rule;

/// The vertices: the main store.
pub const VERTICES: Store<i32, VertexProps> = Store::new("vertex");
/// The components, by their least vertex.
pub const COMPONENTS: Store<i32, Component> = Store::new("component");
/// What vertices know beside their records.
pub(crate) const PLACES: Store<i32, Place> = Store::new("place");
/// The vertices that the partition's components hold.
pub(crate) const MEMBERS: Store<i32, Member> = Store::new("member");

/// Name of the keyspace.
pub const GRAPH: &str = "graph";
/// Where messages go.
pub(crate) const DESTINATION: Destination<i32, Message> = Destination::new(GRAPH);

/// What a handler sees and changes: the partition's stores, and the way to other vertices and components. The exhaustive model
/// of the tests runs the same handlers over maps.
pub(crate) trait Stores {
    /// The partition's time in milliseconds.
    fn now(&self) -> i64;
    fn vertex(&self, id: i32) -> Option<VertexProps>;
    fn put_vertex(&mut self, id: i32, props: &VertexProps);
    fn place(&self, id: i32) -> Place;
    fn put_place(&mut self, id: i32, place: &Place);
    fn component(&self, id: i32) -> Option<Component>;
    fn put_component(&mut self, id: i32, component: &Component);
    fn delete_component(&mut self, id: i32);
    fn member(&self, vertex: i32) -> Option<Member>;
    fn put_member(&mut self, member: &Member);
    fn delete_member(&mut self, vertex: i32);
    /// Sends a message to a vertex or component: once, and in order for each pair of partitions.
    fn send(&mut self, to: i32, message: &Message);

    /// Vertices in one handover, at most: who takes them up makes two changes for each, and a group has an end. A piece that comes in
    /// parts may be judged wrongly, and finds together again.
    fn handover_max(&self) -> usize {
        4096
    }

    /// Whether a rule holds, as all do outside tests.
    fn keeps(&self, _: Rule) -> bool {
        true
    }
}

/// The stores of the partition in which a handler runs.
pub(crate) struct Here<'a, 'm> {
    pub(crate) cx: &'a mut Master<'m>,
    #[cfg(test)]
    pub(crate) removed: Option<Rule>,
}

impl Stores for Here<'_, '_> {
    fn now(&self) -> i64 {
        self.cx.now().0
    }

    fn vertex(&self, id: i32) -> Option<VertexProps> {
        self.cx.get(&VERTICES, &id)
    }

    fn put_vertex(&mut self, id: i32, props: &VertexProps) {
        self.cx.put(&VERTICES, &id, props);
    }

    fn place(&self, id: i32) -> Place {
        self.cx.get(&PLACES, &id).unwrap_or_default()
    }

    fn put_place(&mut self, id: i32, place: &Place) {
        self.cx.put(&PLACES, &id, place);
    }

    fn component(&self, id: i32) -> Option<Component> {
        self.cx.get(&COMPONENTS, &id)
    }

    fn put_component(&mut self, id: i32, component: &Component) {
        self.cx.put(&COMPONENTS, &id, component);
    }

    fn delete_component(&mut self, id: i32) {
        self.cx.delete(&COMPONENTS, &id);
    }

    fn member(&self, vertex: i32) -> Option<Member> {
        self.cx.get(&MEMBERS, &vertex)
    }

    fn put_member(&mut self, member: &Member) {
        self.cx.put(&MEMBERS, &member.vertex, member);
    }

    fn delete_member(&mut self, vertex: i32) {
        self.cx.delete(&MEMBERS, &vertex);
    }

    fn send(&mut self, to: i32, message: &Message) {
        self.cx.emit(&DESTINATION, &to, message);
    }

    #[cfg(test)]
    fn keeps(&self, rule: Rule) -> bool {
        self.removed != Some(rule)
    }
}
