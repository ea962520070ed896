//! A node that uses a registry, and the schemas that it has.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use affinity_avro::{Compatibility, Schema};

use super::Backend;
use crate::{BoxFuture, Error, ErrorKind, Registered, SchemaId, SchemaRegistry, SchemaVersion, Subject};

/// A handle, and the names of a case.
pub(super) struct Node {
    pub(super) registry: Arc<dyn SchemaRegistry>,
    prefix: String,
}

impl Node {
    pub(super) fn new(backend: &dyn Backend) -> Node {
        Node { registry: backend.registry(), prefix: backend.prefix() }
    }

    pub(super) fn subject(&self, name: &str) -> Subject {
        Subject::new(self.prefix.clone() + name).expect("a name of a subject")
    }

    /// A record with these fields.
    pub(super) fn record(&self, fields: &[&str]) -> Schema {
        self.named("Record", fields)
    }

    /// A record of this name with these fields.
    pub(super) fn named(&self, name: &str, fields: &[&str]) -> Schema {
        let (prefix, fields) = (&self.prefix, fields.join(","));
        parse(&format!(r#"{{"type":"record","name":"conformance.N{prefix}.{name}","fields":[{fields}]}}"#))
    }

    pub(super) async fn registered(&self, subject: &Subject, schema: &Schema) -> Registered {
        let registered = self.registry.register(subject, schema).await;
        registered.unwrap_or_else(|error| panic!("{schema} under {subject}: {error}"))
    }

    /// Registers what must not fit.
    pub(super) async fn refused(&self, subject: &Subject, schema: &Schema) -> Error {
        match self.registry.register(subject, schema).await {
            Err(error) if error.kind() == ErrorKind::Incompatible => error,
            other => panic!("{schema} under {subject} does not fit, and came to {other:?}"),
        }
    }

    pub(super) async fn schema(&self, id: SchemaId) -> Option<Schema> {
        self.registry.schema(id).await.expect("it can be read")
    }

    pub(super) async fn find(&self, subject: &Subject, schema: &Schema) -> Option<Registered> {
        self.registry.find(subject, schema).await.expect("it can be read")
    }

    pub(super) async fn latest(&self, subject: &Subject) -> Option<Registered> {
        self.registry.latest(subject).await.expect("it can be read")
    }

    pub(super) async fn version(&self, subject: &Subject, version: u32) -> Option<Registered> {
        self.registry.version(subject, SchemaVersion(version)).await.expect("it can be read")
    }

    /// The numbers of the versions.
    pub(super) async fn versions(&self, subject: &Subject) -> Vec<u32> {
        let versions = self.registry.versions(subject).await.expect("it can be read");
        versions.into_iter().map(|version| version.0).collect()
    }

    pub(super) async fn set(&self, subject: &Subject, level: Compatibility) {
        self.registry.set_compatibility(subject, level).await.expect("it can be set");
        assert_eq!(self.level(subject).await, level);
    }

    pub(super) async fn level(&self, subject: &Subject) -> Compatibility {
        self.registry.compatibility(subject).await.expect("it can be read")
    }

    /// Nothing but these are the versions of the subject, whatever one asks.
    pub(super) async fn holds(&self, subject: &Subject, all: &[Registered]) {
        let numbers: Vec<u32> = (1..).take(all.len()).collect();
        assert_eq!(self.versions(subject).await, numbers, "{subject}");
        assert_same(self.latest(subject).await.as_ref(), all.last());
        for (version, registered) in (1..).zip(all) {
            assert_eq!(registered.version, SchemaVersion(version));
            assert!((SchemaId::MIN..=SchemaId::MAX).contains(&registered.id), "{registered:?}");
            assert_same(self.version(subject, version).await.as_ref(), Some(registered));
            assert_same(self.find(subject, &registered.schema).await.as_ref(), Some(registered));
            let schema = self.schema(registered.id).await;
            assert_eq!(schema.as_ref().map(meaning), Some(meaning(&registered.schema)));
        }
        for version in [0, all.len() + 1, u32::MAX as usize] {
            let version = u32::try_from(version).expect("few versions");
            assert_eq!(self.version(subject, version).await, None, "{subject}");
        }
    }
}

/// A registry may write a text anew, as long as it is the same schema.
pub(super) fn assert_same(a: Option<&Registered>, b: Option<&Registered>) {
    let bare = |registered: &Registered| {
        let form = crate::sameness::common_form(&registered.schema).expect("a schema");
        (registered.id, registered.version, form)
    };
    assert_eq!(a.map(bare), b.map(bare));
}

fn meaning(schema: &Schema) -> Box<str> {
    crate::sameness::common_form(schema).expect("a schema")
}

pub(super) fn parse(text: &str) -> Schema {
    Schema::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Fields.
pub(super) const A: &str = r#"{"name":"a","type":"int"}"#;
pub(super) const B: &str = r#"{"name":"b","type":"string","default":""}"#;
pub(super) const B_BARE: &str = r#"{"name":"b","type":"string"}"#;
pub(super) const B_LONG: &str = r#"{"name":"b","type":"long","default":0}"#;
pub(super) const C: &str = r#"{"name":"c","type":"long","default":0}"#;

/// Polls all of them in turns until they are done.
pub(super) async fn side_by_side(mut running: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|cx| {
        running.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Lets others have their turn.
pub(super) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
