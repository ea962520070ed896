//! Types that have a schema and a codec of their own.

mod containers;
mod logical;
mod primitives;

use std::fmt;

pub use logical::{
    Date, Decimal, Duration, LocalTimestampMicros, LocalTimestampMillis, LocalTimestampNanos, TimeMicros,
    TimeMillis, TimestampMicros, TimestampMillis, TimestampNanos,
};

use crate::describe::SchemaWriter;
use crate::error::Error;
use crate::json::{JsonForm, JsonReader, JsonWriter};
use crate::limits::Limits;
use crate::plan::At;
use crate::reader::Reader;
use crate::schema::Schema;

/// A type with a schema, and code that reads and writes its values without looking at it.
///
/// The law: a value that was encoded is the same when it is decoded; equal values have equal bytes; [`resolve`](Datum::resolve)
/// with a plan whose both schemas are the type's own reads what [`decode`](Datum::decode) reads. `#[derive(Record)]` writes all
/// of it for structs and enums.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no Avro type",
    note = "Avro has `bool`, `i32` (also `i8`, `i16`, `u16`), `i64` (also `u32`), `f32`, `f64`, `String`, `Vec<u8>` and `bytes::Bytes`",
    note = "and of those `Option`, `Vec`, `Box`, maps by `String`, and types with `#[derive(Record)]`",
    note = "the features `uuid`, `jiff` and `chrono` of affinity-avro add the types of those crates"
)]
pub trait Datum: Sized {
    /// What a union calls this branch: the full name of a named type, else Avro's word for it.
    const BRANCH: &'static str;
    /// Whether it is a union, which may not stand in another.
    const IS_UNION: bool = false;

    /// Writes the schema.
    fn describe(schema: &mut SchemaWriter);

    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value that was written with the type's own schema.
    ///
    /// # Errors
    /// If the bytes are none, or a limit is passed.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error>;

    /// Reads a value as the plan says.
    ///
    /// # Errors
    /// As [`decode`](Datum::decode), and if the value has none in this type.
    fn resolve(reader: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error>;

    /// Appends the JSON.
    fn write_json(&self, out: &mut JsonWriter);

    /// Reads the JSON that [`write_json`](Datum::write_json) writes in the reader's form, or that people do.
    ///
    /// # Errors
    /// If it is none, or a limit is passed.
    fn read_json(reader: &mut JsonReader<'_>) -> Result<Self, Error>;
}

/// A [`Datum`] with a name of its own and a schema made once: what `#[derive(Record)]` makes of a struct or an enum.
///
/// ```
/// use affinity_avro::Record;
///
/// /// A customer.
/// #[derive(Debug, PartialEq, Record)]
/// #[avro(namespace = "shop")]
/// struct Customer {
///     name: String,
///     /// When the customer came first.
///     #[avro(logical = "timestamp-millis")]
///     since: i64,
///     email: Option<String>,
///     #[avro(default = 1)]
///     level: i32,
/// }
///
/// let customer = Customer { name: "Ada".into(), since: 0, email: None, level: 2 };
/// assert_eq!(Customer::from_avro(&customer.to_avro())?, customer);
/// assert_eq!(customer.to_json(), r#"{"name":"Ada","since":0,"email":null,"level":2}"#);
/// assert_eq!(Customer::schema().name().unwrap().full(), "shop.Customer");
/// # Ok::<(), affinity_avro::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no Avro record",
    label = "needs a name and a schema of its own",
    note = "add `#[derive(affinity_avro::Record)]` to it"
)]
pub trait Record: Datum {
    /// The schema.
    ///
    /// # Panics
    /// At first use, if what the derive could not check is wrong: two types of one name in it, or a default given as JSON that does
    /// not fit. One test that calls it shows.
    fn schema() -> &'static Schema;

    /// The bytes.
    #[must_use]
    fn to_avro(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads all of `bytes`, written with the type's own schema, under the default limits. For values written with another one
    /// there is [`RecordPlan`](crate::RecordPlan).
    ///
    /// # Errors
    /// If they are none.
    fn from_avro(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, &Limits::DEFAULT)?;
        let value = Self::decode(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// The JSON as people write it.
    #[must_use]
    fn to_json(&self) -> String {
        self.to_json_as(JsonForm::Plain)
    }

    /// The JSON in a form.
    #[must_use]
    fn to_json_as(&self, form: JsonForm) -> String {
        let mut out = JsonWriter::new(form);
        self.write_json(&mut out);
        out.into_text()
    }

    /// Reads JSON as people write it, under the default limits.
    ///
    /// # Errors
    /// If it is none.
    fn from_json(text: &str) -> Result<Self, Error> {
        Self::from_json_as(text, JsonForm::Plain, &Limits::DEFAULT)
    }

    /// Reads JSON of a form.
    ///
    /// # Errors
    /// If it is none, or a limit is passed.
    fn from_json_as(text: &str, form: JsonForm, limits: &Limits) -> Result<Self, Error> {
        let mut reader = JsonReader::new(text, limits)?.in_form(form);
        let value = Self::read_json(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// Reads a field that a JSON object has left out.
///
/// # Errors
/// If it has no default.
#[doc(hidden)]
#[cold]
pub fn missing_in_json<R: Record, T: Datum>(reader: &mut JsonReader<'_>, field: usize) -> Result<T, Error> {
    let crate::schema::TypeKind::Record(record) = &R::schema().root().kind else {
        return Err(reader.wrong("no record"));
    };
    let Some(field) = record.fields.get(field) else { return Err(reader.wrong("no such field")) };
    let Some(default) = &field.default else {
        return Err(reader.wrong(format_args!("the field {:?} is missing", field.name)));
    };
    reader.aside(default, T::decode).map_err(|error| error.within(field.name.clone()))
}

/// What a type says of a plan that was made for another.
#[doc(hidden)]
#[cold]
#[must_use]
pub fn foreign_plan() -> Error {
    Error::incompatible("the plan is one of another type")
}

/// What `#[derive(Record)]` builds a schema with.
///
/// # Panics
/// As [`Record::schema`].
#[doc(hidden)]
#[must_use]
pub fn schema_of<T: Datum>() -> Schema {
    fn refuse(name: &str, error: &dyn fmt::Display) -> ! {
        panic!("the schema of {name}: {error}")
    }
    let mut writer = SchemaWriter::default();
    T::describe(&mut writer);
    let schema = writer.finish().and_then(|text| Schema::parse(&text));
    schema.unwrap_or_else(|error| refuse(T::BRANCH, &error))
}

/// Whether no two of the names are the same.
#[doc(hidden)]
#[must_use]
pub const fn all_differ(names: &[&str]) -> bool {
    let mut at = 0;
    while at < names.len() {
        let mut other = at + 1;
        while other < names.len() {
            if is_equal(names[at].as_bytes(), names[other].as_bytes()) {
                return false;
            }
            other += 1;
        }
        at += 1;
    }
    true
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}
