//! Records at the places of a partition: the bodies of frames, and what a record is without a place.
//!
//! A place with an id for the schema has record frames ([`affinity_types::format`]). Without one a record is written as Avro's single object, which
//! names its schema by a fingerprint: whoever has another version of the record refuses it, and never takes it for its own.

use std::fmt;
use std::sync::Arc;

use affinity_types::codec::CodecError;
use affinity_types::format::{FrameType, OtherSchema, Readers};

use crate::datum::Record;
use crate::error::Error;
use crate::frame::{single_object_head, split_single_object};
use crate::limits::Limits;
use crate::reader::Reader;
use crate::schema::{DefaultPolicy, ParseOptions, Schema};
use crate::typed::Plans;

/// Reads a record under the ids that it has learned.
struct TypedReaders<T>(Plans<T>);

impl<T> fmt::Debug for TypedReaders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedReaders").finish_non_exhaustive()
    }
}

impl<T: Record + 'static> Readers for TypedReaders<T> {
    fn learn(&self, schema_id: u32, schema: &str) -> Result<(), CodecError> {
        let options = ParseOptions { defaults: DefaultPolicy::Drop, ..ParseOptions::default() };
        let writer = Schema::parse_with(schema, &options).map_err(codec_error)?;
        self.0.add(schema_id, &writer).map(drop).map_err(codec_error)
    }
}

/// What a record has for its frames.
#[must_use]
pub const fn frame_type<T: Record + 'static>() -> FrameType {
    fn schema<T: Record>() -> &'static str {
        T::schema().text()
    }
    fn readers<T: Record + 'static>() -> Arc<dyn Readers> {
        Arc::new(TypedReaders::<T>(Plans::new(Limits::DEFAULT)))
    }
    FrameType { schema: schema::<T>, readers: readers::<T> }
}

/// Appends a record without a place.
pub fn put_single_object<T: Record>(value: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(&single_object_head(T::schema()));
    value.encode(out);
}

/// Reads a record without a place.
///
/// # Errors
/// If the bytes are none, or those of another version.
pub fn take_single_object<T: Record>(bytes: &[u8]) -> Result<T, CodecError> {
    let (fingerprint, body) = split_single_object(bytes).map_err(codec_error)?;
    if fingerprint == T::schema().fingerprint() {
        return T::from_avro(body).map_err(codec_error);
    }
    Err(CodecError(format!(
        "it was written as another version of {}, of fingerprint {fingerprint:016x}",
        T::BRANCH
    )))
}

/// Reads the body of a frame.
///
/// # Errors
/// If it is none, or its schema has not been learned.
#[inline]
pub fn take_body<T: Record + 'static>(body: &[u8], schema: Option<OtherSchema<'_>>) -> Result<T, CodecError> {
    let read = match schema {
        None => Reader::new(body, &Limits::DEFAULT).and_then(|mut reader| {
            let value = T::decode(&mut reader)?;
            reader.end()?;
            Ok(value)
        }),
        Some(OtherSchema { id, readers }) => {
            let readers = readers.downcast_ref::<TypedReaders<T>>();
            let plan = readers.and_then(|TypedReaders(plans)| plans.get(id));
            let plan = plan.ok_or_else(|| {
                CodecError(format!(
                    "schema {id}: {} of this build does not know it, or cannot be read from it",
                    T::BRANCH
                ))
            })?;
            plan.decode(body)
        }
    };
    read.map_err(codec_error)
}

#[cold]
#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn codec_error(error: Error) -> CodecError {
    CodecError(error.to_string())
}
