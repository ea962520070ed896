//! The schema of a compiled type, written by the type.

use std::collections::HashMap;
use std::fmt::Write;

use crate::error::Error;
use crate::limits::SchemaLimits;

/// What a named type says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// Its full name.
    pub name: &'static str,
    /// Full names it had before.
    pub aliases: &'static [&'static str],
    /// What it is, for people; may be empty.
    pub doc: &'static str,
    /// The Rust type, to tell two of one name apart.
    pub rust: &'static str,
}

/// What a field of a record says of itself.
#[derive(Clone, Copy, Debug)]
pub struct FieldOf {
    /// Its name.
    pub name: &'static str,
    /// Names it had before.
    pub aliases: &'static [&'static str],
    /// What it is, for people; may be empty.
    pub doc: &'static str,
    /// The default, as JSON.
    pub default: Option<&'static str>,
    /// The logical type of the primitive in it, if any.
    pub logical: Option<&'static str>,
    /// Its type.
    pub describe: fn(&mut SchemaWriter),
}

/// Writes the JSON text of a schema. A named type is written in full where it first stands, and named from then on.
#[derive(Debug, Default)]
pub struct SchemaWriter {
    out: String,
    /// The Rust type of each name.
    names: HashMap<&'static str, &'static str>,
    /// The attributes that the next primitive gets.
    logical: Option<&'static str>,
    /// Lists, maps and unions around what is written now.
    depth: u32,
    error: Option<Error>,
}

impl SchemaWriter {
    /// The text.
    ///
    /// # Errors
    /// If two types have one name, a logical type stands on something that has none, or a type without a name holds itself.
    pub(crate) fn finish(self) -> Result<String, Error> {
        self.error.map_or(Ok(self.out), Err)
    }

    /// Writes a primitive type.
    pub fn primitive(&mut self, keyword: &str) {
        match self.logical {
            Some(logical) if keyword != "null" => {
                self.logical = None;
                self.logical_type(keyword, logical, "");
            }
            _ => self.quoted(keyword),
        }
    }

    /// Writes a primitive type that means `logical`, with more attributes in JSON, each with a comma before it.
    pub fn logical_type(&mut self, keyword: &str, logical: &str, more: &str) {
        let fits = match logical {
            "date" | "time-millis" => keyword == "int",
            "uuid" => keyword == "string",
            "decimal" => keyword == "bytes",
            _ => keyword == "long",
        };
        if !fits {
            self.refuse(Error::invalid(format_args!("{keyword} cannot mean {logical}")));
        }
        let _ = write!(self.out, r#"{{"type":"{keyword}","logicalType":"{logical}"{more}}}"#);
    }

    /// Writes an array.
    pub fn array(&mut self, items: fn(&mut SchemaWriter)) {
        self.out.push_str(r#"{"type":"array","items":"#);
        self.nested(items);
        self.out.push('}');
    }

    /// Writes a map.
    pub fn map(&mut self, values: fn(&mut SchemaWriter)) {
        self.out.push_str(r#"{"type":"map","values":"#);
        self.nested(values);
        self.out.push('}');
    }

    /// Writes a union.
    pub fn union(&mut self, branches: &[fn(&mut SchemaWriter)]) {
        self.list(branches, |schema, branch| schema.nested(*branch));
    }

    /// Writes what lies in a type without a name. Only a name can be used again, so one that holds itself would go on without end; nothing
    /// that nests so deep could be read back.
    fn nested(&mut self, describe: fn(&mut SchemaWriter)) {
        if self.depth >= SchemaLimits::DEFAULT.depth_max {
            self.refuse(Error::invalid(
                "a list, a map or a union that holds itself has no name in Avro: put a struct with `#[derive(Record)]` between",
            ));
        }
        if self.error.is_none() {
            self.depth += 1;
            describe(self);
            self.depth -= 1;
        }
    }

    /// Writes a record.
    pub fn record(&mut self, named: &Named, fields: &[FieldOf]) {
        // What its fields mean is told by themselves.
        let logical = self.logical.take();
        self.named(named, "record", |schema| {
            schema.out.push_str(r#","fields":"#);
            schema.list(fields, SchemaWriter::field);
        });
        self.logical = logical;
    }

    fn field(&mut self, field: &FieldOf) {
        self.out.push_str(r#"{"name":"#);
        self.quoted(field.name);
        self.out.push_str(r#","type":"#);
        self.logical = field.logical;
        (field.describe)(self);
        if let Some(unused) = self.logical.take() {
            self.refuse(Error::invalid(format_args!("nothing in it can mean {unused}")).within(field.name));
        }
        self.about(field.aliases, field.doc);
        if let Some(default) = field.default {
            let _ = write!(self.out, r#","default":{default}"#);
        }
        self.out.push('}');
    }

    /// Writes an enum.
    pub fn enumeration(&mut self, named: &Named, symbols: &[&'static str], default: Option<&'static str>) {
        self.named(named, "enum", |schema| {
            schema.out.push_str(r#","symbols":"#);
            schema.list(symbols, |schema, symbol| schema.quoted(symbol));
            if let Some(default) = default {
                schema.out.push_str(r#","default":"#);
                schema.quoted(default);
            }
        });
    }

    /// Writes a fixed, with a logical type if it means one.
    pub fn fixed(&mut self, named: &Named, size: usize, logical: Option<&str>) {
        self.named(named, "fixed", |schema| {
            let _ = write!(schema.out, r#","size":{size}"#);
            if let Some(logical) = logical {
                let _ = write!(schema.out, r#","logicalType":"{logical}""#);
            }
        });
    }

    fn named(&mut self, named: &Named, keyword: &str, rest: impl FnOnce(&mut SchemaWriter)) {
        if let Some(known) = self.names.insert(named.name, named.rust) {
            if known != named.rust {
                let why = format_args!("{known} and {} are both called {}", named.rust, named.name);
                self.refuse(Error::invalid(why));
            }
            return self.quoted(named.name);
        }
        let (namespace, short) = named.name.rsplit_once('.').unwrap_or(("", named.name));
        let _ = write!(self.out, r#"{{"type":"{keyword}","name":"{short}","namespace":"{namespace}""#);
        self.about(named.aliases, named.doc);
        rest(self);
        self.out.push('}');
    }

    fn about(&mut self, aliases: &[&'static str], doc: &str) {
        if !aliases.is_empty() {
            self.out.push_str(r#","aliases":"#);
            self.list(aliases, |schema, alias| schema.quoted(alias));
        }
        if !doc.is_empty() {
            self.out.push_str(r#","doc":"#);
            crate::json::put_quoted(&mut self.out, doc);
        }
    }

    fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            put(self, item);
        }
        self.out.push(']');
    }

    /// Names need no escapes.
    fn quoted(&mut self, name: &str) {
        self.out.push('"');
        self.out.push_str(name);
        self.out.push('"');
    }

    /// The first error counts.
    fn refuse(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}
