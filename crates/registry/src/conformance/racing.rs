//! Several nodes at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Backend;
use super::node::{A, B, B_LONG, Node, side_by_side, yield_once};
use crate::{ErrorKind, SchemaId};

const NODES: usize = 6;

pub(super) async fn who_registers_the_same_gets_the_same(backend: &dyn Backend) {
    let all = Mutex::new(Vec::new());
    let start = async || {
        let node = Node::new(backend);
        yield_once().await;
        for (number, fields) in [&[A][..], &[A, B]].into_iter().enumerate() {
            let subject = node.subject("same");
            let registered = node.registered(&subject, &node.record(fields)).await;
            all.lock().expect("nobody panics").push((number, registered));
            yield_once().await;
        }
    };
    side_by_side((0..NODES).map(|_| Box::pin(start()) as _).collect()).await;
    let mut all = all.into_inner().expect("nobody panics");
    assert_eq!(all.len(), 2 * NODES);
    all.sort_by_key(|(number, _)| *number);
    all.dedup();
    let all: Vec<_> = all.into_iter().map(|(_, registered)| registered).collect();
    let node = Node::new(backend);
    node.holds(&node.subject("same"), &all).await;
}

pub(super) async fn who_registers_others_gets_other_ids(backend: &dyn Backend) {
    const EACH: usize = 8;
    let ids = Mutex::new(BTreeMap::new());
    let start = async |number: usize| {
        let node = Node::new(backend);
        for round in 0..EACH {
            let subject = node.subject(&format!("others{}", round % 2));
            let schema = node.named(&format!("R{number}x{round}"), &[A]);
            node.registry
                .set_compatibility(&subject, affinity_avro::Compatibility::None)
                .await
                .expect("it is set");
            let registered = node.registered(&subject, &schema).await;
            let other = ids.lock().expect("nobody panics").insert(registered.id, schema);
            assert_eq!(other, None, "one id for two schemas");
            yield_once().await;
        }
    };
    side_by_side((0..NODES).map(|number| Box::pin(start(number)) as _).collect()).await;
    let node = Node::new(backend);
    for (id, schema) in ids.into_inner().expect("nobody panics") {
        let there = node.schema(id).await.expect("it was told");
        assert_eq!(there.canonical(), schema.canonical(), "{id}");
    }
    let versions = node.versions(&node.subject("others0")).await;
    assert_eq!(versions.len(), NODES * EACH / 2);
}

pub(super) async fn of_two_that_exclude_each_other_one_is_registered(backend: &dyn Backend) {
    for round in 0..10 {
        let name = format!("exclude{round}");
        let first = {
            let node = Node::new(backend);
            let subject = node.subject(&name);
            node.registry
                .set_compatibility(&subject, affinity_avro::Compatibility::FullTransitive)
                .await
                .expect("it is set");
            node.registered(&subject, &node.record(&[A])).await
        };
        let won = Mutex::new(Vec::new());
        let start = async |field: &str| {
            let node = Node::new(backend);
            yield_once().await;
            match node.registry.register(&node.subject(&name), &node.record(&[A, field])).await {
                Ok(registered) => won.lock().expect("nobody panics").push(registered),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}"),
            }
        };
        side_by_side(vec![Box::pin(start(B)), Box::pin(start(B_LONG))]).await;
        let won = won.into_inner().expect("nobody panics");
        assert_eq!(won.len(), 1, "{won:?}");
        let node = Node::new(backend);
        node.holds(&node.subject(&name), &[first, won[0].clone()]).await;
    }
}

pub(super) async fn what_was_told_is_known_to_all(backend: &dyn Backend) {
    const SCHEMAS: u32 = 20;
    // The newest id that anybody was told; no call that begins later may miss it.
    let told = AtomicU32::new(0);
    let write = async || {
        let node = Node::new(backend);
        for number in 0..SCHEMAS {
            let schema = node.named(&format!("R{number}"), &[A]);
            let registered = node.registered(&node.subject(&format!("told{number}")), &schema).await;
            told.store(registered.id.0, Ordering::SeqCst);
            yield_once().await;
        }
        told.store(u32::MAX, Ordering::SeqCst);
    };
    let follow = async || {
        let node = Node::new(backend);
        loop {
            let id = told.load(Ordering::SeqCst);
            if id == u32::MAX {
                return;
            }
            assert!(id == 0 || node.schema(SchemaId(id)).await.is_some(), "{id} was told");
            yield_once().await;
        }
    };
    side_by_side(vec![Box::pin(follow()), Box::pin(write()), Box::pin(follow())]).await;
}
