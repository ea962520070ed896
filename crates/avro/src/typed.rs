//! Values of a compiled record, written with any schema.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::datum::Record;
use crate::error::Error;
use crate::limits::Limits;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::schema::Schema;

/// How values written with one schema are read as a [`Record`]. Cheap to clone.
pub struct RecordPlan<T> {
    plan: Plan,
    limits: Limits,
    record: PhantomData<fn() -> T>,
}

impl<T: Record> RecordPlan<T> {
    /// The plan for values written with `writer`, under the default limits.
    ///
    /// # Errors
    /// If no such value can be read as the record, with the path to where they differ.
    pub fn new(writer: &Schema) -> Result<RecordPlan<T>, Error> {
        RecordPlan::with_limits(writer, Limits::DEFAULT)
    }

    /// The plan for values written with `writer`.
    ///
    /// # Errors
    /// As [`new`](RecordPlan::new).
    pub fn with_limits(writer: &Schema, limits: Limits) -> Result<RecordPlan<T>, Error> {
        Ok(RecordPlan { plan: Plan::new(writer, T::schema())?, limits, record: PhantomData })
    }

    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// If they are no value of the writer's schema, the value is none of the record, or a limit is passed.
    #[inline]
    pub fn decode(&self, bytes: &[u8]) -> Result<T, Error> {
        self.read_all(Reader::new(bytes, &self.limits)?)
    }

    /// The same, where fields of type [`Bytes`] keep `bytes`.
    ///
    /// # Errors
    /// As [`decode`](RecordPlan::decode).
    pub fn decode_shared(&self, bytes: &Bytes) -> Result<T, Error> {
        self.read_all(Reader::shared(bytes, &self.limits)?)
    }

    #[inline]
    fn read_all(&self, mut reader: Reader<'_>) -> Result<T, Error> {
        let value = T::resolve(&mut reader, self.plan.root())?;
        reader.end()?;
        Ok(value)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl<T> Clone for RecordPlan<T> {
    fn clone(&self) -> RecordPlan<T> {
        RecordPlan { plan: self.plan.clone(), limits: self.limits, record: PhantomData }
    }
}

/// Schemas that a [`Plans`] knows, at most: more versions of one record than anyone has are a stranger's doing.
const PLANS_MAX: usize = 4096;

/// The plans of a record by the ids of the writers' schemas, each made when its id is first met.
pub struct Plans<T> {
    by_id: RwLock<HashMap<u32, Arc<RecordPlan<T>>>>,
    limits: Limits,
}

impl<T: Record> Plans<T> {
    /// No plans yet; values will be read under `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Plans<T> {
        Plans { by_id: RwLock::default(), limits }
    }

    /// The plan of a schema that was met before.
    #[must_use]
    pub fn get(&self, schema_id: u32) -> Option<Arc<RecordPlan<T>>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&schema_id).cloned()
    }

    /// Makes the plan of the schema that has this id, and keeps it.
    ///
    /// # Errors
    /// If no value of it can be read as the record, or there are too many.
    pub fn add(&self, schema_id: u32, writer: &Schema) -> Result<Arc<RecordPlan<T>>, Error> {
        let plan = Arc::new(RecordPlan::with_limits(writer, self.limits)?);
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if by_id.len() >= PLANS_MAX {
            return Err(Error::too_large(format_args!("more than {PLANS_MAX} schemas of one record")));
        }
        Ok(Arc::clone(by_id.entry(schema_id).or_insert(plan)))
    }
}
