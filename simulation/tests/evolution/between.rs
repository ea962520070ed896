//! Somebody who registers between what a node asks and what it registers.

use std::sync::Mutex;

use affinity_avro::{Compatibility, Record, Schema};
use affinity_keyspace::store_types;
use affinity_registry::{
    BoxFuture, Error, ErrorKind, MemoryRegistry, Registered, SchemaId, SchemaRegistry, SchemaVersion,
    Subject, bind, subject_of,
};

use crate::bank::{Bank, first, wrong};
use crate::node::block_on;

/// A registry where another schema is registered before the first one of a subject that somebody has asked for.
struct Between {
    registry: MemoryRegistry,
    other: Mutex<Option<(Subject, Schema)>>,
}

impl SchemaRegistry for Between {
    fn register<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Registered, Error>> {
        Box::pin(async move {
            let other = self.other.lock().unwrap().take_if(|(of, _)| of == subject);
            if let Some((of, other)) = other {
                self.registry.register(&of, &other).await?;
            }
            self.registry.register(subject, schema).await
        })
    }

    fn check<'a>(&'a self, subject: &'a Subject, schema: &'a Schema) -> BoxFuture<'a, Result<(), Error>> {
        self.registry.check(subject, schema)
    }

    fn schema(&self, id: SchemaId) -> BoxFuture<'_, Result<Option<Schema>, Error>> {
        self.registry.schema(id)
    }

    fn find<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.registry.find(subject, schema)
    }

    fn version<'a>(
        &'a self,
        subject: &'a Subject,
        version: SchemaVersion,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.registry.version(subject, version)
    }

    fn latest<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.registry.latest(subject)
    }

    fn versions<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<SchemaVersion>, Error>> {
        self.registry.versions(subject)
    }

    fn compatibility<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Compatibility, Error>> {
        self.registry.compatibility(subject)
    }

    fn set_compatibility<'a>(
        &'a self,
        subject: &'a Subject,
        level: Compatibility,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.registry.set_compatibility(subject, level)
    }
}

#[test]
fn what_is_registered_at_the_same_time_is_read_or_nothing_opens() {
    let types = store_types::<Bank<first::Account>>();
    let subject = subject_of("bank", None, "value").unwrap();
    let bound = |other: &Schema| {
        let registry = Between {
            registry: MemoryRegistry::new(),
            other: Mutex::new(Some((subject.clone(), other.clone()))),
        };
        block_on(registry.set_compatibility(&subject, Compatibility::None)).unwrap();
        block_on(bind(&registry, "bank", "accounts", &types)).map(drop)
    };
    assert!(bound(first::Account::schema()).is_ok());
    let error = bound(wrong::Account::schema()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("store accounts: bank-value: version 1"), "{error}");
}
