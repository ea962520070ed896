//! What is registered, one caller at a time.

use super::Backend;
use super::node::{A, B, C, Node, parse};
use crate::{SchemaId, Subject};

pub(super) async fn a_subject_never_registered_has_nothing(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("never");
    node.holds(&subject, &[]).await;
    assert_eq!(node.find(&subject, &node.record(&[A])).await, None);
}

pub(super) async fn what_was_registered_is_read_back(backend: &dyn Backend) {
    let (node, other) = (Node::new(backend), Node::new(backend));
    let subject = node.subject("back");
    let mut all = Vec::new();
    for fields in [&[A][..], &[A, B], &[A, B, C]] {
        let schema = node.record(fields);
        let registered = node.registered(&subject, &schema).await;
        assert_eq!(registered.schema, schema);
        all.push(registered);
        node.holds(&subject, &all).await;
        other.holds(&subject, &all).await;
    }
    let third = node.subject("third");
    assert_eq!(other.find(&third, &all[0].schema).await, None, "it is no version of another subject");
}

pub(super) async fn the_same_schema_again_is_the_same_version(backend: &dyn Backend) {
    let (node, other) = (Node::new(backend), Node::new(backend));
    let subject = node.subject("again");
    let first = node.registered(&subject, &node.record(&[A])).await;
    for node in [&node, &other, &node] {
        assert_eq!(node.registered(&subject, &first.schema).await, first);
    }
    node.holds(&subject, &[first]).await;
}

pub(super) async fn white_space_and_order_make_no_other_schema(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("white");
    let first = node.registered(&subject, &node.record(&[A])).await;
    let name = first.schema.name().expect("a record").full().to_owned();
    let text = format!(
        r#" {{ "fields": [ {{"type": "int", "name": "a"}} ], "name": "{name}", "type": "record" }} "#
    );
    let again = node.registered(&subject, &parse(&text)).await;
    assert_eq!((again.id, again.version), (first.id, first.version));
    node.holds(&subject, &[first]).await;
}

pub(super) async fn a_doc_or_a_default_makes_another_schema(backend: &dyn Backend) {
    let node = Node::new(backend);
    let subject = node.subject("doc");
    let mut all = Vec::new();
    for more in ["", r#","doc":"one""#, r#","doc":"two""#, r#","default":1"#, r#","default":2"#] {
        let field = format!(r#"{{"name":"a","type":"int"{more}}}"#);
        all.push(node.registered(&subject, &node.record(&[&field])).await);
    }
    node.holds(&subject, &all).await;
    all.dedup_by_key(|registered| registered.id);
    assert_eq!(all.len(), 5, "each has its own id");
}

pub(super) async fn a_schema_has_one_id_in_all_subjects(backend: &dyn Backend) {
    let node = Node::new(backend);
    let (one, two) = (node.subject("one"), node.subject("two"));
    let first = node.registered(&one, &node.record(&[A])).await;
    let second = node.registered(&one, &node.record(&[A, B])).await;
    let other = node.registered(&two, &second.schema).await;
    assert_eq!(other.id, second.id);
    node.holds(&one, &[first, second]).await;
    node.holds(&two, &[other]).await;
}

pub(super) async fn subjects_have_nothing_to_do_with_each_other(backend: &dyn Backend) {
    let node = Node::new(backend);
    // Names of which one begins the other, or that could be a path.
    let names =
        ["part", "part1", "part.1", "part-1", "PART", "part/1", "part 1", "pärt", "part:1", "part%2F1"];
    let mut all = Vec::new();
    for name in names {
        let subject = node.subject(name);
        node.holds(&subject, &[]).await;
        // Nothing that could follow another one's.
        let schema = node.named(&format!("R{}", all.len()), &[A]);
        all.push((subject.clone(), node.registered(&subject, &schema).await));
    }
    for (subject, registered) in all {
        node.holds(&subject, &[registered]).await;
    }
}

pub(super) async fn names_at_the_limits_come_back(backend: &dyn Backend) {
    let node = Node::new(backend);
    let filled = format!("{:-<max$}", backend.prefix(), max = Subject::BYTES_MAX);
    let wide = backend.prefix() + &"ä".repeat(200);
    for name in [filled, wide, backend.prefix() + "..", backend.prefix() + "\"\\'{}"] {
        let subject = Subject::new(name).expect("a name of a subject");
        let registered = node.registered(&subject, &node.record(&[A])).await;
        node.holds(&subject, &[registered]).await;
    }
}

pub(super) async fn schemas_of_every_kind_come_back(backend: &dyn Backend) {
    let node = Node::new(backend);
    let prefix = backend.prefix();
    let long = "ä\u{1f600}\\n".repeat(20_000);
    let texts = [
        "\"string\"".to_owned(),
        r#"["null", "int", {"type": "array", "items": "long"}]"#.to_owned(),
        r#"{"type": "map", "values": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}}"#.to_owned(),
        format!(r#"{{"type": "enum", "name": "c{prefix}.E", "symbols": ["A", "B"], "default": "A"}}"#),
        format!(r#"{{"type": "fixed", "name": "c{prefix}.F", "size": 16, "aliases": ["G"], "other": [1.50, null]}}"#),
        format!(
            r#"{{"type": "record", "name": "c{prefix}.Node", "doc": "{long}", "fields": [
                {{"name": "next", "type": ["null", "Node"], "default": null, "order": "ignore"}}]}}"#
        ),
    ];
    for (number, text) in texts.iter().enumerate() {
        let subject = node.subject(&format!("kind{number}"));
        let registered = node.registered(&subject, &parse(text)).await;
        node.holds(&subject, &[registered]).await;
    }
}

pub(super) async fn an_id_never_given_has_no_schema(backend: &dyn Backend) {
    let node = Node::new(backend);
    for id in [0, SchemaId::MAX.0, SchemaId::MAX.0 + 1, u32::MAX] {
        assert_eq!(node.schema(SchemaId(id)).await, None, "{id}");
    }
}
