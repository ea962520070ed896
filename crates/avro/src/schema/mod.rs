//! Schemas: what is written, and what is expected.
//!
//! A schema is a table of types that name each other by number: a named type stands in it once however often it is used, so
//! a recursive schema is a cycle of numbers and nothing has to be looked up by name while values are read. It is read from
//! JSON text, which it keeps as it is, and never changes.

mod canonical;
mod defaults;
mod fingerprint;
mod name;
mod parser;

use std::fmt;
use std::ops::Index;
use std::str::FromStr;
use std::sync::Arc;

pub use fingerprint::crc64_avro;
pub use name::Name;
pub use parser::{DefaultPolicy, ParseOptions};

use crate::error::Error;

/// The number of a type in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub(crate) u32);

/// A schema. Cheap to clone.
///
/// ```
/// use affinity_avro::{Schema, TypeKind};
///
/// let text = r#"{"type": "record", "name": "shop.Line", "fields": [{"name": "sku", "type": "string"}]}"#;
/// let schema: Schema = text.parse()?;
/// assert_eq!(schema.name().unwrap().full(), "shop.Line");
/// assert!(matches!(schema.root().kind, TypeKind::Record(_)));
/// assert_eq!(schema.text(), text);
/// # Ok::<(), affinity_avro::Error>(())
/// ```
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    text: Box<str>,
    types: Vec<Type>,
    root: TypeId,
    canonical: Box<str>,
    crc64: u64,
}

/// A type of a schema.
#[derive(Clone, Debug)]
pub struct Type {
    /// What values of it look like in bytes.
    pub kind: TypeKind,
    /// What they mean, where that is more.
    pub logical: Option<LogicalType>,
}

/// What values of a type look like in bytes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are Avro's own")]
pub enum TypeKind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(TypeId),
    Map(TypeId),
    Union(Box<[TypeId]>),
    Record(RecordType),
    Enum(EnumType),
    Fixed(FixedType),
}

/// A record.
#[derive(Clone, Debug)]
pub struct RecordType {
    /// Its name.
    pub name: Name,
    /// Full names it had before.
    pub aliases: Box<[Name]>,
    /// What it is, for people.
    pub doc: Option<Box<str>>,
    /// Its fields, in the order of their bytes.
    pub fields: Box<[Field]>,
    /// The places of the fields in the order of their names.
    pub(crate) by_name: Box<[usize]>,
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: Box<str>,
    /// Names it had before.
    pub aliases: Box<[Box<str>]>,
    /// What it is, for people.
    pub doc: Option<Box<str>>,
    /// Its type.
    pub schema: TypeId,
    /// What it is where the writer does not have it: the bytes of a value of its type.
    pub default: Option<Box<[u8]>>,
}

/// An enum: one of some symbols.
#[derive(Clone, Debug)]
pub struct EnumType {
    /// Its name.
    pub name: Name,
    /// Full names it had before.
    pub aliases: Box<[Name]>,
    /// What it is, for people.
    pub doc: Option<Box<str>>,
    /// The symbols, in the order of their numbers.
    pub symbols: Box<[Box<str>]>,
    /// The number of the symbol that stands for one that the reader does not know.
    pub default: Option<u32>,
}

/// So many bytes.
#[derive(Clone, Debug)]
pub struct FixedType {
    /// Its name.
    pub name: Name,
    /// Full names it had before.
    pub aliases: Box<[Name]>,
    /// What it is, for people.
    pub doc: Option<Box<str>>,
    /// How many bytes.
    pub size: usize,
}

/// What values of a type mean, where that is more than their bytes. It plays no part in resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicalType {
    /// A number with `scale` digits behind the point, as a big endian two's complement of itself without the point.
    Decimal {
        /// Most digits.
        precision: usize,
        /// Digits behind the point.
        scale: usize,
    },
    /// A UUID, as text or 16 bytes.
    Uuid,
    /// Days since 1970-01-01.
    Date,
    /// Milliseconds since midnight.
    TimeMillis,
    /// Microseconds since midnight.
    TimeMicros,
    /// Milliseconds since 1970 in UTC.
    TimestampMillis,
    /// Microseconds since 1970 in UTC.
    TimestampMicros,
    /// Nanoseconds since 1970 in UTC.
    TimestampNanos,
    /// Milliseconds since 1970 by the calendar of wherever it is.
    LocalTimestampMillis,
    /// Microseconds since 1970 by the calendar of wherever it is.
    LocalTimestampMicros,
    /// Nanoseconds since 1970 by the calendar of wherever it is.
    LocalTimestampNanos,
    /// Months, days and milliseconds, each 32 bits, little endian.
    Duration,
}

impl Schema {
    /// Reads a schema with the default limits.
    ///
    /// # Errors
    /// If the text is no schema.
    pub fn parse(text: &str) -> Result<Schema, Error> {
        Schema::parse_with(text, &ParseOptions::default())
    }

    /// Reads a schema.
    ///
    /// # Errors
    /// If the text is no schema, or passes a limit of `options`.
    pub fn parse_with(text: &str, options: &ParseOptions) -> Result<Schema, Error> {
        Schema::parse_with_references(text, &[], options)
    }

    /// Reads a schema that uses types of others, as registries have them: `references` are their texts, each behind those that
    /// it uses itself. Together they have the limits of one.
    ///
    /// # Errors
    /// As [`parse_with`](Schema::parse_with).
    pub fn parse_with_references(
        text: &str,
        references: &[&str],
        options: &ParseOptions,
    ) -> Result<Schema, Error> {
        let (types, root) = parser::parse(text, references, options)?;
        let canonical = canonical::canonical(&types, root)?;
        let crc64 = crc64_avro(canonical.as_bytes());
        Ok(Schema(Arc::new(Inner { text: text.into(), types, root, canonical, crc64 })))
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The parsing canonical form: what decides how bytes are read, and nothing else.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// The type that values of the schema have.
    #[must_use]
    pub fn root(&self) -> &Type {
        &self[self.root_id()]
    }

    /// The number of that type.
    #[must_use]
    pub fn root_id(&self) -> TypeId {
        self.0.root
    }

    /// How many types there are.
    #[must_use]
    pub fn type_count(&self) -> usize {
        self.0.types.len()
    }

    /// The name at the top, if that is a record, an enum or a fixed.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        self.root().kind.name()
    }

    /// The named type of this full name, wherever it stands.
    #[must_use]
    pub fn named(&self, full_name: &str) -> Option<TypeId> {
        let named = |of: &Type| of.kind.name().is_some_and(|name| name.full() == full_name);
        let at = self.0.types.iter().position(named)?;
        u32::try_from(at).ok().map(TypeId)
    }

    /// The CRC-64-AVRO of the canonical form. Single-object encoding writes it little end first.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.crc64
    }

    /// The SHA-256 of the canonical form.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        fingerprint::sha256(self.canonical().as_bytes())
    }

    /// The MD5 of the canonical form: for those who already have MD5s, not against anybody's bad intent.
    #[must_use]
    pub fn md5(&self) -> [u8; 16] {
        fingerprint::md5(self.canonical().as_bytes())
    }

    /// The place of the other branch, if a union is of null and one other.
    pub(crate) fn beside_null(&self, branches: &[TypeId]) -> Option<usize> {
        let &[first, second] = branches else { return None };
        let is_null = |id: TypeId| matches!(self[id].kind, TypeKind::Null);
        match (is_null(first), is_null(second)) {
            (true, false) => Some(1),
            (false, true) => Some(0),
            _ => None,
        }
    }

    /// Whether both are the same object.
    pub(crate) fn is(&self, other: &Schema) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Index<TypeId> for Schema {
    type Output = Type;

    /// # Panics
    /// If the number is of another schema.
    fn index(&self, id: TypeId) -> &Type {
        &self.0.types[id.0 as usize]
    }
}

impl FromStr for Schema {
    type Err = Error;

    fn from_str(text: &str) -> Result<Schema, Error> {
        Schema::parse(text)
    }
}

/// Schemas are the same when their texts are, and those of the types they refer to. Compare [`canonical`](Schema::canonical) forms to know whether their bytes are.
impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.is(other) || (self.text() == other.text() && self.canonical() == other.canonical())
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.canonical())
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// As schemas write it.
impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogicalType::Decimal { precision, scale } => return write!(f, "decimal({precision}, {scale})"),
            LogicalType::Uuid => "uuid",
            LogicalType::Date => "date",
            LogicalType::TimeMillis => "time-millis",
            LogicalType::TimeMicros => "time-micros",
            LogicalType::TimestampMillis => "timestamp-millis",
            LogicalType::TimestampMicros => "timestamp-micros",
            LogicalType::TimestampNanos => "timestamp-nanos",
            LogicalType::LocalTimestampMillis => "local-timestamp-millis",
            LogicalType::LocalTimestampMicros => "local-timestamp-micros",
            LogicalType::LocalTimestampNanos => "local-timestamp-nanos",
            LogicalType::Duration => "duration",
        })
    }
}

impl TypeKind {
    /// The name of a named type.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            TypeKind::Record(record) => Some(&record.name),
            TypeKind::Enum(symbols) => Some(&symbols.name),
            TypeKind::Fixed(fixed) => Some(&fixed.name),
            _ => None,
        }
    }

    /// Full names that a named type had before.
    #[must_use]
    pub fn aliases(&self) -> &[Name] {
        match self {
            TypeKind::Record(record) => &record.aliases,
            TypeKind::Enum(symbols) => &symbols.aliases,
            TypeKind::Fixed(fixed) => &fixed.aliases,
            _ => &[],
        }
    }

    /// What Avro calls it: `int`, `array`, `record`.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            TypeKind::Null => "null",
            TypeKind::Boolean => "boolean",
            TypeKind::Int => "int",
            TypeKind::Long => "long",
            TypeKind::Float => "float",
            TypeKind::Double => "double",
            TypeKind::Bytes => "bytes",
            TypeKind::String => "string",
            TypeKind::Array(_) => "array",
            TypeKind::Map(_) => "map",
            TypeKind::Union(_) => "union",
            TypeKind::Record(_) => "record",
            TypeKind::Enum(_) => "enum",
            TypeKind::Fixed(_) => "fixed",
        }
    }

    /// The name of a branch of a union: the full name of a named type, else the keyword.
    #[must_use]
    pub fn branch_name(&self) -> &str {
        self.name().map_or(self.keyword(), Name::full)
    }
}

impl RecordType {
    /// The place of the field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<usize> {
        let found = self.by_name.binary_search_by(|at| (*self.fields[*at].name).cmp(name)).ok()?;
        Some(self.by_name[found])
    }
}
