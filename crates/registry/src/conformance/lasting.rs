//! What outlasts the registry's own end.

use affinity_avro::Compatibility;

use super::Backend;
use super::node::{A, B, B_BARE, C, Node};

pub(super) async fn what_was_registered_outlasts_reopening(backend: &dyn Backend) {
    let mut all = Vec::new();
    for (round, fields) in [&[A][..], &[A, B], &[A, B, C]].into_iter().enumerate() {
        let node = Node::new(backend);
        let subject = node.subject("outlasts");
        all.push(node.registered(&subject, &node.record(fields)).await);
        drop(node);
        if !backend.reopen().await {
            return;
        }
        let node = Node::new(backend);
        assert_eq!(node.schema(all[0].id).await.as_ref(), Some(&all[0].schema), "round {round}");
        node.holds(&subject, &all).await;
        node.holds(&node.subject("never"), &[]).await;
    }
}

pub(super) async fn levels_outlast_reopening(backend: &dyn Backend) {
    let node = Node::new(backend);
    let (free, strict) = (node.subject("free"), node.subject("strict"));
    node.set(&free, Compatibility::None).await;
    for subject in [&free, &strict] {
        node.registered(subject, &node.record(&[A])).await;
    }
    drop(node);
    if !backend.reopen().await {
        return;
    }
    let node = Node::new(backend);
    assert_eq!(node.level(&free).await, Compatibility::None);
    assert_eq!(node.level(&strict).await, Compatibility::Backward);
    node.registered(&free, &node.record(&[B_BARE])).await;
    node.refused(&strict, &node.record(&[B_BARE])).await;
}

pub(super) async fn ids_go_on_after_reopening(backend: &dyn Backend) {
    let mut ids = Vec::new();
    for round in 0..4 {
        let node = Node::new(backend);
        for number in 0..3 {
            let schema = node.named(&format!("R{round}x{number}"), &[A]);
            let subject = node.subject(&format!("go{round}x{number}"));
            let registered = node.registered(&subject, &schema).await;
            assert!(!ids.contains(&registered.id), "{} was given twice", registered.id);
            ids.push(registered.id);
        }
        drop(node);
        if !backend.reopen().await {
            return;
        }
    }
}
