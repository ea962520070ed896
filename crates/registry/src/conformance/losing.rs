//! Answers that do not come.

use std::future::poll_fn;
use std::task::Poll;

use affinity_avro::Compatibility;

use super::node::{A, B, Node};
use super::{Backend, Loss};
use crate::ErrorKind;

/// Registers twice, of which the first time is lost.
async fn settled_after(backend: &dyn Backend, loss: Loss) {
    let node = Node::new(backend);
    let subject = node.subject("lost");
    let first = node.registered(&subject, &node.record(&[A])).await;
    let schema = node.record(&[A, B]);
    if !backend.lose(loss) {
        return;
    }
    let lost = node.registry.register(&subject, &schema).await.map_err(|error| error.kind());
    assert_eq!(lost, Err(ErrorKind::Unknown), "{loss:?}");
    let found = Node::new(backend).find(&subject, &schema).await;
    assert_eq!(found.is_some(), loss == Loss::Answer);
    let second = node.registered(&subject, &schema).await;
    assert!(found.is_none() || found.as_ref() == Some(&second));
    node.holds(&subject, &[first, second]).await;

    assert!(backend.lose(loss));
    let lost = node.registry.set_compatibility(&subject, Compatibility::Full).await;
    assert_eq!(lost.map_err(|error| error.kind()), Err(ErrorKind::Unknown), "{loss:?}");
    node.set(&subject, Compatibility::Full).await;
}

pub(super) async fn a_lost_answer_is_settled_by_repeating(backend: &dyn Backend) {
    settled_after(backend, Loss::Answer).await;
}

pub(super) async fn a_lost_request_is_settled_by_repeating(backend: &dyn Backend) {
    settled_after(backend, Loss::Request).await;
}

pub(super) async fn an_unavailable_call_does_nothing(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("refused");
    let first = node.registered(&subject, &node.record(&[A])).await;
    let schema = node.record(&[A, B]);
    if !backend.refuse() {
        return;
    }
    let kind = |error: crate::Error| error.kind();
    let unavailable = Err(ErrorKind::Unavailable);
    assert_eq!(node.registry.register(&subject, &schema).await.map(drop).map_err(kind), unavailable);
    assert!(backend.refuse());
    assert_eq!(
        node.registry.set_compatibility(&subject, Compatibility::None).await.map_err(kind),
        unavailable
    );
    assert!(backend.refuse());
    assert_eq!(node.registry.schema(first.id).await.map(drop).map_err(kind), unavailable);
    assert_eq!(node.level(&subject).await, Compatibility::Backward);
    node.holds(&subject, &[first]).await;
}

pub(super) async fn a_dropped_call_is_done_whole_or_not_at_all(backend: &dyn Backend) {
    let node = Node::new(backend);
    for polls in 0..4 {
        let subject = node.subject(&format!("dropped{polls}"));
        let schema = node.named(&format!("R{polls}"), &[A]);
        let mut call = node.registry.register(&subject, &schema);
        for _ in 0..polls {
            let over = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
            if over {
                break;
            }
        }
        drop(call);
        let there = node.find(&subject, &schema).await;
        assert!(polls > 0 || there.is_none(), "a call begins when it is polled");
        let registered = node.registered(&subject, &schema).await;
        node.holds(&subject, &[registered]).await;
    }
}
