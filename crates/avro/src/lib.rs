//! Avro: schemas, and values in binary and JSON.
//!
//! A [`Schema`] is read from its JSON text. A [`Plan`] says how values written with one schema are read as those of another; it is
//! made once and then followed for every value; whether all values can be read so is for [`Compatibility`] to say. A [`Value`] is
//! a value of any schema, for tools and generic servers.
//! The bytes come from strangers: every length, depth and count has a limit ([`Limits`], [`SchemaLimits`]), and what is malformed is an
//! [`Error`](struct@Error) with the path to it, never a panic, a hang, or memory without bound.
//!
//! This room knows no log, no store and no network.
//!
//! ```
//! use affinity_avro::{Limits, Plan, Schema, Value};
//!
//! let writer = Schema::parse(r#"{"type": "record", "name": "P", "fields": [{"name": "x", "type": "int"}]}"#)?;
//! let reader = Schema::parse(
//!     r#"{"type": "record", "name": "P", "fields": [
//!         {"name": "y", "type": "int", "default": 7}, {"name": "x", "type": "long"}]}"#,
//! )?;
//! let mut bytes = Vec::new();
//! Value::Record(vec![Value::Int(1)]).encode(&writer, &mut bytes)?;
//! let plan = Plan::new(&writer, &reader)?;
//! let value = plan.decode_value(&bytes, &Limits::DEFAULT)?;
//! assert_eq!(value, Value::Record(vec![Value::Int(7), Value::Long(1)]));
//! # Ok::<(), affinity_avro::Error>(())
//! ```

mod compatibility;
mod datum;
#[doc(hidden)]
pub mod describe;
mod error;
mod frame;
pub mod json;
mod limits;
mod places;
mod plan;
mod reader;
mod schema;
mod typed;
mod value;
pub mod writer;

pub use affinity_avro_derive::Record;
pub use compatibility::{Compatibility, Mismatch, incompatibilities, misreadings};
pub use datum::{
    Date, Datum, Decimal, Duration, LocalTimestampMicros, LocalTimestampMillis, LocalTimestampNanos, Record,
    TimeMicros, TimeMillis, TimestampMicros, TimestampMillis, TimestampNanos,
};
pub use error::{Error, ErrorKind};
pub use frame::{
    FRAME_BYTES, SINGLE_OBJECT_BYTES, put_frame, single_object_head, split_frame, split_single_object,
};
pub use json::JsonForm;
pub use limits::{Limits, SchemaLimits};
pub use plan::{At, FieldAt, Plan, SkipAt};
pub use reader::Reader;
pub use schema::{
    DefaultPolicy, EnumType, Field, FixedType, LogicalType, Name, ParseOptions, RecordType, Schema, Type,
    TypeId, TypeKind, crc64_avro,
};
pub use typed::{Plans, RecordPlan};
pub use value::Value;

/// What the code of `#[derive(Record)]` calls.
#[doc(hidden)]
pub mod derived {
    pub use crate::datum::{all_differ, foreign_plan, missing_in_json, schema_of};
    pub use crate::describe::{FieldOf, Named, SchemaWriter};
    pub use crate::json::{JsonReader, JsonWriter};
    pub use crate::places::{frame_type, put_single_object, take_body, take_single_object};
    pub use crate::writer::put_long;
    pub use affinity_types::codec::{CodecError, Decode, Encode};
    pub use affinity_types::format::{FrameType, OtherSchema};
}
