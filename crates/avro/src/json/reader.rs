//! Reads JSON by asking for what should come next.

use std::borrow::Cow;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::JsonForm;
use crate::error::Error;
use crate::limits::{Limits, depth_of};
use crate::reader::Reader;

/// What a JSON value is, told by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A text in quotes.
    String,
    /// `[`
    Array,
    /// `{`
    Object,
}

/// A place in a JSON text. Whoever reads asks for the value that should come, and is refused where another stands.
#[derive(Clone, Debug)]
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    items: u64,
    allocation: usize,
    form: JsonForm,
}

impl<'a> JsonReader<'a> {
    /// A reader at the start of `text`.
    ///
    /// # Errors
    /// If the text is longer than `limits` allow.
    pub fn new(text: &'a str, limits: &Limits) -> Result<JsonReader<'a>, Error> {
        if text.len() > limits.bytes_max {
            return Err(Error::too_large(format_args!(
                "{} bytes of JSON, at most {}",
                text.len(),
                limits.bytes_max
            )));
        }
        Ok(JsonReader {
            text,
            at: 0,
            depth: limits.depth_max,
            items: limits.items_max,
            allocation: limits.allocation_max,
            form: JsonForm::Plain,
        })
    }

    /// The same reader, of a text in `form`.
    #[must_use]
    pub fn in_form(self, form: JsonForm) -> JsonReader<'a> {
        JsonReader { form, ..self }
    }

    /// The form that the text is in.
    #[must_use]
    pub fn form(&self) -> JsonForm {
        self.form
    }

    /// Whatever is wrong here, with the place.
    #[cold]
    pub fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format_args!("{what} at byte {}", self.at))
    }

    #[cold]
    fn expected(&self, what: &str) -> Error {
        match self.text[self.at..].chars().next() {
            Some(found) => self.wrong(format_args!("expected {what}, found {found:?}")),
            None => self.wrong(format_args!("expected {what}, found the end")),
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// If it is the end, or no JSON.
    #[inline]
    pub fn kind(&mut self) -> Result<JsonKind, Error> {
        match self.next_byte() {
            Some(b'"') => Ok(JsonKind::String),
            Some(b'{') => Ok(JsonKind::Object),
            Some(b'[') => Ok(JsonKind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(JsonKind::Number),
            Some(b't' | b'f') => Ok(JsonKind::Boolean),
            Some(b'n') => Ok(JsonKind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Takes `null`.
    ///
    /// # Errors
    /// If something else comes.
    pub fn null(&mut self) -> Result<(), Error> {
        if self.takes_word("null") { Ok(()) } else { Err(self.expected("null")) }
    }

    /// Takes `null` if it comes next.
    #[inline]
    pub fn takes_null(&mut self) -> bool {
        self.takes_word("null")
    }

    /// Takes `true` or `false`.
    ///
    /// # Errors
    /// If something else comes.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        if self.takes_word("true") {
            Ok(true)
        } else if self.takes_word("false") {
            Ok(false)
        } else {
            Err(self.expected("true or false"))
        }
    }

    /// Takes a number, as it is written.
    ///
    /// # Errors
    /// If something else comes.
    #[inline]
    pub fn number(&mut self) -> Result<&'a str, Error> {
        self.next_byte();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let digits = |at: &mut usize| {
            let from = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - from
        };
        let first = at;
        let whole = digits(&mut at);
        if whole == 0 || whole > 1 && bytes[first] == b'0' {
            return Err(self.expected("a number"));
        }
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            if digits(&mut at) == 0 {
                return Err(self.expected("a number"));
            }
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            if digits(&mut at) == 0 {
                return Err(self.expected("a number"));
            }
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// Takes a whole number that fits into `T`.
    ///
    /// # Errors
    /// If something else comes.
    #[inline]
    pub fn integer<T: FromStr>(&mut self) -> Result<T, Error> {
        let text = self.number()?;
        text.parse().map_err(|_| self.wrong(format_args!("{text} is no whole number, or out of range")))
    }

    /// Takes a float. `"NaN"`, `"Infinity"` and `"-Infinity"` are texts.
    ///
    /// # Errors
    /// If something else comes.
    pub fn float(&mut self) -> Result<f32, Error> {
        self.floating()
    }

    /// Takes a double, as [`float`](Self::float).
    ///
    /// # Errors
    /// If something else comes.
    pub fn double(&mut self) -> Result<f64, Error> {
        self.floating()
    }

    #[inline]
    fn floating<T: FromStr + Into<f64> + Copy>(&mut self) -> Result<T, Error> {
        if self.next_byte() != Some(b'"') {
            let text = self.number()?;
            // One that is too large would become an infinity, which has a name of its own.
            let finite = text.parse().ok().filter(|value: &T| (*value).into().is_finite());
            return finite.ok_or_else(|| self.wrong(format_args!("{text} is out of range")));
        }
        let text = self.string()?;
        let special = matches!(&*text, "NaN" | "Infinity" | "-Infinity");
        let value = special.then(|| text.parse().ok()).flatten();
        value.ok_or_else(|| self.wrong(format_args!("{text:?} is no number")))
    }

    /// Takes bytes: base64 in the plain form, characters up to U+00FF in Avro's.
    ///
    /// # Errors
    /// If something else comes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let text = self.string()?;
        self.charge(text.len())?;
        let bytes = match self.form {
            JsonForm::Plain => BASE64.decode(&*text).ok(),
            JsonForm::Avro => text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect(),
        };
        bytes.ok_or_else(|| match self.form {
            JsonForm::Plain => self.wrong("bytes are written in base64"),
            JsonForm::Avro => self.wrong("bytes are written as characters up to U+00FF"),
        })
    }

    /// Takes a value of a union of null and one branch that is not null: bare in the plain form, in an object under the
    /// branch's name in Avro's.
    ///
    /// # Errors
    /// Those of `read`, or if the object is another.
    #[inline]
    pub fn branch_of_two<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.form {
            JsonForm::Plain => read(self),
            JsonForm::Avro => {
                let found = self.branch()?;
                if *found != *name {
                    return Err(self.wrong(format_args!("no branch {found:?}, but {name:?}")));
                }
                let value = read(self)?;
                self.branch_end()?;
                Ok(value)
            }
        }
    }

    /// Enters the object around a branch of a union that is not null. Its value comes next, then [`branch_end`](Self::branch_end).
    ///
    /// # Errors
    /// If something else comes.
    pub fn branch(&mut self) -> Result<Cow<'a, str>, Error> {
        self.object()?;
        let mut first = true;
        self.key(&mut first)?.ok_or_else(|| self.wrong("the name of a branch is missing"))
    }

    /// Leaves it.
    ///
    /// # Errors
    /// If something else comes.
    pub fn branch_end(&mut self) -> Result<(), Error> {
        match self.key(&mut false)? {
            None => Ok(()),
            Some(key) => Err(self.wrong(format_args!("{key:?} beside a branch of a union"))),
        }
    }

    /// Takes a text in quotes; borrowed where it has no escapes.
    ///
    /// # Errors
    /// If something else comes, or it holds half of a surrogate pair.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.next_byte() != Some(b'"') {
            return Err(self.expected("a text"));
        }
        self.at += 1;
        let start = self.at;
        let end = self.plain_end();
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        self.escaped(start, end).map(Cow::Owned)
    }

    /// Where the run of characters that stand for themselves ends.
    #[inline]
    fn plain_end(&self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        self.at + plain.unwrap_or(rest.len())
    }

    fn escaped(&mut self, mut start: usize, mut end: usize) -> Result<String, Error> {
        let mut out = String::new();
        loop {
            self.charge(end - start + 4)?;
            out.push_str(&self.text[start..end]);
            self.at = end;
            match self.text.as_bytes().get(end) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.expected("the end of a text")),
            }
            start = self.at;
            end = self.plain_end();
        }
    }

    /// Takes an escape, the place being at its backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match letter {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("no escape of JSON")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let unit = self.hex(self.at + 2)?;
        self.at += 6;
        let mut code = unit;
        if (0xd800..0xdc00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            let low = self.hex(self.at + 2)?;
            if (0xdc00..0xe000).contains(&low) {
                self.at += 6;
                code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair"))
    }

    fn hex(&self, at: usize) -> Result<u32, Error> {
        let digits = self.text.as_bytes().get(at..at + 4).unwrap_or_default();
        let value = digits
            .iter()
            .try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
            .filter(|_| digits.len() == 4);
        value.ok_or_else(|| self.wrong("four hexadecimal digits belong behind \\u"))
    }

    /// Enters an array. Then [`item`](Self::item) says whether there is another item, until there is none.
    ///
    /// # Errors
    /// If something else comes, or it lies too deep.
    pub fn array(&mut self) -> Result<(), Error> {
        self.enter(b'[', "an array")
    }

    /// Whether an item comes next in the array entered last, `first` on the first call. The array is left at its end.
    ///
    /// # Errors
    /// If neither an item nor the end comes.
    #[inline]
    pub fn item(&mut self, first: &mut bool) -> Result<bool, Error> {
        self.another(b']', first, "a comma or ]")
    }

    /// Enters an object. Then [`key`](Self::key) gives the names, until there is none.
    ///
    /// # Errors
    /// If something else comes, or it lies too deep.
    pub fn object(&mut self) -> Result<(), Error> {
        self.enter(b'{', "an object")
    }

    /// Enters the object of a compiled record of so many fields, as [`object`](Self::object). [`leave_record`](Self::leave_record) comes behind its end.
    ///
    /// # Errors
    /// If something else comes, or it lies too deep.
    #[inline]
    pub fn record<T>(&mut self, fields: usize) -> Result<(), Error> {
        self.object()?;
        // The object itself is one.
        let left = self.depth.checked_sub(depth_of::<T>(fields) - 1);
        self.depth = left.ok_or_else(|| Error::too_large("JSON nests too deep"))?;
        Ok(())
    }

    /// Leaves it.
    #[inline]
    pub fn leave_record<T>(&mut self, fields: usize) {
        self.depth += depth_of::<T>(fields) - 1;
    }

    /// The next name in the object entered last, `first` on the first call; its value comes next. The object is left at
    /// its end.
    ///
    /// # Errors
    /// If neither a name nor the end comes.
    #[inline]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, Error> {
        if !self.another(b'}', first, "a comma or }")? {
            return Ok(None);
        }
        let key = self.string()?;
        if self.next_byte() != Some(b':') {
            return Err(self.expected("a colon"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Passes over a value.
    ///
    /// # Errors
    /// If it is no JSON, or nests too deep.
    pub fn skip(&mut self) -> Result<(), Error> {
        match self.kind()? {
            JsonKind::Null => self.null(),
            JsonKind::Boolean => self.boolean().map(drop),
            JsonKind::Number => self.number().map(drop),
            JsonKind::String => self.string().map(drop),
            JsonKind::Array => {
                self.array()?;
                let mut first = true;
                while self.item(&mut first)? {
                    self.skip()?;
                }
                Ok(())
            }
            JsonKind::Object => {
                self.object()?;
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
        }
    }

    /// Passes over a value, and gives its text.
    ///
    /// # Errors
    /// As [`skip`](Self::skip).
    pub(crate) fn skipped(&mut self) -> Result<&'a str, Error> {
        self.next_byte();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Makes sure that nothing but white space is left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&mut self) -> Result<(), Error> {
        if self.next_byte().is_none() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// Counts `bytes` that the reader's caller is about to allocate for what it has read.
    ///
    /// # Errors
    /// If they are more than the limits leave.
    #[inline]
    pub fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        match self.allocation.checked_sub(bytes) {
            Some(left) => {
                self.allocation = left;
                Ok(())
            }
            None => Err(Error::too_large("the value takes more memory than is allowed")),
        }
    }

    /// Reads the default of a field that was left out, at the cost of this reader.
    pub(crate) fn aside<T>(
        &mut self,
        default: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let limits = Limits {
            bytes_max: usize::MAX,
            depth_max: self.depth,
            items_max: self.items,
            allocation_max: self.allocation,
        };
        let mut reader = Reader::new(default, &limits)?;
        let value = read(&mut reader)?;
        (self.items, self.allocation) = reader.budget();
        Ok(value)
    }

    fn enter(&mut self, open: u8, what: &str) -> Result<(), Error> {
        if self.next_byte() != Some(open) {
            return Err(self.expected(what));
        }
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Error::too_large("JSON nests too deep"))?;
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn another(&mut self, close: u8, first: &mut bool, what: &str) -> Result<bool, Error> {
        match self.next_byte() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth += 1;
                return Ok(false);
            }
            Some(b',') if !*first => self.at += 1,
            Some(_) if *first => {}
            _ => return Err(self.expected(what)),
        }
        *first = false;
        self.items = self.items.checked_sub(1).ok_or_else(|| Error::too_large("JSON has too many items"))?;
        Ok(true)
    }

    /// The next byte that is no white space; the place is there.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.next_byte();
        let there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if there {
            self.at += word.len();
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn skip(text: &str) -> Result<(), Error> {
        let mut reader = JsonReader::new(text, &Limits::DEFAULT)?;
        reader.skip()?;
        reader.end()
    }

    #[test]
    fn json_is_what_its_standard_says() {
        for good in
            ["null", " [1, -0, 2.5e-3,0] ", r#"{"a":{},"b":[[]],"":"\u00e9\n"}"#, "\"\\ud83d\\ude80\"", "1E5"]
        {
            skip(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "",
            "nul",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\udc00a\"",
            "\"\n\"",
            "1 2",
            "tru",
            "[",
            "]",
            "\"\\u00e",
        ] {
            assert_eq!(skip(bad).map_err(|error| error.kind()), Err(ErrorKind::Invalid), "{bad}");
        }
    }

    #[test]
    fn texts_are_what_their_escapes_mean() {
        let check = |text: &str, expected: &str| {
            assert_eq!(JsonReader::new(text, &Limits::DEFAULT).unwrap().string().unwrap(), expected);
        };
        check(r#""plain é""#, "plain é");
        check(r#""\"\\\/\b\f\n\r\t\u00E9\ud83d\uDE80 end""#, "\"\\/\u{8}\u{c}\n\r\té🚀 end");
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let limits = Limits { bytes_max: 100, depth_max: 3, items_max: 5, allocation_max: 20 };
        let check = |text: &str| {
            let read = JsonReader::new(text, &limits).and_then(|mut reader| reader.skip());
            assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::TooLarge), "{text}");
        };
        check("[[[[]]]]");
        check("[1,2,3,4,5,6]");
        check(&" ".repeat(101));
        check(&format!("\"\\n{}\"", "a".repeat(30)));
        assert!(skip(&"[".repeat(100_000)).is_err());
    }
}
