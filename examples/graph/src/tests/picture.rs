//! All that is stored of a graph, and what has to hold of it at rest.

use std::collections::BTreeMap;

use affinity_avro::{Record, split_frame};
use affinity_types::codec::Decode;

use crate::records::{Component, Member, Place, VertexProps};
use crate::stores::{COMPONENTS, MEMBERS, PLACES, VERTICES};

/// What is stored, of all partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) vertices: BTreeMap<i32, VertexProps>,
    pub(super) components: BTreeMap<i32, Component>,
    pub(super) places: BTreeMap<i32, Place>,
    pub(super) members: BTreeMap<i32, Member>,
}

impl Picture {
    /// Adds an entry of a partition's store.
    pub(super) fn add(&mut self, store: &str, key: &[u8], value: &[u8]) {
        let key = i32::decode(key).unwrap();
        let (_, value) = split_frame(value).unwrap();
        let twice = if store == VERTICES.name() {
            self.vertices.insert(key, VertexProps::from_avro(value).unwrap()).is_some()
        } else if store == COMPONENTS.name() {
            self.components.insert(key, Component::from_avro(value).unwrap()).is_some()
        } else if store == PLACES.name() {
            self.places.insert(key, Place::from_avro(value).unwrap()).is_some()
        } else {
            assert_eq!(store, MEMBERS.name());
            self.members.insert(key, Member::from_avro(value).unwrap()).is_some()
        };
        assert!(!twice, "{store} {key} is there twice");
    }

    /// The edges, lesser end first, if both ends agree on them.
    pub(super) fn edges(&self) -> Result<Vec<(i32, i32)>, String> {
        let mut edges = Vec::new();
        for (id, props) in &self.vertices {
            for edge in &props.edges {
                let back = self.vertices.get(&edge.target);
                if !back.is_some_and(|other| other.edges.iter().any(|back| back.target == *id)) {
                    return Err(format!("{id} is connected with {}, but not the other way", edge.target));
                }
                if *id < edge.target {
                    edges.push((*id, edge.target));
                }
            }
        }
        Ok(edges)
    }

    /// What is wrong at rest, if anything.
    pub(super) fn complaint(&self) -> Option<String> {
        let edges = match self.edges() {
            Ok(edges) => edges,
            Err(why) => return Some(why),
        };
        let truth = components(self.vertices.keys().copied(), &edges);
        let wrong = self.vertices.iter().find(|(id, props)| truth[*id] != props.component);
        if let Some((id, props)) = wrong {
            return Some(format!("{id} shows {} and is in {}; edges {edges:?}", props.component, truth[id]));
        }
        let mut lists: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        truth.iter().for_each(|(vertex, component)| lists.entry(*component).or_default().push(*vertex));
        let listed = self.components.iter().map(|(id, component)| (*id, component.connected.clone()));
        let listed: BTreeMap<i32, Vec<i32>> = listed.collect();
        if listed != lists {
            return Some(format!("components are {lists:?}, listed {listed:?}"));
        }
        self.vertices.iter().find_map(|(id, props)| {
            let Place { moves, version } = self.places[id];
            let edges = props.edges.iter().map(|edge| edge.target).collect();
            let member = Member { vertex: *id, component: truth[id], moves, version, edges };
            let known = self.members.get(id);
            (known != Some(&member)).then(|| format!("of {member:?} is known {known:?}"))
        })
    }
}

/// The least vertex of each one's component: what no message has had a part in.
pub(super) fn components(vertices: impl Iterator<Item = i32>, edges: &[(i32, i32)]) -> BTreeMap<i32, i32> {
    fn root(above: &BTreeMap<i32, i32>, vertex: i32) -> i32 {
        if above[&vertex] == vertex { vertex } else { root(above, above[&vertex]) }
    }
    let mut above: BTreeMap<i32, i32> = vertices.map(|vertex| (vertex, vertex)).collect();
    for (a, b) in edges {
        let (a, b) = (root(&above, *a), root(&above, *b));
        above.insert(a.max(b), a.min(b));
    }
    above.keys().map(|vertex| (*vertex, root(&above, *vertex))).collect()
}
