//! The handlers, one message at a time.

use affinity_avro::Record;
use affinity_keyspace::{Changed, Emission, Failure, Harness, Store};
use affinity_types::EventTime;
use affinity_types::codec::Encode;

use crate::messages::{Handover, Home, Invite, Joined, Meet, Message, Report, Yield};
use crate::records::{Member, Place};
use crate::stores::{DESTINATION, MEMBERS, PLACES};
use crate::{
    Answer, Ask, COMPONENTS, Component, Connect, Disconnect, Edge, Graph, GraphError, Look, VERTICES,
    VertexProps,
};

fn harness() -> Harness<Graph> {
    let mut harness = Harness::new(Graph::default(), 1);
    harness.set_now(EventTime(5));
    harness
}

fn connect(from: i32, to: i32) -> Ask {
    Ask::Connect(Connect { from, to, headers: [].into() })
}

fn edge(target: i32) -> Edge {
    Edge { target, timestamp: 5, headers: [].into() }
}

fn member(component: i32, vertex: i32, edges: &[i32]) -> Member {
    Member { vertex, component, moves: 3, version: 7, edges: edges.to_vec() }
}

/// A partition where a component holds vertices with their edges.
fn holding(id: i32, members: &[(i32, &[i32])]) -> Harness<Graph> {
    let mut harness = harness();
    let connected = members.iter().map(|(vertex, _)| *vertex).collect();
    harness.given(&COMPONENTS, &id, &Component { ts: 1, connected });
    for (vertex, edges) in members {
        harness.given(&MEMBERS, vertex, &member(id, *vertex, edges));
    }
    harness
}

/// A change as the harness tells it.
fn put<V: Encode>(store: &Store<i32, V>, key: i32, value: &V) -> Changed {
    harness().changed(store, &key, Some(value))
}

fn delete<V: Encode>(store: &Store<i32, V>, key: i32) -> Changed {
    harness().changed(store, &key, None)
}

fn sent(to: i32, message: Message) -> Emission {
    Emission::new(&DESTINATION, &to, &message)
}

/// What a message to `id` changes and sends.
#[track_caller]
fn check(harness: &mut Harness<Graph>, id: i32, message: Message, changes: &[Changed], effects: &[Emission]) {
    let outcome = harness.effect(&DESTINATION, &id, &message);
    assert!(outcome.answer.is_ok(), "{outcome:?}");
    assert_eq!(outcome.changes, changes);
    assert_eq!(outcome.effects, effects);
}

#[test]
fn the_records_are_those_of_the_original() {
    let schema = concat!(
        r#"{"name":"message.VertexProps","type":"record","fields":[{"name":"ts","type":"long"},"#,
        r#"{"name":"component","type":"int"},{"name":"edges","type":{"type":"array","items":"#,
        r#"{"name":"message.Edge","type":"record","fields":[{"name":"target","type":"int"},"#,
        r#"{"name":"timestamp","type":"long"},{"name":"headers","type":{"type":"map","values":"string"}}]}}}]}"#,
    );
    assert_eq!(VertexProps::schema().canonical(), schema);
    let schema = concat!(
        r#"{"name":"message.Component","type":"record","fields":[{"name":"ts","type":"long"},"#,
        r#"{"name":"connected","type":{"type":"array","items":"int"}}]}"#,
    );
    assert_eq!(Component::schema().canonical(), schema);
    let empty = VertexProps::from_json("{}").unwrap();
    assert_eq!(empty.to_json(), r#"{"ts":1475178519756,"component":-1,"edges":[]}"#);
    assert_eq!(Component::from_json("{}").unwrap().to_json(), r#"{"ts":0,"connected":[]}"#);
    let edge = Edge::from_json(r#"{"target":4}"#).unwrap();
    assert_eq!(edge.to_json(), r#"{"target":4,"timestamp":0,"headers":{}}"#);
    // All that is behind them has a schema, too.
    assert!(Message::schema().name().is_none() && Answer::schema().name().is_none());
}

#[test]
fn the_lesser_end_begins_an_edge_and_is_its_own_component_at_first() {
    let mut harness = harness();
    let outcome = harness.command(connect(4, 2));
    assert_eq!(outcome.answer, Ok(Answer::Changed(true)));
    let props = VertexProps { ts: 5, component: 2, edges: vec![edge(4)] };
    let expected = [
        put(&MEMBERS, 2, &Member::alone(2)),
        put(&COMPONENTS, 2, &Component { ts: 5, connected: vec![2] }),
        put(&VERTICES, 2, &props),
        put(&PLACES, 2, &Place { moves: 0, version: 1 }),
    ];
    assert_eq!(outcome.changes, expected);
    let report = Message::Report(Report { vertex: 2, version: 1, edges: vec![4] });
    assert_eq!(outcome.effects, [sent(2, report), sent(4, Message::Joined(Joined { edge: edge(2) }))]);
    assert_eq!(harness.query(Look::Vertex(2)), Ok(Answer::Vertex(props)));
    assert_eq!(harness.query(Look::Vertex(4)), Ok(Answer::Nothing));
    let component = Component { ts: 5, connected: vec![2] };
    assert_eq!(harness.query(Look::Component(2)), Ok(Answer::Component(component)));
}

#[test]
fn what_changes_nothing_says_so() {
    let mut harness = harness();
    harness.command(connect(1, 2));
    let again = harness.command(connect(2, 1));
    assert_eq!(again.answer, Ok(Answer::Changed(false)));
    assert_eq!((again.changes.len(), again.effects.len()), (0, 0));
    let disconnect = |from, to| Ask::Disconnect(Disconnect { from, to });
    for (ask, error) in [
        (connect(1, 1), GraphError::SameVertex),
        (disconnect(1, 1), GraphError::SameVertex),
        (disconnect(1, 3), GraphError::NotConnected),
        (disconnect(2, 3), GraphError::NotConnected),
    ] {
        assert_eq!(harness.command(ask).answer, Err(Failure::Handler(error)));
    }
    assert_eq!(harness.command(disconnect(2, 1)).answer, Ok(Answer::Changed(true)));
    assert_eq!(harness.command(disconnect(2, 1)).answer, Err(Failure::Handler(GraphError::NotConnected)));
}

#[test]
fn an_edge_within_a_component_rewrites_one_member_and_not_the_component() {
    let mut harness = holding(1, &[(1, &[2, 3]), (2, &[1]), (3, &[1])]);
    let report = Message::Report(Report { vertex: 2, version: 8, edges: vec![1, 3] });
    let two = Member { version: 8, ..member(1, 2, &[1, 3]) };
    check(&mut harness, 1, report, &[put(&MEMBERS, 2, &two)], &[]);
    // The same for an edge that is not the only way.
    let report = Message::Report(Report { vertex: 1, version: 8, edges: vec![3] });
    let one = Member { version: 8, ..member(1, 1, &[3]) };
    check(&mut harness, 1, report, &[put(&MEMBERS, 1, &one)], &[]);
}

#[test]
fn a_report_that_is_late_or_for_another_component_is_not_believed() {
    let mut harness = holding(1, &[(1, &[2]), (2, &[1])]);
    let report = |version| Message::Report(Report { vertex: 2, version, edges: vec![] });
    check(&mut harness, 1, report(7), &[], &[]);
    check(&mut harness, 3, report(9), &[], &[]);
}

#[test]
fn an_edge_to_elsewhere_is_told_to_the_neighbour_through_the_vertex() {
    let mut harness = holding(1, &[(1, &[])]);
    let report = Message::Report(Report { vertex: 1, version: 8, edges: vec![6] });
    let home = Message::Home(Home { component: 1, moves: 3, version: 8, meet: vec![6] });
    let one = Member { version: 8, ..member(1, 1, &[6]) };
    check(&mut harness, 1, report, &[put(&MEMBERS, 1, &one)], &[sent(1, home)]);
}

#[test]
fn a_component_that_falls_apart_keeps_its_own_piece() {
    let mut harness = holding(1, &[(1, &[2]), (2, &[1, 3]), (3, &[2])]);
    let report = Message::Report(Report { vertex: 2, version: 8, edges: vec![1] });
    let two = Member { version: 8, ..member(1, 2, &[1]) };
    // 3 still says that it is connected.
    check(&mut harness, 1, report, &[put(&MEMBERS, 2, &two)], &[]);
    let report = Message::Report(Report { vertex: 3, version: 8, edges: vec![] });
    let three = Member { moves: 4, version: 8, ..member(3, 3, &[]) };
    let expected = [delete(&MEMBERS, 3), put(&COMPONENTS, 1, &Component { ts: 5, connected: vec![1, 2] })];
    let handover = Message::Handover(Handover { members: vec![three] });
    check(&mut harness, 1, report, &expected, &[sent(3, handover)]);
}

#[test]
fn the_lesser_component_invites_and_the_greater_one_gives_way() {
    let mut harness = holding(5, &[(5, &[6]), (6, &[5, 2])]);
    let invite = |host| Message::Invite(Invite { host, guest: 9, from: 9 });
    check(&mut harness, 5, invite(6), &[], &[sent(9, Message::Yield(Yield { guest: 9, to: 5 }))]);
    check(&mut harness, 5, invite(7), &[], &[]);
    let give = |guest, to| Message::Yield(Yield { guest, to });
    check(&mut harness, 5, give(7, 2), &[], &[]);
    check(&mut harness, 5, give(6, 8), &[], &[]);
    let changes = [delete(&COMPONENTS, 5), delete(&MEMBERS, 5), delete(&MEMBERS, 6)];
    let moved = |vertex, edges| Member { moves: 4, ..member(2, vertex, edges) };
    let handover = Message::Handover(Handover { members: vec![moved(5, &[6]), moved(6, &[5, 2])] });
    check(&mut harness, 5, give(6, 2), &changes, &[sent(2, handover)]);
}

#[test]
fn what_comes_is_kept_if_it_is_connected_and_goes_on_if_not() {
    let mut harness = holding(2, &[(2, &[6])]);
    let members = vec![member(2, 5, &[7]), member(2, 6, &[2, 8]), member(2, 7, &[5])];
    let six = put(&MEMBERS, 6, &members[1]);
    let moved = |vertex, edges| Member { moves: 4, ..member(5, vertex, edges) };
    let home = Message::Home(Home { component: 2, moves: 3, version: 7, meet: vec![8] });
    let handover = Message::Handover(Handover { members: vec![moved(5, &[7]), moved(7, &[5])] });
    let changes = [put(&COMPONENTS, 2, &Component { ts: 5, connected: vec![2, 6] }), six];
    let effects = [sent(5, handover), sent(6, home)];
    check(&mut harness, 2, Message::Handover(Handover { members }), &changes, &effects);
}

#[test]
fn a_vertex_believes_who_held_it_last_and_tells_what_that_one_missed() {
    let mut harness = harness();
    let props = VertexProps { ts: 1, component: 4, edges: vec![edge(7), edge(9)] };
    harness.given(&VERTICES, &4, &props);
    harness.given(&PLACES, &4, &Place { moves: 2, version: 6 });
    let home = |moves, version| Message::Home(Home { component: 1, moves, version, meet: vec![7] });
    let meet = sent(7, Message::Meet(Meet { vertex: 4, component: 1 }));
    check(&mut harness, 4, home(1, 6), &[], &[]);
    let changes = [
        put(&PLACES, 4, &Place { moves: 4, version: 6 }),
        put(&VERTICES, 4, &VertexProps { ts: 5, component: 1, ..props }),
    ];
    let report = sent(1, Message::Report(Report { vertex: 4, version: 6, edges: vec![7, 9] }));
    check(&mut harness, 4, home(4, 5), &changes, &[report, meet.clone()]);
    // To be told of neighbours again changes nothing.
    check(&mut harness, 4, home(4, 5), &[], &[meet]);
}

#[test]
fn a_vertex_that_meets_a_neighbour_lets_the_lesser_component_invite() {
    let mut harness = harness();
    harness.given(&VERTICES, &4, &VertexProps { ts: 1, component: 3, edges: vec![edge(7)] });
    let meet = |component| Message::Meet(Meet { vertex: 7, component });
    let invite = |host, guest, from| Message::Invite(Invite { host, guest, from });
    check(&mut harness, 4, meet(3), &[], &[]);
    check(&mut harness, 4, meet(1), &[], &[sent(1, invite(7, 4, 3))]);
    check(&mut harness, 4, meet(6), &[], &[sent(3, invite(4, 7, 6))]);
}
