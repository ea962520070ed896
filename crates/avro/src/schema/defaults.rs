//! Defaults of fields: from the JSON of a schema to the bytes of a value.

use std::collections::HashMap;
use std::str::FromStr;

use super::{Type, TypeId, TypeKind};
use crate::error::Error;
use crate::json::Json;
use crate::writer;

/// Defaults within defaults, at most.
const DEPTH_MAX: u32 = 64;

/// Bytes of a text in a default that count as one more value.
const BYTES_OF_A_VALUE: usize = 16;

/// The defaults of fields, by record and place.
pub(crate) type Defaults<'a> = HashMap<(TypeId, usize), &'a Json>;

/// Writes one default.
pub(crate) struct DefaultEncoder<'a> {
    pub(crate) types: &'a [Type],
    pub(crate) defaults: &'a Defaults<'a>,
    /// Values that may still be written, here and in all defaults of the schema: records with defaults within records
    /// with defaults grow without bound.
    pub(crate) values_left: &'a mut u64,
    pub(crate) depth: u32,
    pub(crate) out: Vec<u8>,
}

impl DefaultEncoder<'_> {
    /// Writes `json` as a value of the type. Bytes are text of U+0000 to U+00FF; a union's is of the first branch that
    /// takes it, bare.
    pub(crate) fn put(&mut self, id: TypeId, json: &Json) -> Result<(), Error> {
        self.charge(1)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::too_large("defaults within defaults without end"));
        }
        let types = self.types;
        let put = self.put_kind(id, &types[id.0 as usize].kind, json);
        self.depth -= 1;
        put
    }

    fn put_kind(&mut self, id: TypeId, kind: &TypeKind, json: &Json) -> Result<(), Error> {
        let wrong = || Error::invalid(format_args!("{} is no {}", json.describe(), kind.keyword()));
        match (kind, json) {
            (TypeKind::Null, Json::Null) => {}
            (TypeKind::Boolean, Json::Boolean(value)) => self.out.push(u8::from(*value)),
            (TypeKind::Int, Json::Number(text)) => {
                let value: i32 = text.parse().map_err(|_| wrong())?;
                writer::put_long(&mut self.out, value.into());
            }
            (TypeKind::Long, Json::Number(text)) => {
                writer::put_long(&mut self.out, text.parse().map_err(|_| wrong())?);
            }
            (TypeKind::Float, _) => {
                self.out.extend_from_slice(&number::<f32>(json).ok_or_else(wrong)?.to_le_bytes());
            }
            (TypeKind::Double, _) => {
                self.out.extend_from_slice(&number::<f64>(json).ok_or_else(wrong)?.to_le_bytes());
            }
            (TypeKind::String, Json::String(text)) => self.put_bytes(text.as_bytes())?,
            (TypeKind::Bytes, Json::String(text)) => {
                self.put_bytes(&latin1(text).ok_or_else(wrong)?)?;
            }
            (TypeKind::Fixed(fixed), Json::String(text)) => {
                let bytes = latin1(text).filter(|bytes| bytes.len() == fixed.size).ok_or_else(wrong)?;
                self.charge_bytes(&bytes)?;
                self.out.extend_from_slice(&bytes);
            }
            (TypeKind::Enum(symbols), Json::String(text)) => {
                let at = symbols.symbols.iter().position(|symbol| symbol == text).ok_or_else(wrong)?;
                writer::put_count(&mut self.out, at);
            }
            (TypeKind::Array(items), Json::Array(list)) => {
                self.block(list.iter(), list.len(), |encoder, json| encoder.put(*items, json))?;
            }
            (TypeKind::Map(values), Json::Object(members)) => {
                self.block(members.iter(), members.len(), |encoder, (key, json)| {
                    encoder.put_bytes(key.as_bytes())?;
                    encoder.put(*values, json)
                })?;
            }
            (TypeKind::Union(branches), _) => self.put_union(branches, json)?,
            (TypeKind::Record(_), Json::Object(members)) => self.put_record(id, members.len(), json)?,
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn put_union(&mut self, branches: &[TypeId], json: &Json) -> Result<(), Error> {
        let start = self.out.len();
        for (index, branch) in branches.iter().enumerate() {
            writer::put_count(&mut self.out, index);
            match self.put(*branch, json) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == crate::ErrorKind::TooLarge => return Err(error),
                Err(_) => self.out.truncate(start),
            }
        }
        Err(Error::invalid(format_args!("{} fits no branch of the union", json.describe())))
    }

    fn put_record(&mut self, id: TypeId, members: usize, json: &Json) -> Result<(), Error> {
        let defaults = self.defaults;
        let TypeKind::Record(record) = &self.types[id.0 as usize].kind else {
            return Err(Error::invalid("no record"));
        };
        for (index, field) in record.fields.iter().enumerate() {
            self.charge(members as u64)?;
            let json = json.get(&field.name).or_else(|| defaults.get(&(id, index)).copied());
            let json =
                json.ok_or_else(|| Error::invalid("the field is missing").within(field.name.clone()))?;
            self.put(field.schema, json).map_err(|error| error.within(field.name.clone()))?;
        }
        Ok(())
    }

    /// Writes the items as one block, and the end.
    fn block<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        count: usize,
        mut put: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if count > 0 {
            writer::put_count(&mut self.out, count);
            items.into_iter().try_for_each(|item| put(self, item))?;
        }
        self.out.push(0);
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.charge_bytes(bytes)?;
        writer::put_bytes(&mut self.out, bytes);
        Ok(())
    }

    /// A text is written again wherever a default that holds it is left out.
    fn charge_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.charge((bytes.len() / BYTES_OF_A_VALUE) as u64)
    }

    fn charge(&mut self, values: u64) -> Result<(), Error> {
        let left = self.values_left.checked_sub(values);
        *self.values_left = left.ok_or_else(|| Error::too_large("the defaults hold too many values"))?;
        Ok(())
    }
}

/// A number, or what Java writes for those that JSON does not have.
fn number<T: FromStr + Into<f64> + Copy>(json: &Json) -> Option<T> {
    match json {
        Json::Number(text) => text.parse().ok().filter(|value: &T| (*value).into().is_finite()),
        Json::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => text.parse().ok(),
        _ => None,
    }
}

/// The bytes of a text whose characters are all below U+0100: how Avro's JSON writes bytes.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}
