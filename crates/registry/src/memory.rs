//! The memory backend: a registry in one process, for tests, simulations and trying things out.

use std::sync::{Arc, Mutex};

use affinity_avro::{Compatibility, Schema};

use crate::catalog::{Catalog, Change, Decision};
use crate::{BoxFuture, Error, ErrorKind, Registered, SchemaId, SchemaRegistry, SchemaVersion, Subject};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and `Unavailable` says so.
    Refused,
    /// It is not done, and nobody knows. Calls that change nothing are `Unavailable` then.
    RequestLost,
    /// It is done, and nobody knows. Calls that change nothing are `Unavailable` then.
    AnswerLost,
}

/// A registry in memory. A clone is another handle to the same one; what it holds goes with the last of them.
///
/// Ids are 1, 2, 3 and so on, in the order of registering: the same calls give the same ids.
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    catalog: Catalog,
    faults: Vec<Fault>,
}

impl MemoryRegistry {
    /// A registry without schemas.
    #[must_use]
    pub fn new() -> MemoryRegistry {
        MemoryRegistry::default()
    }

    /// The next call that has no fault yet, through any handle, has this one.
    pub fn inject(&self, fault: Fault) {
        self.with(|state| state.faults.push(fault));
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().expect("nobody panics under the lock"))
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&Catalog) -> Result<T, Error> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async {
            self.with(|state| match state.next_fault() {
                Some(_) => Err(unavailable()),
                None => read(&state.catalog),
            })
        })
    }

    fn change<'a, T: Send + 'a>(
        &'a self,
        change: impl FnOnce(&mut State) -> Result<T, Error> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async {
            self.with(|state| match state.next_fault() {
                None => change(state),
                Some(Fault::Refused) => Err(unavailable()),
                Some(Fault::RequestLost) => Err(unknown()),
                Some(Fault::AnswerLost) => {
                    let _ = change(state);
                    Err(unknown())
                }
            })
        })
    }
}

impl State {
    fn next_fault(&mut self) -> Option<Fault> {
        (!self.faults.is_empty()).then(|| self.faults.remove(0))
    }

    fn apply(&mut self, change: Change) -> Result<(), Error> {
        self.catalog.apply(change).map_err(|why| Error::new(ErrorKind::Corrupt, why))
    }

    fn register(&mut self, subject: &Subject, schema: &Schema) -> Result<Registered, Error> {
        loop {
            match self.catalog.decide(subject, schema)? {
                Decision::Known(registered) => return Ok(registered),
                Decision::Add(change) => self.apply(change)?,
            }
        }
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "a test has made the registry unavailable")
}

fn unknown() -> Error {
    Error::new(ErrorKind::Unknown, "a test has lost the call or its answer")
}

impl SchemaRegistry for MemoryRegistry {
    fn register<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Registered, Error>> {
        self.change(|state| state.register(subject, schema))
    }

    fn check<'a>(&'a self, subject: &'a Subject, schema: &'a Schema) -> BoxFuture<'a, Result<(), Error>> {
        self.read(|catalog| catalog.decide(subject, schema).map(drop))
    }

    fn schema(&self, id: SchemaId) -> BoxFuture<'_, Result<Option<Schema>, Error>> {
        self.read(move |catalog| Ok(catalog.schema(id).cloned()))
    }

    fn find<'a>(
        &'a self,
        subject: &'a Subject,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.read(|catalog| catalog.find(subject, schema))
    }

    fn version<'a>(
        &'a self,
        subject: &'a Subject,
        version: SchemaVersion,
    ) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.read(move |catalog| Ok(catalog.version(subject, version)))
    }

    fn latest<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Registered>, Error>> {
        self.read(|catalog| Ok(catalog.latest(subject)))
    }

    fn versions<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<SchemaVersion>, Error>> {
        self.read(|catalog| Ok(catalog.versions(subject)))
    }

    fn compatibility<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Compatibility, Error>> {
        self.read(|catalog| Ok(catalog.level(subject)))
    }

    fn set_compatibility<'a>(
        &'a self,
        subject: &'a Subject,
        level: Compatibility,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.change(move |state| {
            let change = state.catalog.decide_level(subject, level);
            change.map_or(Ok(()), |change| state.apply(change))
        })
    }
}
