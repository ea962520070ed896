//! A value of any schema, for those who have no type for it.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::limits::Limits;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::schema::{Schema, TypeId, TypeKind};
use crate::writer;

/// A value. It means something beside its [`Schema`] only: records are their fields in order, enums and unions numbers. Null in a
/// union is null, and what may be null otherwise only is itself; in other unions a value says which branch it is.
///
/// Values are equal as IEEE 754 has it: no NaN equals another. Maps are in the order of their keys, so that equal values give
/// equal bytes.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are Avro's own")]
pub enum Value {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
    String(String),
    Array(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// A value of a union that is not of null and one other: the number of the branch, and the value, which is not null.
    Union(u32, Box<Value>),
    /// The values of the fields, in order.
    Record(Vec<Value>),
    /// The number of the symbol.
    Enum(u32),
    Fixed(Box<[u8]>),
}

impl Value {
    /// Reads all of `bytes`, written with `schema`, under the default limits. To read many values, or with another schema
    /// than they were written with, make a [`Plan`] once.
    ///
    /// # Errors
    /// If they are no value of the schema.
    pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<Value, Error> {
        Plan::same(schema)?.decode_value(bytes, &Limits::DEFAULT)
    }

    /// Appends the bytes of the value as one of `schema`.
    ///
    /// # Errors
    /// If it is none. Some bytes may then have been appended.
    pub fn encode(&self, schema: &Schema, out: &mut Vec<u8>) -> Result<(), Error> {
        self.encode_as(schema, schema.root_id(), out)
    }

    fn encode_as(&self, schema: &Schema, id: TypeId, out: &mut Vec<u8>) -> Result<(), Error> {
        let kind = &schema[id].kind;
        match (self, kind) {
            (Value::Null, TypeKind::Null) => {}
            (Value::Boolean(value), TypeKind::Boolean) => out.push(u8::from(*value)),
            (Value::Int(value), TypeKind::Int) => writer::put_long(out, i64::from(*value)),
            (Value::Long(value), TypeKind::Long) => writer::put_long(out, *value),
            (Value::Float(value), TypeKind::Float) => out.extend_from_slice(&value.to_le_bytes()),
            (Value::Double(value), TypeKind::Double) => out.extend_from_slice(&value.to_le_bytes()),
            (Value::Bytes(value), TypeKind::Bytes) => writer::put_bytes(out, value),
            (Value::String(value), TypeKind::String) => writer::put_bytes(out, value.as_bytes()),
            (Value::Fixed(value), TypeKind::Fixed(fixed)) if value.len() == fixed.size => {
                out.extend_from_slice(value);
            }
            (Value::Enum(at), TypeKind::Enum(symbols)) if (*at as usize) < symbols.symbols.len() => {
                writer::put_long(out, i64::from(*at));
            }
            (Value::Array(items), TypeKind::Array(of)) => {
                if !items.is_empty() {
                    writer::put_count(out, items.len());
                }
                for item in items {
                    item.encode_as(schema, *of, out).map_err(|error| error.within("[]"))?;
                }
                out.push(0);
            }
            (Value::Map(entries), TypeKind::Map(of)) => {
                if !entries.is_empty() {
                    writer::put_count(out, entries.len());
                }
                for (key, value) in entries {
                    writer::put_bytes(out, key.as_bytes());
                    value.encode_as(schema, *of, out).map_err(|error| error.within("{}"))?;
                }
                out.push(0);
            }
            (_, TypeKind::Union(branches)) => {
                let (at, value) = self.in_union(schema, branches).ok_or_else(|| {
                    Error::invalid(format_args!("{} is no branch of the union", self.describe()))
                })?;
                writer::put_count(out, at);
                value.encode_as(schema, branches[at], out)?;
            }
            (Value::Record(values), TypeKind::Record(record)) if values.len() == record.fields.len() => {
                for (value, field) in values.iter().zip(&record.fields) {
                    let put = value.encode_as(schema, field.schema, out);
                    put.map_err(|error| error.within(field.name.clone()))?;
                }
            }
            _ => {
                return Err(Error::invalid(format_args!("{} is no {}", self.describe(), kind.branch_name())));
            }
        }
        Ok(())
    }

    /// This value as the branch `at` of the union whose branches are `branches`.
    #[must_use]
    pub fn in_branch(self, schema: &Schema, branches: &[TypeId], at: u32) -> Value {
        if matches!(self, Value::Null) || schema.beside_null(branches).is_some() {
            return self;
        }
        Value::Union(at, Box::new(self))
    }

    /// Which branch of a union the value is of, and what it is there.
    pub(crate) fn in_union(&self, schema: &Schema, branches: &[TypeId]) -> Option<(usize, &Value)> {
        match (self, schema.beside_null(branches)) {
            (Value::Null, _) => {
                let null = branches.iter().position(|id| matches!(schema[*id].kind, TypeKind::Null));
                Some((null?, self))
            }
            (Value::Union(at, value), None) => {
                Some((*at as usize, &**value)).filter(|(at, _)| *at < branches.len())
            }
            (_, Some(other)) => Some((other, self)),
            _ => None,
        }
    }

    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Int(_) => "an int",
            Value::Long(_) => "a long",
            Value::Float(_) => "a float",
            Value::Double(_) => "a double",
            Value::Bytes(_) => "bytes",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
            Value::Union(..) => "a branch of a union",
            Value::Record(_) => "a record",
            Value::Enum(_) => "a symbol",
            Value::Fixed(_) => "a fixed",
        }
    }
}

impl Plan {
    /// Reads all of `bytes`, written with the writer's schema, as a value of the reader's.
    ///
    /// # Errors
    /// If they are no value of the writer's schema, the value has none in the reader's, or a limit is passed.
    pub fn decode_value(&self, bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
        let mut reader = Reader::new(bytes, limits)?;
        let value = self.read_value(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}
