//! JSON as a tree, for what is not known before it is read: schemas, and defaults of fields.

use super::{JsonKind, JsonReader};
use crate::error::Error;

/// A JSON value. Numbers are kept as they are written, objects in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Number(Box<str>),
    String(Box<str>),
    Array(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
}

impl Json {
    /// Reads what comes next.
    ///
    /// # Errors
    /// If it is no JSON, or passes the reader's limits.
    pub(crate) fn read(reader: &mut JsonReader<'_>) -> Result<Json, Error> {
        reader.charge(size_of::<Json>())?;
        Ok(match reader.kind()? {
            JsonKind::Null => {
                reader.null()?;
                Json::Null
            }
            JsonKind::Boolean => Json::Boolean(reader.boolean()?),
            JsonKind::Number => Json::Number(reader.number()?.into()),
            JsonKind::String => Json::String(reader.string()?.into()),
            JsonKind::Array => {
                reader.array()?;
                let (mut items, mut first) = (Vec::new(), true);
                while reader.item(&mut first)? {
                    items.push(Json::read(reader)?);
                }
                Json::Array(items)
            }
            JsonKind::Object => {
                reader.object()?;
                let (mut members, mut first) = (Vec::new(), true);
                while let Some(key) = reader.key(&mut first)? {
                    reader.charge(key.len() + size_of::<Box<str>>())?;
                    members.push((key.into(), Json::read(reader)?));
                }
                Json::Object(members)
            }
        })
    }

    /// The member `name` of an object; the last one where it stands twice.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                members.iter().rev().find(|(key, _)| &**key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn as_size(&self) -> Option<usize> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Boolean(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a text",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}
