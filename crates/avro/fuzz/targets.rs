//! What must hold for any input: the fuzz targets, as functions.
//!
//! Each says whether its input was a value, for the run to know whether it comes that far. `tests/fuzz.rs` runs them over inputs from seeds, everywhere and for a bounded time; `fuzz_targets/` hands them to cargo-fuzz.

use affinity_avro::{JsonForm, Limits, Plan, Record, RecordPlan, Schema, Value};

/// Small, so that an input that costs too much is refused and not waited for.
pub(crate) const LIMITS: Limits =
    Limits { bytes_max: 1 << 16, depth_max: 40, items_max: 20_000, allocation_max: 1 << 20 };

/// A type with all that nests.
#[derive(Clone, Debug, PartialEq, Record)]
#[avro(name = "T")]
pub(crate) struct Tree {
    value: i64,
    name: String,
    kind: Kind,
    left: Option<Box<Tree>>,
    children: Vec<Tree>,
    nothing: Vec<()>,
    choice: Choice,
    raw: Vec<u8>,
    ratio: f64,
    #[avro(default = 7)]
    small: i32,
    #[avro(default_json = "[true, false]")]
    flags: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Record)]
enum Kind {
    #[avro(default)]
    A,
    B,
}

#[derive(Clone, Debug, PartialEq, Record)]
enum Choice {
    Nothing,
    Number(i64),
    Text(String),
    Hash(Hash),
}

#[derive(Clone, Copy, Debug, PartialEq, Record)]
struct Hash([u8; 3]);

/// Writers of other versions of [`Tree`].
pub(crate) const WRITERS: [&str; 2] = [
    r#"{"type": "record", "name": "T", "fields": [
        {"name": "gone", "type": {"type": "array", "items": ["null", "T"]}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["C", "B", "A"]}},
        {"name": "value", "type": "int"}, {"name": "name", "type": "bytes"}, {"name": "left", "type": ["T", "null"]},
        {"name": "children", "type": {"type": "array", "items": "T"}}, {"name": "choice", "type": ["int", "bytes"]},
        {"name": "nothing", "type": {"type": "array", "items": "null"}}, {"name": "raw", "type": "string"},
        {"name": "ratio", "type": ["float", "long"]}]}"#,
    r#"{"type": "record", "name": "Other", "fields": [
        {"name": "nothing", "type": {"type": "array", "items": "null"}}, {"name": "ratio", "type": "int"},
        {"name": "skipped", "type": {"type": "map", "values": {"type": "array", "items": {"type": "record", "name": "E", "fields": []}}}},
        {"name": "choice", "type": "null"}, {"name": "raw", "type": "bytes"}, {"name": "value", "type": "long"},
        {"name": "children", "type": {"type": "array", "items": "Other"}}, {"name": "name", "type": "string"},
        {"name": "left", "type": ["null", "Other"]}, {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["B"]}}]}"#,
];

fn bytes_of(value: &Value, schema: &Schema) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(schema, &mut bytes).expect("what was read can be written");
    bytes
}

/// Bytes of any schema: what is read is written and read again as the same, and a compiled type reads what the generic value reads.
pub(crate) fn decode(data: &[u8]) -> bool {
    let plan = Plan::same(Tree::schema()).expect("a schema that can be read");
    let generic = plan.decode_value(data, &LIMITS);
    let mut reader = affinity_avro::Reader::new(data, &LIMITS).expect("short input");
    let typed =
        <Tree as affinity_avro::Datum>::decode(&mut reader).and_then(|tree| reader.end().map(|()| tree));
    let by_plan = RecordPlan::<Tree>::with_limits(Tree::schema(), LIMITS).and_then(|plan| plan.decode(data));
    if let (Ok(value), Ok(tree)) = (&generic, &typed) {
        assert_eq!(bytes_of(value, Tree::schema()), tree.to_avro());
        assert_eq!(Tree::from_avro(&tree.to_avro()).expect("what was written").to_avro(), tree.to_avro());
    }
    assert_eq!(typed.is_ok(), by_plan.is_ok());
    // The two count memory and items by what they make.
    let is_damage = |error: &affinity_avro::Error| error.kind() == affinity_avro::ErrorKind::Corrupt;
    if generic.is_ok() || generic.as_ref().is_err_and(is_damage) {
        assert_eq!(generic.is_ok(), typed.is_ok(), "{generic:?} {typed:?}");
    }
    typed.is_ok()
}

/// Bytes of an older writer: both ways of reading agree.
pub(crate) fn resolve(data: &[u8]) -> bool {
    let Some((first, data)) = data.split_first() else { return false };
    let writer = Schema::parse(WRITERS[usize::from(*first) % WRITERS.len()]).expect("a schema");
    let plan = RecordPlan::<Tree>::with_limits(&writer, LIMITS).expect("they resolve");
    let (generic, typed) = (plan.plan().decode_value(data, &LIMITS), plan.decode(data));
    if let (Ok(value), Ok(tree)) = (&generic, &typed) {
        assert_eq!(bytes_of(value, Tree::schema()), tree.to_avro());
    }
    typed.is_ok()
}

/// JSON: what is read is written and read again as the same.
pub(crate) fn json(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut found = false;
    for form in [JsonForm::Plain, JsonForm::Avro] {
        let generic = Value::from_json(&text, Tree::schema(), form, &LIMITS);
        let typed = Tree::from_json_as(&text, form, &LIMITS);
        if let (Ok(value), Ok(tree)) = (&generic, &typed) {
            assert_eq!(bytes_of(value, Tree::schema()), tree.to_avro());
            let json = tree.to_json_as(form);
            assert_eq!(value.to_json(Tree::schema(), form).expect("a value of the schema"), json);
            let again = Tree::from_json_as(&json, form, &Limits::DEFAULT).expect("what was written");
            assert_eq!(again.to_avro(), tree.to_avro());
        }
        assert_eq!(generic.is_ok(), typed.is_ok(), "{generic:?} {typed:?}");
        found |= typed.is_ok();
    }
    found
}

/// Schemas, and bytes of them: the text up to the first zero is the schema, or two with a line feed between; the rest are bytes.
pub(crate) fn schema(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end]);
    let (writer, reader) = text.split_once('\n').unwrap_or((&text, &text));
    let (Ok(writer), Ok(reader)) = (Schema::parse(writer), Schema::parse(reader)) else { return false };
    assert_eq!(Schema::parse(writer.text()).expect("the same text").canonical(), writer.canonical());
    let bytes = data.get(end + 1..).unwrap_or_default();
    let value = Plan::new(&writer, &reader).and_then(|plan| plan.decode_value(bytes, &LIMITS));
    let Ok(value) = value else { return false };
    for form in [JsonForm::Plain, JsonForm::Avro] {
        // By their JSON, since that has one NaN only.
        let json = value.to_json(&reader, form).expect("a value of the schema");
        let again = Value::from_json(&json, &reader, form, &Limits::DEFAULT).expect("what was written");
        assert_eq!(again.to_json(&reader, form).expect("a value of the schema"), json);
        bytes_of(&again, &reader);
    }
    true
}
