//! The contract of a schema registry.

use std::future::Future;
use std::pin::Pin;

use affinity_avro::{Compatibility, Schema};

use crate::{Error, SchemaId, SchemaVersion, Subject};

/// A boxed future: what the calls of the contract return, so that it can be used behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A schema of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What frames call it.
    pub id: SchemaId,
    /// Its number in the subject.
    pub version: SchemaVersion,
    /// The schema, as it was first registered.
    pub schema: Schema,
}

/// A schema registry: schemas by id, and subjects in which they evolve.
///
/// ```text
///   subject orders-value          subject audit-value            schemas
///   version 1 ─────────────────────────────────────────────────▶ id 1  {"a": int}
///   version 2 ────────────────▶   version 1 ───────────────────▶ id 2  {"a": int, "b": string = ""}
///   version 3 ─────────────────────────────────────────────────▶ id 3  {"b": string = ""}
///      ▲
///      └── register: is it there already?  yes ──▶ its id and version, nothing else
///                                          no  ──▶ may it follow, by the subject's level?  no ──▶ Incompatible, nothing changes
///                                                                                          yes ─▶ the next version
/// ```
///
/// # The law
/// 1. **Ids are for ever**: an id that was told names the same schema from then on, for everybody. It lies within
///    [`SchemaId::MIN`] and [`SchemaId::MAX`].
/// 2. **A schema has one id**, in all subjects. Two texts are the same schema when they are the same JSON, whatever their white
///    space and the order of members; another `doc` or default makes another schema.
/// 3. **Versions grow**: a subject's versions are 1, 2, 3 and so on; none is changed or taken away.
/// 4. **Registering is idempotent**: what is a version of the subject already is answered as that version, the latest or not, and
///    is judged by nobody again.
/// 5. **What follows fits**: a new version stands in the subject's level of [`Compatibility`] to those before it at the moment it
///    becomes one; [`Backward`](Compatibility::Backward) unless another level was set. What does not fit changes nothing.
/// 6. **One order**: calls are linearizable, and what was answered is kept, whatever becomes of the process that was told.
/// 7. **Never a guess**: `Unavailable` means that nothing was done *and nothing will be*. After `Unknown`, and when the future is
///    dropped before its answer, the call may have been done or be done later; repeating it settles it.
///
/// A registry is asked when a node starts and when a frame names an id that was not seen before, not for each value. Calls begin when
/// their future is first polled; a backend on a disk does its work in the caller's turn.
pub trait SchemaRegistry: Send + Sync + 'static {
    /// Makes `schema` a version of `subject`, unless it is one.
    ///
    /// # Errors
    /// `Incompatible` with the path to what does not fit, and what to do; `Invalid` if the schema's text is none by the default limits
    /// of [`Schema::parse`], or the registry is full; `Unavailable`, `Unknown`, `Corrupt`.
    fn register<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Registered, Error>>;

    /// Whether [`register`](SchemaRegistry::register) would succeed now: whoever has several schemas to register asks for all of them
    /// before the first.
    ///
    /// # Errors
    /// As [`register`](SchemaRegistry::register), but never `Unknown`.
    fn check<'a>(&'a self, subject: &'a Subject, schema: &'a Schema) -> BoxFuture<'a, Result<(), Error>>;

    /// The schema of an id; `None` if the id was never given.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn schema(&self, id: SchemaId) -> BoxFuture<'_, Result<Option<Schema>, Error>>;

    /// Which version of `subject` the schema is; `None` if it is none.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn find<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>>;

    /// A version of `subject`; `None` if it has no such version.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn version<'a>(
        &'a self,
        subject: &'a Subject,
        version: SchemaVersion,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>>;

    /// The newest version of `subject`; `None` if it has none.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn latest<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Registered>, Error>>;

    /// The versions of `subject`, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn versions<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<SchemaVersion>, Error>>;

    /// The level by which versions of `subject` are judged.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    fn compatibility<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Compatibility, Error>>;

    /// Judges versions of `subject` by `level` from now on. Those that are there are judged no more.
    ///
    /// # Errors
    /// `Unavailable`, `Unknown`, `Corrupt`.
    fn set_compatibility<'a>(
        &'a self,
        subject: &'a Subject,
        level: Compatibility,
    ) -> BoxFuture<'a, Result<(), Error>>;
}
