//! Every order of messages on small graphs, each vertex and component in a partition of its own: the handlers themselves, over maps.
//!
//! The platform is taken at its word: handlers are atomic, and messages of a pair of partitions come once and in order. The
//! simulation does not take it so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use affinity_simulation::models::explore::{Model, Report, explore};

use super::picture::Picture;
use crate::messages::{Ask, Connect, Disconnect, Message};
use crate::records::{Component, Member, Place, VertexProps};
use crate::rule::Rule;
use crate::stores::Stores;
use crate::{take, vertex};

/// What one partition stores, that of one vertex and of the component of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shard {
    vertex: Option<VertexProps>,
    place: Place,
    component: Option<Component>,
    members: BTreeMap<i32, Member>,
}

/// What the handlers go by.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    removed: Option<Rule>,
    handover_max: usize,
}

impl Rules {
    pub(super) const ALL: Rules = Rules { removed: None, handover_max: usize::MAX };

    fn without(rule: Rule) -> Rules {
        Rules { removed: Some(rule), ..Rules::ALL }
    }
}

/// A shard while a handler runs, and what it sends.
struct Running {
    shard: Shard,
    rules: Rules,
    sent: Vec<(i32, Message)>,
}

impl Stores for Running {
    fn now(&self) -> i64 {
        0
    }

    fn vertex(&self, _: i32) -> Option<VertexProps> {
        self.shard.vertex.clone()
    }

    fn put_vertex(&mut self, _: i32, props: &VertexProps) {
        self.shard.vertex = Some(props.clone());
    }

    fn place(&self, _: i32) -> Place {
        self.shard.place
    }

    fn put_place(&mut self, _: i32, place: &Place) {
        self.shard.place = *place;
    }

    fn component(&self, _: i32) -> Option<Component> {
        self.shard.component.clone()
    }

    fn put_component(&mut self, _: i32, component: &Component) {
        self.shard.component = Some(component.clone());
    }

    fn delete_component(&mut self, _: i32) {
        self.shard.component = None;
    }

    fn member(&self, vertex: i32) -> Option<Member> {
        self.shard.members.get(&vertex).cloned()
    }

    fn put_member(&mut self, member: &Member) {
        self.shard.members.insert(member.vertex, member.clone());
    }

    fn delete_member(&mut self, vertex: i32) {
        self.shard.members.remove(&vertex);
    }

    fn send(&mut self, to: i32, message: &Message) {
        self.sent.push((to, message.clone()));
    }

    fn handover_max(&self) -> usize {
        self.rules.handover_max
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.rules.removed != Some(rule)
    }
}

/// All partitions, and what is on its way between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    shards: BTreeMap<i32, Arc<Shard>>,
    /// Messages by sender and receiver; no channel is empty.
    pub(super) channels: BTreeMap<(i32, i32), Arc<VecDeque<Message>>>,
    /// How much of its list each client has asked.
    asked: Vec<usize>,
}

impl State {
    fn run(&mut self, id: i32, rules: Rules, handle: impl FnOnce(&mut Running)) {
        let shard = self.shards.remove(&id).map(Arc::unwrap_or_clone).unwrap_or_default();
        let mut running = Running { shard, rules, sent: Vec::new() };
        handle(&mut running);
        self.shards.insert(id, Arc::new(running.shard));
        for (to, message) in running.sent {
            Arc::make_mut(self.channels.entry((id, to)).or_default()).push_back(message);
        }
    }

    /// Does what a client asks, with what comes of it still on its way.
    pub(super) fn ask(&mut self, ask: &Ask, rules: Rules) {
        self.run(ask.key(), rules, |running| {
            let _ = match ask {
                Ask::Connect(connect) => vertex::connect(running, connect),
                Ask::Disconnect(disconnect) => vertex::disconnect(running, disconnect).map(|()| true),
            };
        });
    }

    /// The next message of a channel comes, and is given back.
    pub(super) fn deliver(&mut self, channel: (i32, i32), rules: Rules) -> Message {
        let queue = Arc::make_mut(self.channels.get_mut(&channel).unwrap());
        let message = queue.pop_front().unwrap();
        if queue.is_empty() {
            self.channels.remove(&channel);
        }
        self.run(channel.1, rules, |running| take(running, channel.1, &message));
        message
    }

    /// Delivers until nothing is on its way.
    pub(super) fn settle(&mut self, mut each: impl FnMut(&Message)) {
        while let Some(channel) = self.channels.keys().next().copied() {
            each(&self.deliver(channel, Rules::ALL));
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        for (id, shard) in &self.shards {
            if let Some(vertex) = &shard.vertex {
                picture.vertices.insert(*id, vertex.clone());
                picture.places.insert(*id, shard.place);
            }
            picture.components.extend(shard.component.iter().map(|component| (*id, component.clone())));
            picture.members.extend(shard.members.iter().map(|(vertex, member)| (*vertex, member.clone())));
        }
        picture
    }
}

/// An invariant that holds at every moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    /// A vertex is not held, or held twice.
    NotOne,
    /// A component has not the vertices that it lists, or its least one is not its name.
    NotListed,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client asks the next thing.
    Ask(#[expect(dead_code, reason = "it is printed with a path")] usize),
    /// The next message comes, from one partition to another.
    Deliver(#[expect(dead_code, reason = "it is printed with a path")] (i32, i32)),
}

/// Clients that each ask one thing after the other.
struct Clients {
    /// What was asked before, and has come to rest.
    given: Vec<Ask>,
    clients: Vec<Vec<Ask>>,
    rules: Rules,
}

/// Connects, or disconnects, two vertices.
fn join(from: i32, to: i32) -> Ask {
    Ask::Connect(Connect { from, to, headers: BTreeMap::new() })
}

fn part(from: i32, to: i32) -> Ask {
    Ask::Disconnect(Disconnect { from, to })
}

impl Model for Clients {
    type State = State;
    type Step = Step;
    type Violation = Violation;

    fn initial(&self) -> State {
        let mut state = State { asked: vec![0; self.clients.len()], ..State::default() };
        for ask in &self.given {
            state.ask(ask, Rules::ALL);
            state.settle(|_| ());
        }
        state
    }

    fn successors(&self, state: &State) -> Vec<(Step, State)> {
        let mut next = Vec::new();
        for (client, list) in self.clients.iter().enumerate() {
            if let Some(ask) = list.get(state.asked[client]) {
                let mut after = state.clone();
                after.asked[client] += 1;
                after.ask(ask, self.rules);
                next.push((Step::Ask(client), after));
            }
        }
        for channel in state.channels.keys() {
            let mut after = state.clone();
            after.deliver(*channel, self.rules);
            next.push((Step::Deliver(*channel), after));
        }
        next
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        let mut held: Vec<i32> =
            state.shards.values().flat_map(|shard| shard.members.keys().copied()).collect();
        for message in state.channels.values().flat_map(|queue| queue.iter()) {
            if let Message::Handover(handover) = message {
                held.extend(handover.members.iter().map(|member| member.vertex));
            }
        }
        held.sort_unstable();
        let there = state.shards.iter().filter(|(_, shard)| shard.vertex.is_some()).map(|(id, _)| *id);
        if !held.into_iter().eq(there) {
            return Some(Violation::NotOne);
        }
        let listed = state.shards.iter().all(|(id, shard)| {
            let members: Vec<i32> = shard.members.keys().copied().collect();
            match &shard.component {
                None => members.is_empty(),
                Some(component) => component.connected == members && members.first() == Some(id),
            }
        });
        (!listed).then_some(Violation::NotListed)
    }

    fn ends_badly(&self, end: &State) -> bool {
        end.picture().complaint().is_some()
    }
}

/// More states than any model here has.
const LIMIT: usize = 1_000_000;

/// What is asked before, one after the other, and then by clients that race.
type Scenario<'a> = (&'a [Ask], &'a [&'a [Ask]]);

fn run((given, clients): Scenario<'_>, rules: Rules, limit: usize) -> Report<Step, Violation> {
    let clients = clients.iter().map(|list| list.to_vec()).collect();
    explore(&Clients { given: given.to_vec(), clients, rules }, limit)
}

/// Whatever comes when, all come to rest, and show their components then. The numbers of states and of ends are asserted too: a
/// model that forgets a step would hold as well. Ends differ in how often vertices were handed over.
fn check(scenario: Scenario<'_>, states: usize, ends: usize) {
    check_by(scenario, Rules::ALL, states, ends);
}

fn check_by(scenario: Scenario<'_>, rules: Rules, states: usize, ends: usize) {
    let report = run(scenario, rules, LIMIT);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert_eq!(report.bad_ends, 0, "{:#?}", report.bad_end);
    assert!(report.complete);
    assert_eq!((report.states, report.ends), (states, ends));
}

/// Without a rule something goes wrong at rest, or before.
fn check_without(rule: Rule, scenario: Scenario<'_>) {
    let report = run(scenario, Rules::without(rule), LIMIT);
    assert!(report.complete);
    assert!(report.bad_ends > 0 || !report.violations.is_empty(), "{rule:?} is not missed");
}

#[test]
fn two_that_connect_and_disconnect_agree() {
    check((&[], &[&[join(1, 2)]]), 66, 1);
    check((&[], &[&[join(1, 2), part(1, 2), join(1, 2)]]), 9_872, 3);
    check((&[join(1, 2)], &[&[part(1, 2), join(1, 2)]]), 134, 2);
}

#[test]
fn three_that_race_show_their_component() {
    let path = [join(1, 2), join(2, 3)];
    check((&[], &[&[join(1, 2)], &[join(2, 3)]]), 14_907, 3);
    check((&path, &[&[part(1, 2)], &[part(2, 3)]]), 164, 2);
    check((&path, &[&[part(1, 2)], &[join(1, 3)]]), 305, 2);
    check((&path, &[&[part(1, 2), join(1, 2)], &[part(2, 3)]]), 5_593, 4);
    check((&path, &[&[part(1, 2)], &[part(2, 3), join(2, 3)]]), 3_795, 4);
    let around = [join(1, 3), join(2, 3)];
    check((&around, &[&[part(1, 3)], &[part(2, 3), join(2, 3)]]), 4_185, 6);
    check((&around, &[&[part(1, 3), join(1, 3)], &[part(2, 3)]]), 6_756, 4);
    let star = [join(1, 2), join(1, 3)];
    check((&star, &[&[part(1, 2)], &[part(1, 3), join(2, 3)]]), 4_590, 7);
    let triangle = [join(1, 2), join(1, 3), join(2, 3)];
    check((&triangle, &[&[part(1, 2), part(1, 3)], &[part(2, 3)]]), 405, 2);
    check((&[join(2, 3)], &[&[join(1, 2), part(1, 2)], &[part(2, 3)]]), 38_409, 8);
    check((&[join(1, 2)], &[&[part(1, 2)], &[join(2, 3)], &[join(1, 3)]]), 163_857, 5);
}

#[test]
fn four_that_race_show_their_component() {
    let pairs = [join(1, 2), join(3, 4)];
    check((&pairs, &[&[join(2, 3)], &[join(1, 4)]]), 6_481, 1);
    check((&pairs, &[&[join(2, 3)], &[part(1, 2)]]), 2_486, 3);
    check((&[join(1, 3), join(2, 4)], &[&[join(3, 4)], &[part(1, 3)]]), 2_969, 4);
    check((&[join(2, 3), join(3, 4)], &[&[join(1, 3), part(1, 3)], &[part(2, 3)]]), 258_637, 9);
}

#[test]
fn pieces_that_come_in_parts_find_together() {
    let parts = Rules { handover_max: 1, ..Rules::ALL };
    let pair = [join(2, 3)];
    check_by((&pair, &[&[join(1, 2)]]), parts, 213, 1);
    check_by((&pair, &[&[join(1, 3)]]), parts, 464, 1);
    check_by((&pair, &[&[join(1, 2)], &[part(2, 3)]]), parts, 3_453, 3);
    check_by((&pair, &[&[join(1, 3), part(1, 3)]]), parts, 70_852, 21);
    check_by((&[join(1, 3), join(2, 3)], &[&[part(1, 3), join(1, 3)]]), parts, 1_844, 2);
    check_by((&[join(1, 2), join(3, 4)], &[&[join(2, 4)]]), parts, 472, 1);
}

#[test]
fn every_rule_is_missed() {
    let path = [join(1, 2), join(2, 3)];
    check_without(Rule::Moves, (&path, &[&[part(1, 2), join(1, 2)]]));
    check_without(Rule::CatchUp, (&path, &[&[part(1, 2)], &[part(2, 3)]]));
    check_without(Rule::Version, (&[join(2, 3)], &[&[join(1, 2), part(1, 2)], &[part(2, 3)]]));
    check_without(Rule::Recompute, (&path, &[&[part(1, 2)]]));
    check_without(Rule::Judge, (&[], &[&[join(1, 2)], &[join(2, 3)]]));
    check_without(Rule::Meet, (&[], &[&[join(1, 2)], &[join(2, 3)]]));
    check_without(Rule::MeetNew, (&[], &[&[join(1, 2)]]));
}

#[test]
fn without_the_word_of_either_end_vertices_may_go_to_and_fro_for_ever() {
    let scenario: Scenario<'_> = (&[join(1, 2), join(1, 3), join(2, 3)], &[&[part(1, 2)], &[part(1, 3)]]);
    check(scenario, 62, 1);
    assert!(!run(scenario, Rules::without(Rule::EitherEnd), 20_000).complete);
}
