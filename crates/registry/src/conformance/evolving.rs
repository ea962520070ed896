//! What may follow what.

use affinity_avro::Compatibility;

use super::Backend;
use super::node::{A, B, B_BARE, B_LONG, C, Node};
use crate::ErrorKind;

pub(super) async fn backward_is_asked_unless_told_otherwise(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("backward");
    assert_eq!(node.level(&subject).await, Compatibility::Backward);
    let first = node.registered(&subject, &node.record(&[A])).await;
    node.refused(&subject, &node.record(&[A, B_BARE])).await;
    let second = node.registered(&subject, &node.record(&[A, B])).await;
    // Forward it would not be.
    let third = node.registered(&subject, &node.record(&[B])).await;
    node.holds(&subject, &[first, second, third]).await;
}

pub(super) async fn what_does_not_fit_changes_nothing(backend: &dyn Backend) {
    let node = Node::new(backend);
    let (subject, other) = (node.subject("fit"), node.subject("fit2"));
    let first = node.registered(&subject, &node.record(&[A])).await;
    let wrong = node.record(&[A, B_BARE]);
    for _ in 0..2 {
        let error = node.refused(&subject, &wrong).await;
        assert!(error.to_string().contains("Record.b"), "it says where: {error}");
        node.holds(&subject, std::slice::from_ref(&first)).await;
        assert_eq!(node.find(&subject, &wrong).await, None);
    }
    // It is a schema like any other, elsewhere.
    let elsewhere = node.registered(&other, &wrong).await;
    node.refused(&subject, &wrong).await;
    node.holds(&subject, &[first]).await;
    node.holds(&other, &[elsewhere]).await;
}

pub(super) async fn an_older_version_is_not_judged_again(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("older");
    let first = node.registered(&subject, &node.record(&[A, B_BARE])).await;
    let second = node.registered(&subject, &node.record(&[A])).await;
    // As a version after the second it would not fit: a node of the older release starts again.
    assert_eq!(node.registered(&subject, &first.schema).await, first);
    assert!(node.registry.check(&subject, &first.schema).await.is_ok());
    node.holds(&subject, &[first, second]).await;
}

pub(super) async fn a_check_registers_nothing(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("check");
    let (fits, does_not) = (node.record(&[A, B]), node.record(&[A, B_BARE]));
    node.registry.check(&subject, &fits).await.expect("the first fits");
    node.holds(&subject, &[]).await;
    let first = node.registered(&subject, &node.record(&[A])).await;
    node.registry.check(&subject, &fits).await.expect("it fits");
    let kind = node.registry.check(&subject, &does_not).await.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::Incompatible));
    node.holds(&subject, &[first]).await;
}

pub(super) async fn each_level_asks_for_what_it_says(backend: &dyn Backend) {
    use Compatibility as Level;
    /// Fields of the versions that are there, those of the next, and the levels at which it fits.
    type Step = (&'static [&'static [&'static str]], &'static [&'static str], &'static [Compatibility]);
    let node = Node::new(backend);
    let cases: [Step; 6] = [
        // A field without a default comes: old values have none.
        (&[&[A]], &[A, B_BARE], &[Level::None, Level::Forward, Level::ForwardTransitive]),
        // One goes: old readers miss it.
        (&[&[A, B_BARE]], &[A], &[Level::None, Level::Backward, Level::BackwardTransitive]),
        // One with a default comes, or goes.
        (&[&[A]], &[A, B], &Level::ALL),
        (&[&[A, B]], &[A], &Level::ALL),
        // Its default went one version later: the last one reads and is read, the first is not.
        (
            &[&[A], &[A, B]],
            &[A, B_BARE],
            &[Level::None, Level::Backward, Level::Forward, Level::ForwardTransitive, Level::Full],
        ),
        // It went, and came back as something else: the first neither reads nor is read.
        (&[&[A, B], &[A]], &[A, B_LONG], &[Level::None, Level::Backward, Level::Forward, Level::Full]),
    ];
    for (number, (older, new, fits)) in cases.iter().enumerate() {
        for level in Level::ALL {
            let subject = node.subject(&format!("level{number}{level}"));
            node.set(&subject, Level::None).await;
            let mut all = Vec::new();
            for fields in *older {
                all.push(node.registered(&subject, &node.record(fields)).await);
            }
            node.set(&subject, level).await;
            let new = node.record(new);
            if fits.contains(&level) {
                all.push(node.registered(&subject, &new).await);
            } else {
                node.refused(&subject, &new).await;
            }
            node.holds(&subject, &all).await;
        }
    }
}

pub(super) async fn a_level_holds_for_its_subject(backend: &dyn Backend) {
    let (node, other) = (Node::new(backend), Node::new(backend));
    let (free, strict) = (node.subject("free"), node.subject("strict"));
    node.set(&free, Compatibility::None).await;
    assert_eq!(other.level(&free).await, Compatibility::None);
    assert_eq!(other.level(&strict).await, Compatibility::Backward);
    node.holds(&free, &[]).await;
    for subject in [&free, &strict] {
        node.registered(subject, &node.record(&[A])).await;
    }
    other.registered(&free, &node.record(&[B_BARE])).await;
    other.refused(&strict, &node.record(&[B_BARE])).await;
    other.set(&free, Compatibility::Backward).await;
    node.refused(&free, &node.record(&[A, B_BARE])).await;
}

pub(super) async fn a_level_judges_what_comes_and_not_what_is_there(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("comes");
    node.set(&subject, Compatibility::None).await;
    let first = node.registered(&subject, &node.record(&[A])).await;
    let second = node.registered(&subject, &node.record(&[B_BARE])).await;
    node.set(&subject, Compatibility::Backward).await;
    let third = node.registered(&subject, &node.record(&[B_BARE, C])).await;
    node.set(&subject, Compatibility::BackwardTransitive).await;
    node.refused(&subject, &node.named("Other", &[B_BARE])).await;
    assert_eq!(node.registered(&subject, &second.schema).await, second, "it is there");
    node.holds(&subject, &[first, second, third]).await;
}
