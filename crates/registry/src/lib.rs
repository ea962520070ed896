//! The schema registry: which schema a number in a record frame names, and which schema may follow which.
//!
//! This room holds the [`SchemaRegistry`] contract and two backends: [`MemoryRegistry`], for tests and for nodes that are alone and keep
//! nothing, and [`FileRegistry`], a folder that several processes share. It knows schemas and their compatibility from `affinity-avro`;
//! it knows no log, no store and no network, and reads no values. [`bind`](fn@bind) makes formats of a keyspace's stores with it, for whoever opens one.
//!
//! Its invariant: **an id, once told, names the same schema for ever**, since frames that hold it lie in logs for as long.
//!
//! ```
//! use affinity_avro::Schema;
//! use affinity_registry::{ErrorKind, MemoryRegistry, SchemaRegistry, Subject};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let registry = MemoryRegistry::new();
//! let subject = Subject::new("people-value")?;
//! let person = |fields: &str| {
//!     Schema::parse(&format!(r#"{{"type": "record", "name": "Person", "fields": [{fields}]}}"#)).unwrap()
//! };
//! let first = registry.register(&subject, &person(r#"{"name": "name", "type": "string"}"#)).await?;
//!
//! // What is new has a default, so that older values can be read.
//! let age = r#"{"name": "name", "type": "string"}, {"name": "age", "type": "int", "default": 0}"#;
//! let second = registry.register(&subject, &person(age)).await?;
//! assert_ne!(first.id, second.id);
//! assert_eq!(registry.schema(first.id).await?, Some(first.schema));
//!
//! let zip = r#"{"name": "name", "type": "string"}, {"name": "zip", "type": "string"}"#;
//! let error = registry.register(&subject, &person(zip)).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Incompatible);
//! assert!(error.to_string().contains("Person.zip: older values do not have this field"));
//! # Ok::<(), affinity_registry::Error>(()) }).unwrap();
//! ```

mod bind;
mod catalog;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod error;
mod file;
mod memory;
mod names;
mod sameness;

pub use bind::{Bound, SystemIds, bind, subject_of, system_ids};
pub use catalog::{SCHEMAS_MAX, VERSIONS_MAX};
pub use contract::{BoxFuture, Registered, SchemaRegistry};
pub use error::{Error, ErrorKind};
pub use file::FileRegistry;
pub use memory::{Fault, MemoryRegistry};
pub use names::{SchemaId, SchemaVersion, Subject};
