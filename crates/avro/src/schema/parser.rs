//! Reads schemas from JSON text.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;

use super::defaults::DefaultEncoder;
use super::name::{Name, is_simple};
use super::{EnumType, Field, FixedType, LogicalType, RecordType, Type, TypeId, TypeKind};
use crate::error::Error;
use crate::json::{Json, JsonReader};
use crate::limits::{Limits, SchemaLimits};

/// How a schema is read.
#[derive(Clone, Debug, Default)]
pub struct ParseOptions {
    /// What it may cost.
    pub limits: SchemaLimits,
    /// What becomes of a default that is no value of its field's type.
    pub defaults: DefaultPolicy,
}

/// What becomes of a default that is no value of its field's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// It is an error: schemas that one writes.
    #[default]
    Check,
    /// The field has none: schemas of others, whose old libraries let them pass. A writer's defaults are never used.
    Drop,
}

const PRIMITIVES: [(&str, TypeKind); 8] = [
    ("null", TypeKind::Null),
    ("boolean", TypeKind::Boolean),
    ("int", TypeKind::Int),
    ("long", TypeKind::Long),
    ("float", TypeKind::Float),
    ("double", TypeKind::Double),
    ("bytes", TypeKind::Bytes),
    ("string", TypeKind::String),
];

/// The types of the schema in `text` and of those it refers to, and which of them it is.
pub(super) fn parse(
    text: &str,
    references: &[&str],
    options: &ParseOptions,
) -> Result<(Vec<Type>, TypeId), Error> {
    let limits = &options.limits;
    let texts = || references.iter().copied().chain([text]);
    let length: usize = texts().map(str::len).sum();
    if length > limits.text_bytes_max {
        let most = limits.text_bytes_max;
        return Err(Error::too_large(format_args!("{length} bytes of schemas, at most {most}")));
    }
    let documents = texts().map(|text| read(text, limits)).collect::<Result<Vec<Json>, Error>>()?;
    let (types, names, defaults) = (Vec::new(), HashMap::new(), Vec::new());
    let mut parser = Parser { limits, types, names, aliases: 0, defaults };
    let mut root = TypeId(0);
    for json in &documents {
        root = parser.schema(json, "")?;
    }
    let Parser { mut types, defaults, .. } = parser;
    set_defaults(&mut types, &defaults, options)?;
    Ok((types, root))
}

fn read(text: &str, limits: &SchemaLimits) -> Result<Json, Error> {
    let json_limits = Limits {
        bytes_max: limits.text_bytes_max,
        depth_max: limits.depth_max,
        items_max: u64::MAX,
        // A value of the tree takes some 50 bytes, and two characters of text at the least.
        allocation_max: limits.text_bytes_max.saturating_mul(64),
    };
    let mut reader = JsonReader::new(text, &json_limits)?;
    let json = Json::read(&mut reader)?;
    reader.end()?;
    Ok(json)
}

/// Gives the fields their defaults, once all types are known that those may need.
fn set_defaults(types: &mut [Type], defaults: &[Default<'_>], options: &ParseOptions) -> Result<(), Error> {
    let by_field: HashMap<_, _> =
        defaults.iter().map(|default| ((default.record, default.field), default.json)).collect();
    let mut values_left = options.limits.default_values_max;
    for &Default { record, field, json } in defaults {
        let schema = fields(types, record)[field].schema;
        let mut encoder = DefaultEncoder {
            types,
            defaults: &by_field,
            values_left: &mut values_left,
            depth: 0,
            out: Vec::new(),
        };
        let encoded = match encoder.put(schema, json).map(|()| encoder.out) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) if error.kind() == crate::ErrorKind::TooLarge => return Err(error),
            Err(_) if options.defaults == DefaultPolicy::Drop => None,
            Err(error) => {
                let name = fields(types, record)[field].name.clone();
                let of = types[record.0 as usize].kind.branch_name().to_owned();
                return Err(error.within("default").within(name).within(of));
            }
        };
        if let TypeKind::Record(record) = &mut types[record.0 as usize].kind {
            record.fields[field].default = encoded;
        }
    }
    Ok(())
}

fn fields(types: &[Type], record: TypeId) -> &[Field] {
    match &types[record.0 as usize].kind {
        TypeKind::Record(record) => &record.fields,
        _ => &[],
    }
}

/// A default as it is written, and whose it is.
struct Default<'a> {
    record: TypeId,
    field: usize,
    json: &'a Json,
}

struct Parser<'a> {
    limits: &'a SchemaLimits,
    types: Vec<Type>,
    names: HashMap<Box<str>, TypeId>,
    /// How many aliases of types there are.
    aliases: usize,
    defaults: Vec<Default<'a>>,
}

impl<'a> Parser<'a> {
    /// A schema that stands in `namespace`.
    fn schema(&mut self, json: &'a Json, namespace: &str) -> Result<TypeId, Error> {
        match json {
            Json::String(name) => self.reference(name, namespace),
            Json::Array(branches) => self.union(branches, namespace),
            Json::Object(_) => self.object(json, namespace),
            other => Err(Error::invalid(format_args!(
                "a schema is a name, an object or an array, not {}",
                other.describe()
            ))),
        }
    }

    /// A primitive, or a type named before: in the namespace around, or in none.
    fn reference(&mut self, text: &str, namespace: &str) -> Result<TypeId, Error> {
        if let Some(kind) = primitive(text) {
            return self.add(kind, None);
        }
        let name = Name::new(text, namespace)?;
        let known = self.names.get(name.full()).or_else(|| self.names.get(text));
        known.copied().ok_or_else(|| Error::invalid(format_args!("there is no type {:?}", name.full())))
    }

    fn union(&mut self, branches: &'a [Json], namespace: &str) -> Result<TypeId, Error> {
        let mut ids = Vec::new();
        let mut seen = HashSet::new();
        for branch in branches {
            let id = self.schema(branch, namespace)?;
            let kind = &self.types[id.0 as usize].kind;
            if matches!(kind, TypeKind::Union(_)) {
                return Err(Error::invalid("a union within a union"));
            }
            if !seen.insert(kind.branch_name().to_owned()) {
                return Err(Error::invalid(format_args!("{:?} twice in a union", kind.branch_name())));
            }
            ids.push(id);
        }
        self.add(TypeKind::Union(ids.into()), None)
    }

    fn object(&mut self, json: &'a Json, namespace: &str) -> Result<TypeId, Error> {
        let of = json.get("type").ok_or_else(|| Error::invalid("a schema without a type"))?;
        let Some(keyword) = of.as_str() else {
            return self.schema(of, namespace);
        };
        match keyword {
            "array" => {
                let items = self.schema(required(json, "items")?, namespace).map_err(|e| e.within("[]"))?;
                self.add(TypeKind::Array(items), None)
            }
            "map" => {
                let values = self.schema(required(json, "values")?, namespace).map_err(|e| e.within("{}"))?;
                self.add(TypeKind::Map(values), None)
            }
            "record" | "error" => self.record(json, namespace),
            "enum" => self.enumeration(json, namespace),
            "fixed" => self.fixed(json, namespace),
            other => match primitive(other) {
                Some(kind) => {
                    let logical = logical_type(json, &kind);
                    self.add(kind, logical)
                }
                None => self.reference(other, namespace),
            },
        }
    }

    fn record(&mut self, json: &'a Json, namespace: &str) -> Result<TypeId, Error> {
        let (name, aliases) = self.names_of(json, namespace)?;
        let doc = doc(json);
        // Its number is given before its fields are read, since they may name it.
        let record =
            RecordType { name: name.clone(), aliases, doc, fields: Box::new([]), by_name: Box::new([]) };
        let id = self.add_named(TypeKind::Record(record), None)?;
        let Json::Array(list) = required(json, "fields")? else {
            return Err(Error::invalid("the fields of a record are an array").within(name.full()));
        };
        let mut fields = Vec::new();
        let mut seen = HashSet::new();
        for (index, json) in list.iter().enumerate() {
            let field = self.field(json, name.namespace(), (id, index)).map_err(|e| e.within(name.full()))?;
            if !seen.insert(field.name.clone()) {
                return Err(Error::invalid(format_args!("two fields {:?}", field.name)).within(name.full()));
            }
            fields.push(field);
        }
        if let TypeKind::Record(record) = &mut self.types[id.0 as usize].kind {
            let mut by_name: Vec<usize> = (0..fields.len()).collect();
            by_name.sort_unstable_by(|a, b| fields[*a].name.cmp(&fields[*b].name));
            record.by_name = by_name.into();
            record.fields = fields.into();
        }
        Ok(id)
    }

    fn field(&mut self, json: &'a Json, namespace: &str, place: (TypeId, usize)) -> Result<Field, Error> {
        let name = text(json, "name")?;
        if !is_simple(name) {
            return Err(Error::invalid(format_args!("{name:?} is no name of a field")));
        }
        let schema = required(json, "type").and_then(|of| self.schema(of, namespace));
        let schema = schema.map_err(|error| error.within(name))?;
        if let Some(json) = json.get("default") {
            self.defaults.push(Default { record: place.0, field: place.1, json });
        }
        let aliases = strings(json, "aliases").map_err(|error| error.within(name))?;
        Ok(Field { name: name.into(), aliases, doc: doc(json), schema, default: None })
    }

    fn enumeration(&mut self, json: &Json, namespace: &str) -> Result<TypeId, Error> {
        let (name, aliases) = self.names_of(json, namespace)?;
        required(json, "symbols")?;
        let symbols = strings(json, "symbols").map_err(|error| error.within(name.full()))?;
        let mut seen = HashSet::new();
        for symbol in &symbols {
            if !is_simple(symbol) || !seen.insert(&**symbol) {
                let wrong = Error::invalid(format_args!("{symbol:?} is no symbol, or one twice"));
                return Err(wrong.within(name.full()));
            }
        }
        let default = match json.get("default") {
            None => None,
            Some(json) => {
                let at = symbols.iter().position(|symbol| json.as_str() == Some(symbol));
                let at = at.and_then(|at| u32::try_from(at).ok());
                Some(at.ok_or_else(|| Error::invalid("the default is no symbol").within(name.full()))?)
            }
        };
        self.add_named(TypeKind::Enum(EnumType { name, aliases, doc: doc(json), symbols, default }), None)
    }

    fn fixed(&mut self, json: &Json, namespace: &str) -> Result<TypeId, Error> {
        let (name, aliases) = self.names_of(json, namespace)?;
        let size = required(json, "size")?.as_size().filter(|size| i32::try_from(*size).is_ok());
        let size = size.ok_or_else(|| Error::invalid("no size of a fixed").within(name.full()))?;
        let kind = TypeKind::Fixed(FixedType { name, aliases, doc: doc(json), size });
        let logical = logical_type(json, &kind);
        self.add_named(kind, logical)
    }

    /// Name and aliases of a named type.
    fn names_of(&mut self, json: &Json, around: &str) -> Result<(Name, Box<[Name]>), Error> {
        let namespace = match json.get("namespace") {
            None | Some(Json::Null) => around,
            Some(json) => json.as_str().ok_or_else(|| Error::invalid("\"namespace\" is no text"))?,
        };
        let name = Name::new(text(json, "name")?, namespace)?;
        let aliases = strings(json, "aliases")?;
        self.aliases += aliases.len();
        if self.aliases > self.limits.names_max {
            return Err(Error::too_large(format_args!("more than {} aliases", self.limits.names_max)));
        }
        let aliases = aliases.iter().map(|alias| Name::new(alias, name.namespace()));
        Ok((name.clone(), aliases.collect::<Result<_, _>>()?))
    }

    fn add_named(&mut self, kind: TypeKind, logical: Option<LogicalType>) -> Result<TypeId, Error> {
        let full: Box<str> = kind.branch_name().into();
        if self.names.len() >= self.limits.names_max {
            return Err(Error::too_large(format_args!("more than {} names", self.limits.names_max)));
        }
        if primitive(&full).is_some() {
            return Err(Error::invalid(format_args!("{full:?} is a primitive type")));
        }
        let id = self.add(kind, logical)?;
        match self.names.entry(full) {
            Entry::Occupied(entry) => Err(Error::invalid(format_args!("{:?} is defined twice", entry.key()))),
            Entry::Vacant(entry) => Ok(*entry.insert(id)),
        }
    }

    fn add(&mut self, kind: TypeKind, logical: Option<LogicalType>) -> Result<TypeId, Error> {
        if self.types.len() >= self.limits.types_max {
            return Err(Error::too_large(format_args!("more than {} types", self.limits.types_max)));
        }
        let id = u32::try_from(self.types.len()).map_err(Error::too_large)?;
        self.types.push(Type { kind, logical });
        Ok(TypeId(id))
    }
}

fn primitive(name: &str) -> Option<TypeKind> {
    PRIMITIVES.iter().find(|(primitive, _)| *primitive == name).map(|(_, kind)| kind.clone())
}

fn required<'a>(json: &'a Json, member: &str) -> Result<&'a Json, Error> {
    json.get(member).ok_or_else(|| Error::invalid(format_args!("{member:?} is missing")))
}

fn text<'a>(json: &'a Json, member: &str) -> Result<&'a str, Error> {
    let text = required(json, member)?.as_str();
    text.ok_or_else(|| Error::invalid(format_args!("{member:?} is no text")))
}

fn doc(json: &Json) -> Option<Box<str>> {
    json.get("doc").and_then(Json::as_str).map(Into::into)
}

/// A list of texts, empty if it is missing.
fn strings(json: &Json, member: &str) -> Result<Box<[Box<str>]>, Error> {
    let list = match json.get(member) {
        None => return Ok(Box::new([])),
        Some(Json::Array(list)) => list,
        Some(_) => return Err(Error::invalid(format_args!("{member:?} is no array"))),
    };
    let text = |json: &Json| json.as_str().map(Into::into);
    let texts = list.iter().map(text).collect::<Option<_>>();
    texts.ok_or_else(|| Error::invalid(format_args!("{member:?} holds something else than texts")))
}

/// The logical type, if it is one of `kind`: what is none is passed over, as the specification asks.
fn logical_type(json: &Json, kind: &TypeKind) -> Option<LogicalType> {
    use LogicalType as L;
    let fixed = match kind {
        TypeKind::Fixed(fixed) => Some(fixed.size),
        _ => None,
    };
    match (json.get("logicalType")?.as_str()?, kind) {
        ("decimal", TypeKind::Bytes | TypeKind::Fixed(_)) => {
            let precision = json.get("precision")?.as_size()?;
            let scale = json.get("scale").map_or(Some(0), Json::as_size)?;
            let fits = fixed.is_none_or(|size| precision <= digits_max(size));
            (precision > 0 && scale <= precision && fits).then_some(L::Decimal { precision, scale })
        }
        ("uuid", TypeKind::String) => Some(L::Uuid),
        ("uuid", _) if fixed == Some(16) => Some(L::Uuid),
        ("duration", _) if fixed == Some(12) => Some(L::Duration),
        ("date", TypeKind::Int) => Some(L::Date),
        ("time-millis", TypeKind::Int) => Some(L::TimeMillis),
        ("time-micros", TypeKind::Long) => Some(L::TimeMicros),
        ("timestamp-millis", TypeKind::Long) => Some(L::TimestampMillis),
        ("timestamp-micros", TypeKind::Long) => Some(L::TimestampMicros),
        ("timestamp-nanos", TypeKind::Long) => Some(L::TimestampNanos),
        ("local-timestamp-millis", TypeKind::Long) => Some(L::LocalTimestampMillis),
        ("local-timestamp-micros", TypeKind::Long) => Some(L::LocalTimestampMicros),
        ("local-timestamp-nanos", TypeKind::Long) => Some(L::LocalTimestampNanos),
        _ => None,
    }
}

/// Decimal digits that always fit into `size` bytes of two's complement: floor((8 size - 1) log10(2)).
fn digits_max(size: usize) -> usize {
    (size.saturating_mul(8).saturating_sub(1)).saturating_mul(30103) / 100_000
}
