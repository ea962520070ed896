//! When two texts are the same schema: the same JSON, whatever their white space and the order of members.

use affinity_avro::json::{JsonKind, JsonReader};
use affinity_avro::{Limits, Schema};

use crate::{Error, ErrorKind};

/// What texts of the same schema have in common, and others do not. It is to be compared, not read: each text in it stands behind its
/// length, so that no two values run together.
pub(crate) fn common_form(schema: &Schema) -> Result<Box<str>, Error> {
    let invalid = |error: affinity_avro::Error| {
        Error::new(ErrorKind::Invalid, "the schema is no JSON").caused_by(error)
    };
    let mut reader = JsonReader::new(schema.text(), &Limits::DEFAULT).map_err(invalid)?;
    let mut form = String::new();
    put(&mut reader, &mut form).map_err(invalid)?;
    Ok(form.into())
}

/// Nests as deep as [`Limits`] allow.
fn put(reader: &mut JsonReader<'_>, form: &mut String) -> Result<(), affinity_avro::Error> {
    match reader.kind()? {
        JsonKind::Null => {
            reader.null()?;
            form.push('n');
        }
        JsonKind::Boolean => form.push(if reader.boolean()? { 't' } else { 'f' }),
        JsonKind::Number => put_text('#', reader.number()?, form),
        JsonKind::String => put_text('"', &reader.string()?, form),
        JsonKind::Array => {
            reader.array()?;
            form.push('[');
            let mut first = true;
            while reader.item(&mut first)? {
                put(reader, form)?;
            }
            form.push(']');
        }
        JsonKind::Object => {
            reader.object()?;
            let (mut members, mut first) = (Vec::new(), true);
            while let Some(key) = reader.key(&mut first)? {
                let mut value = String::new();
                let key = String::from(key);
                put(reader, &mut value)?;
                members.push((key, value));
            }
            members.sort_by(|a, b| a.0.cmp(&b.0));
            form.push('{');
            for (key, value) in &members {
                put_text('"', key, form);
                form.push_str(value);
            }
            form.push('}');
        }
    }
    Ok(())
}

fn put_text(mark: char, text: &str, form: &mut String) {
    form.push(mark);
    form.push_str(&text.len().to_string());
    form.push(':');
    form.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_order_of_members_make_no_difference() {
        let check = |a: &str, b: &str, same: bool| {
            let [a, b] = [a, b].map(|text| common_form(&Schema::parse(text).unwrap()).unwrap());
            assert_eq!(a == b, same, "{a} {b}");
        };
        let plain =
            r#"{"type":"record","name":"R","doc":"d","fields":[{"name":"a","type":"int","default":1}]}"#;
        let other = r#" {"fields": [ {"default": 1, "type":"int","name":"\u0061"}],
            "doc":"d", "name" : "R","type":"record"}"#;
        check(plain, other, true);
        check(plain, &other.replace(r#""d""#, r#""e""#), false);
        check(plain, &other.replace("1", "2"), false);
        check("\"int\"", r#"{"type": "int"}"#, false);
        check(r#"["int", "null"]"#, r#"["null", "int"]"#, false);
    }
}
