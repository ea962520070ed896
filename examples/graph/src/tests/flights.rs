//! Real input: the routes between US airports, first one after the other to see what each costs, then all at once.

use std::collections::{BTreeMap, HashMap};

use affinity_avro::Record;
use affinity_keyspace::Reply;
use affinity_types::codec::Encode;
use tokio::sync::oneshot;

use super::model::{Rules, State};
use super::picture::Picture;
use super::world::{Plan, Random, World};
use crate::messages::Message;
use crate::{Answer, Ask, Connect, Disconnect, GraphError};

const AIRPORTS: &str = include_str!("../../data/airports.csv");
/// Pairs of airports with a route, one way or both.
const EDGES: usize = 2834;
const AIRPORTS_WITH_ROUTES: usize = 305;
const ROUTES: &str = include_str!("../../data/flights-airport.csv");

/// The routes; an airport's number is its row.
fn routes() -> Vec<Connect> {
    let airports = AIRPORTS.lines().skip(1).zip(1..);
    let numbers: HashMap<&str, i32> =
        airports.map(|(line, number)| (line.split_once(',').unwrap().0, number)).collect();
    let route = |line: &str| {
        let [from, to, flights] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let headers = [("from", from), ("to", to), ("flights", flights)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Connect { from: numbers[from], to: numbers[to], headers }
    };
    ROUTES.lines().skip(1).map(route).collect()
}

fn shuffle<T>(list: &mut [T], random: &mut Random) {
    for n in (1..list.len()).rev() {
        list.swap(n, random.index(n + 1));
    }
}

/// Messages, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    messages: usize,
    bytes: usize,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Joined(_) => "joined",
        Message::Parted(_) => "parted",
        Message::Home(_) => "home",
        Message::Meet(_) => "meet",
        Message::Report(_) => "report",
        Message::Invite(_) => "invite",
        Message::Yield(_) => "yield",
        Message::Handover(_) => "handover",
    }
}

/// How much things that are asked one after the other cost, each until all is at rest again.
#[derive(Debug, Default)]
struct Costs {
    all: Cost,
    /// Of the one whose messages have the most bytes.
    most: Cost,
    kinds: BTreeMap<&'static str, Cost>,
    /// Of those that changed edges and no component.
    plain: Cost,
    plains: usize,
}

impl Costs {
    fn of(graph: &mut State, asks: impl Iterator<Item = Ask>) -> Costs {
        let mut costs = Costs::default();
        asks.for_each(|ask| costs.ask(graph, &ask));
        assert_eq!(graph.picture().complaint(), None);
        println!("{costs:?}");
        costs
    }

    fn ask(&mut self, graph: &mut State, ask: &Ask) {
        let (mut cost, mut is_plain) = (Cost::default(), true);
        graph.ask(ask, Rules::ALL);
        graph.settle(|message| {
            let one = Cost { messages: 1, bytes: message.to_bytes().len() };
            cost.add(one);
            self.kinds.entry(kind(message)).or_default().add(one);
            is_plain &= !matches!(message, Message::Handover(_));
        });
        self.all.add(cost);
        if cost.bytes > self.most.bytes {
            self.most = cost;
        }
        if is_plain && cost.messages > 0 {
            assert_eq!(cost.messages, 3, "both ends tell the component, one the other");
            self.plain.add(cost);
            self.plains += 1;
        }
    }
}

fn sizes(picture: &Picture) {
    let most = |sizes: &mut dyn Iterator<Item = usize>| sizes.max().unwrap();
    println!(
        "{} components; largest records: vertex {}, component {}, member {}",
        picture.components.len(),
        most(&mut picture.vertices.values().map(|record| record.to_avro().len())),
        most(&mut picture.components.values().map(|record| record.to_avro().len())),
        most(&mut picture.members.values().map(|record| record.to_avro().len())),
    );
}

#[test]
fn one_after_the_other_a_route_costs_three_messages_and_a_merger_a_few_more() {
    let mut connects: Vec<Ask> = routes().into_iter().map(Ask::Connect).collect();
    let mut graph = State::default();
    let costs = Costs::of(&mut graph, connects.iter().cloned());
    sizes(&graph.picture());
    let mut edges = graph.picture().edges().unwrap();
    assert_eq!((edges.len(), graph.picture().components.len()), (EDGES, 1));
    // All but one airport have to join: each edge costs its three, each merger what it needs.
    let is_cheap = |costs: &Costs| costs.all.messages < 3 * EDGES + 12 * AIRPORTS_WITH_ROUTES;
    assert!(is_cheap(&costs) && costs.all.bytes < 240 * EDGES, "{costs:?}");

    shuffle(&mut edges, &mut Random(3));
    let part = |(from, to)| Ask::Disconnect(Disconnect { from, to });
    let costs = Costs::of(&mut graph, edges.into_iter().map(part));
    assert_eq!(graph.picture().components.len(), AIRPORTS_WITH_ROUTES);
    assert!(is_cheap(&costs), "{costs:?}");

    shuffle(&mut connects, &mut Random(4));
    let costs = Costs::of(&mut graph, connects.into_iter());
    assert!(is_cheap(&costs), "{costs:?}");
}

/// Asks of them as many at once as a browser might, and waits until all is at rest.
fn ask_all(world: &mut World, asks: impl IntoIterator<Item = Ask>) {
    const AT_ONCE: usize = 64;
    let mut waiting: Vec<oneshot::Receiver<Reply<Answer, GraphError>>> = Vec::new();
    let mut asks = asks.into_iter().peekable();
    while asks.peek().is_some() || !waiting.is_empty() {
        while let Some(ask) = asks.next_if(|_| waiting.len() < AT_ONCE) {
            let (reply, answer) = oneshot::channel();
            world.of(ask.key()).command(ask, None, None, Some(reply)).unwrap();
            waiting.push(answer);
        }
        world.turn();
        waiting.retain_mut(|answer| match answer.try_recv() {
            Ok(answer) => {
                answer.unwrap();
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(closed) => panic!("{closed}"),
        });
    }
    while !world.is_at_rest() {
        (0..7).for_each(|_| world.turn());
    }
    assert_eq!(world.picture().complaint(), None);
}

#[test]
fn all_at_once_every_airport_shows_its_component() {
    let plan = Plan { seed: 1, partitions: 4, nodes: 1, faults: false, removed: None };
    let mut world = World::new(plan);
    (0..20).for_each(|_| world.turn());
    let report = |what: &str, before: (u64, u64), world: &World| {
        let (effects, records) = (world.delivered() - before.0, world.records() - before.1);
        println!("{what}: {effects} effects, {records} records");
    };
    ask_all(&mut world, routes().into_iter().map(Ask::Connect));
    report("connect", (0, 0), &world);
    sizes(&world.picture());
    let mut edges = world.picture().edges().unwrap();
    assert_eq!(edges.len(), EDGES);
    let before = (world.delivered(), world.records());
    shuffle(&mut edges, &mut Random(5));
    let few = edges.len() / 20;
    for (rest, what) in [(edges.len() / 3, "a third is left"), (few, "few are left")] {
        let gone = edges.split_off(rest);
        ask_all(&mut world, gone.into_iter().map(|(from, to)| Ask::Disconnect(Disconnect { from, to })));
        assert_eq!(world.picture().edges().unwrap().len(), rest);
        report(what, before, &world);
        sizes(&world.picture());
    }
    assert!(world.picture().components.len() > 100);
}
