//! Writes JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::JsonForm;

/// Writes a JSON text in one go. Whoever writes keeps the order of brackets and names.
#[derive(Clone, Debug)]
pub struct JsonWriter {
    out: String,
    form: JsonForm,
}

impl JsonWriter {
    /// A writer of an empty text.
    #[must_use]
    pub fn new(form: JsonForm) -> JsonWriter {
        JsonWriter { out: String::new(), form }
    }

    /// The form that it writes.
    #[must_use]
    pub fn form(&self) -> JsonForm {
        self.form
    }

    /// What has been written.
    #[must_use]
    pub fn into_text(self) -> String {
        self.out
    }

    /// Appends what is JSON already.
    #[inline]
    pub fn raw(&mut self, json: &str) {
        self.out.push_str(json);
    }

    /// Appends `null`.
    pub fn null(&mut self) {
        self.raw("null");
    }

    /// Appends a boolean.
    pub fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub(crate) fn boolean_ref(&mut self, value: &bool) {
        self.boolean(*value);
    }

    /// Appends a whole number.
    #[inline]
    pub fn number<T: itoa::Integer + Copy>(&mut self, value: &T) {
        self.out.push_str(itoa::Buffer::new().format(*value));
    }

    /// Appends a float, by the fewest digits that are it.
    pub fn float(&mut self, value: f32) {
        if value.is_finite() {
            self.out.push_str(zmij::Buffer::new().format_finite(value));
        } else {
            self.special(value.into());
        }
    }

    pub(crate) fn float_ref(&mut self, value: &f32) {
        self.float(*value);
    }

    /// Appends a double, by the fewest digits that are it.
    #[inline]
    pub fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.out.push_str(zmij::Buffer::new().format_finite(value));
        } else {
            self.special(value);
        }
    }

    pub(crate) fn double_ref(&mut self, value: &f64) {
        self.double(*value);
    }

    #[cold]
    fn special(&mut self, value: f64) {
        self.raw(match value {
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => "\"NaN\"",
        });
    }

    /// Appends a text.
    #[inline]
    pub fn string(&mut self, text: &str) {
        put_quoted(&mut self.out, text);
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match self.form {
            JsonForm::Plain => {
                self.out.push('"');
                BASE64.encode_string(bytes, &mut self.out);
                self.out.push('"');
            }
            JsonForm::Avro => {
                let text: String = bytes.iter().copied().map(char::from).collect();
                self.string(&text);
            }
        }
    }

    /// Appends a list.
    pub fn list<T>(&mut self, items: impl Iterator<Item = T>, mut put: impl FnMut(&mut Self, T)) {
        self.out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            put(self, item);
        }
        self.out.push(']');
    }

    /// Appends an object.
    pub fn entries<'a, T>(
        &mut self,
        entries: impl Iterator<Item = (&'a str, T)>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        self.out.push('{');
        for (index, (key, value)) in entries.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.string(key);
            self.out.push(':');
            put(self, value);
        }
        self.out.push('}');
    }

    /// Appends the branch `name` of a union.
    pub fn branch(&mut self, name: &str, put: impl FnOnce(&mut Self)) {
        self.raw("{\"");
        self.raw(name);
        self.raw("\":");
        put(self);
        self.out.push('}');
    }

    /// Appends the branch of a union of null and one other that is not null.
    #[inline]
    pub fn branch_of_two(&mut self, name: &str, put: impl FnOnce(&mut Self)) {
        match self.form {
            JsonForm::Plain => put(self),
            JsonForm::Avro => self.branch(name, put),
        }
    }
}

/// Bytes that are looked at together.
const LANE: usize = 16;

/// Appends `text` in quotes.
#[inline]
pub(crate) fn put_quoted(out: &mut String, text: &str) {
    out.push('"');
    let bytes = text.as_bytes();
    // Without an early end the compiler looks at a lane at once.
    let is_plain = |lane: &[u8]| !lane.iter().fold(false, |found, byte| found | needs_escape(*byte));
    if bytes.chunks(LANE).all(is_plain) {
        out.push_str(text);
    } else {
        put_escaped(out, text);
    }
    out.push('"');
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_escape) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(DIGITS[usize::from(control >> 4)]));
                out.push(char::from(DIGITS[usize::from(control & 15)]));
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}
