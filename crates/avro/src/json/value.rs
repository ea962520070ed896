//! Values of any schema, to and from JSON.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::{JsonForm, JsonKind, JsonReader, JsonWriter};
use crate::error::Error;
use crate::limits::Limits;
use crate::plan::Plan;
use crate::schema::{LogicalType, RecordType, Schema, Type, TypeId, TypeKind};
use crate::value::Value;

impl Value {
    /// The JSON of the value, which is one of `schema`.
    ///
    /// # Errors
    /// If it is none.
    pub fn to_json(&self, schema: &Schema, form: JsonForm) -> Result<String, Error> {
        let mut out = JsonWriter::new(form);
        self.write_json(schema, schema.root_id(), &mut out)?;
        Ok(out.into_text())
    }

    /// Reads a value of `schema` from JSON of a form.
    ///
    /// # Errors
    /// If the text is none, or passes a limit.
    pub fn from_json(text: &str, schema: &Schema, form: JsonForm, limits: &Limits) -> Result<Value, Error> {
        let mut reader = JsonReader::new(text, limits)?.in_form(form);
        let value =
            FromJson { schema, reader: &mut reader, defaults: HashMap::new() }.value(schema.root_id())?;
        reader.end()?;
        Ok(value)
    }

    fn write_json(&self, schema: &Schema, id: TypeId, out: &mut JsonWriter) -> Result<(), Error> {
        let Type { kind, logical } = &schema[id];
        let wrong = || Error::invalid(format_args!("{} is no {}", self.describe(), kind.branch_name()));
        match (self, kind) {
            (Value::Null, TypeKind::Null) => out.null(),
            (Value::Boolean(value), TypeKind::Boolean) => out.boolean(*value),
            (Value::Int(value), TypeKind::Int) => out.number(value),
            (Value::Long(value), TypeKind::Long) => out.number(value),
            (Value::Float(value), TypeKind::Float) => out.float(*value),
            (Value::Double(value), TypeKind::Double) => out.double(*value),
            (Value::Bytes(value), TypeKind::Bytes) => out.bytes(value),
            (Value::String(value), TypeKind::String) => out.string(value),
            (Value::Fixed(value), TypeKind::Fixed(fixed)) if value.len() == fixed.size => {
                match (logical, out.form(), <&[u8; 16]>::try_from(&**value)) {
                    (Some(LogicalType::Uuid), JsonForm::Plain, Ok(uuid)) => out.string(&uuid_text(*uuid)),
                    _ => out.bytes(value),
                }
            }
            (Value::Enum(at), TypeKind::Enum(symbols)) => {
                out.string(symbols.symbols.get(*at as usize).ok_or_else(wrong)?);
            }
            (Value::Array(items), TypeKind::Array(of)) => {
                let mut put = Ok(());
                out.list(items.iter(), |out, item| {
                    if put.is_ok() {
                        put = item.write_json(schema, *of, out);
                    }
                });
                put.map_err(|error| error.within("[]"))?;
            }
            (Value::Map(entries), TypeKind::Map(of)) => {
                let mut put = Ok(());
                out.entries(entries.iter().map(|(key, value)| (key.as_str(), value)), |out, value| {
                    if put.is_ok() {
                        put = value.write_json(schema, *of, out);
                    }
                });
                put.map_err(|error| error.within("{}"))?;
            }
            (_, TypeKind::Union(branches)) => {
                let (at, value) = self.in_union(schema, branches).ok_or_else(wrong)?;
                value.write_branch(schema, branches, branches[at], out)?;
            }
            (Value::Record(values), TypeKind::Record(record)) if values.len() == record.fields.len() => {
                out.raw("{");
                for (index, (value, field)) in values.iter().zip(&record.fields).enumerate() {
                    out.raw(if index > 0 { ",\"" } else { "\"" });
                    out.raw(&field.name);
                    out.raw("\":");
                    let put = value.write_json(schema, field.schema, out);
                    put.map_err(|error| error.within(field.name.clone()))?;
                }
                out.raw("}");
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn write_branch(
        &self,
        schema: &Schema,
        branches: &[TypeId],
        branch: TypeId,
        out: &mut JsonWriter,
    ) -> Result<(), Error> {
        let kind = &schema[branch].kind;
        let of_two = schema.beside_null(branches).is_some();
        if matches!(kind, TypeKind::Null) || out.form() == JsonForm::Plain && of_two {
            return self.write_json(schema, branch, out);
        }
        let mut put = Ok(());
        out.branch(kind.branch_name(), |out| put = self.write_json(schema, branch, out));
        put
    }
}

struct FromJson<'s, 'r, 'a> {
    schema: &'s Schema,
    reader: &'r mut JsonReader<'a>,
    /// How the defaults of a type are read, once one was left out.
    defaults: HashMap<TypeId, Plan>,
}

impl FromJson<'_, '_, '_> {
    fn value(&mut self, id: TypeId) -> Result<Value, Error> {
        let schema = self.schema;
        let Type { kind, logical } = &schema[id];
        self.reader.charge(size_of::<Value>())?;
        Ok(match kind {
            TypeKind::Null => {
                self.reader.null()?;
                Value::Null
            }
            TypeKind::Boolean => Value::Boolean(self.reader.boolean()?),
            TypeKind::Int => Value::Int(self.reader.integer()?),
            TypeKind::Long => Value::Long(self.reader.integer()?),
            TypeKind::Float => Value::Float(self.reader.float()?),
            TypeKind::Double => Value::Double(self.reader.double()?),
            TypeKind::Bytes => Value::Bytes(self.reader.bytes()?),
            TypeKind::String => Value::String(self.text()?),
            TypeKind::Fixed(fixed) => {
                let bytes = match (logical, self.reader.form()) {
                    (Some(LogicalType::Uuid), JsonForm::Plain) => self.uuid()?.into(),
                    _ => self.reader.bytes()?,
                };
                if bytes.len() != fixed.size {
                    return Err(self.reader.wrong(format_args!("{} bytes, not {}", bytes.len(), fixed.size)));
                }
                Value::Fixed(bytes.into())
            }
            TypeKind::Enum(symbols) => {
                let text = self.reader.string()?;
                let at = symbols.symbols.iter().zip(0..).find(|(symbol, _)| ***symbol == *text);
                let at = at.ok_or_else(|| self.reader.wrong(format_args!("no symbol {text:?}")))?;
                Value::Enum(at.1)
            }
            TypeKind::Array(of) => Value::Array(self.items(*of)?),
            TypeKind::Map(of) => Value::Map(self.entries(*of)?),
            TypeKind::Union(branches) => self.union(branches)?,
            TypeKind::Record(record) => Value::Record(self.record(record)?),
        })
    }

    fn text(&mut self) -> Result<String, Error> {
        let text = self.reader.string()?;
        self.reader.charge(text.len())?;
        Ok(text.into_owned())
    }

    fn uuid(&mut self) -> Result<[u8; 16], Error> {
        let text = self.reader.string()?;
        uuid_bytes(&text).ok_or_else(|| self.reader.wrong(format_args!("{text:?} is no UUID")))
    }

    fn items(&mut self, of: TypeId) -> Result<Vec<Value>, Error> {
        self.reader.array()?;
        let (mut items, mut first) = (Vec::new(), true);
        while self.reader.item(&mut first)? {
            items.push(self.value(of).map_err(|error| error.within("[]"))?);
        }
        Ok(items)
    }

    fn entries(&mut self, of: TypeId) -> Result<BTreeMap<String, Value>, Error> {
        self.reader.object()?;
        let (mut entries, mut first) = (BTreeMap::new(), true);
        while let Some(key) = self.reader.key(&mut first)? {
            self.reader.charge(key.len() + size_of::<(String, Value)>())?;
            entries.insert(key.into_owned(), self.value(of).map_err(|error| error.within("{}"))?);
        }
        Ok(entries)
    }

    fn union(&mut self, branches: &[TypeId]) -> Result<Value, Error> {
        let kind = |id: TypeId| &self.schema[id].kind;
        if self.reader.kind()? == JsonKind::Null {
            if !branches.iter().any(|id| matches!(kind(*id), TypeKind::Null)) {
                return Err(self.reader.wrong("the union has no null"));
            }
            self.reader.null()?;
            return Ok(Value::Null);
        }
        let other = self.schema.beside_null(branches);
        if let (JsonForm::Plain, Some(at)) = (self.reader.form(), other) {
            return self.value(branches[at]);
        }
        let name = self.reader.branch()?;
        let named = branches.iter().copied().zip(0..).find(|(id, _)| kind(*id).branch_name() == name);
        let (id, at) = named.ok_or_else(|| self.reader.wrong(format_args!("the union has no {name:?}")))?;
        let value = self.value(id)?;
        self.reader.branch_end()?;
        Ok(value.in_branch(self.schema, branches, at))
    }

    fn record(&mut self, record: &RecordType) -> Result<Vec<Value>, Error> {
        self.reader.object()?;
        self.reader.charge(record.fields.len().saturating_mul(2 * size_of::<Value>()))?;
        let mut values: Vec<Option<Value>> = vec![None; record.fields.len()];
        let (mut first, mut next) = (true, 0);
        while let Some(key) = self.reader.key(&mut first)? {
            // Most texts have the fields in their order.
            let in_order = record.fields.get(next).is_some_and(|field| *field.name == *key);
            let Some(at) = (if in_order { Some(next) } else { record.field(&key) }) else {
                self.reader.skip()?;
                continue;
            };
            let field = &record.fields[at];
            values[at] = Some(self.value(field.schema).map_err(|error| error.within(field.name.clone()))?);
            next = at + 1;
        }
        let mut fields = Vec::with_capacity(values.len());
        for (value, field) in values.into_iter().zip(&record.fields) {
            fields.push(match (value, &field.default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.default(field.schema, default)?,
                (None, None) => {
                    return Err(self.reader.wrong(format_args!("the field {:?} is missing", field.name)));
                }
            });
        }
        Ok(fields)
    }

    fn default(&mut self, id: TypeId, default: &[u8]) -> Result<Value, Error> {
        let plan = match self.defaults.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Plan::same_from(self.schema, id)?),
        };
        self.reader.aside(default, |reader| plan.read_value(reader))
    }
}

/// A UUID as it is written.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    // A number may have a sign, a UUID has none.
    let is_one = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(&digits).ok().filter(|_| is_one)?;
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The JSON of a record with its name around it, as the original's sockets have it: `{"type":"shop.Order","data":{...}}`.
#[must_use]
pub fn wrapped(name: &str, data: &str) -> String {
    format!(r#"{{"type":"{name}","data":{data}}}"#)
}

/// What lies in the wrapper that [`wrapped`] makes, and the name on it; the text itself if there is none.
///
/// # Errors
/// If the text is no JSON, or passes a limit.
pub fn unwrapped<'a>(text: &'a str, limits: &Limits) -> Result<(Option<Cow<'a, str>>, &'a str), Error> {
    let mut reader = JsonReader::new(text, limits)?;
    if reader.kind()? != JsonKind::Object {
        return Ok((None, text));
    }
    reader.object()?;
    let (mut name, mut data, mut others, mut first) = (None, None, false, true);
    while let Some(key) = reader.key(&mut first)? {
        match &*key {
            "type" if reader.kind()? == JsonKind::String => name = Some(reader.string()?),
            "data" => data = Some(reader.skipped()?),
            _ => {
                reader.skip()?;
                others = true;
            }
        }
    }
    Ok(match (name, data) {
        (Some(name), Some(data)) if !others => (Some(name), data),
        _ => (None, text),
    })
}
