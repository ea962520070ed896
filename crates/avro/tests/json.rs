//! JSON of the generic value against what Avro in Java and avsc in JavaScript made.

mod vectors;

use affinity_avro::{JsonForm, Limits, Plan, Schema, Value, json};
use vectors::{cases, hex, schema, text};

/// Where ours is not what Java wrote, and why.
///
/// - `e-069`, `r-052`: Java writes a record without fields as no text at all. That is no JSON; ours is `{}`.
const JAVA_DEVIATIONS: &[&str] = &["e-069", "r-052"];

/// Where ours is not what avsc does, and why.
///
/// - Floats: avsc writes NaN and the infinities as `null`, and -0 as `0`, and so loses them; ours keeps them.
/// - Longs: avsc writes them through a double, and so loses digits beyond 2^53, and refuses to read them as a number; ours are 64 bits.
/// - `j-090`: a map loses the key `__proto__` in JavaScript.
/// - `j-188`, `j-189`: avsc reads a text that is not in UTF-8 and a boolean of 2. Both are damage, and refused here.
const AVSC_DEVIATIONS: &[&str] = &[
    "j-023", "j-024", "j-025", "j-026", "j-030", "j-032", "j-034", "j-036", "j-038", "j-042", "j-043",
    "j-048", "j-049", "j-050", "j-051", "j-052", "j-053", "j-090", "j-188", "j-189",
];

fn read(json: &str, schema: &Schema, form: JsonForm) -> Option<Value> {
    Value::from_json(json, schema, form, &Limits::DEFAULT).ok()
}

fn bytes_of(value: &Value, schema: &Schema) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(schema, &mut bytes).expect("a value of the schema");
    bytes
}

#[test]
fn avros_json_is_that_of_java() {
    let cases = cases(include_str!("vectors/avro_encode.jsonl"));
    let mut wrong = Vec::new();
    for case in &cases {
        let schema = schema(case, "schema");
        let value = Value::decode(&schema, &hex(text(case, "hex"))).unwrap();
        let bytes = bytes_of(&value, &schema);
        let from_java = read(text(case, "json"), &schema, JsonForm::Avro);
        if from_java.map(|value| bytes_of(&value, &schema)).as_ref() != Some(&bytes) {
            wrong.push(text(case, "id"));
        }
        for form in [JsonForm::Plain, JsonForm::Avro] {
            let json = value.to_json(&schema, form).unwrap();
            let again = read(&json, &schema, form).map(|value| bytes_of(&value, &schema));
            assert_eq!(again, Some(bytes.clone()), "{}: {json}", case["id"]);
        }
    }
    assert_eq!(wrong, &JAVA_DEVIATIONS[..1]);
}

#[test]
fn what_was_resolved_has_the_json_that_java_gives_it() {
    let cases = cases(include_str!("vectors/avro_resolve.jsonl"));
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| case["result_json"].is_string()) {
        let reader = schema(case, "reader");
        let plan = Plan::new(&schema(case, "writer"), &reader).unwrap();
        let found = plan.decode_value(&hex(text(case, "hex")), &Limits::DEFAULT).unwrap();
        let java = read(text(case, "result_json"), &reader, JsonForm::Avro);
        if java.map(|value| bytes_of(&value, &reader)) != Some(bytes_of(&found, &reader)) {
            wrong.push(text(case, "id"));
        }
    }
    assert_eq!(wrong, &JAVA_DEVIATIONS[1..]);
}

#[test]
fn avsc_reads_and_writes_the_same() {
    let cases = cases(include_str!("vectors/avsc_js.jsonl"));
    let mut wrong = Vec::new();
    for case in &cases {
        let schema = schema(case, "schema");
        let matches = match (case["hex"].as_str(), case["avro_json"].as_str()) {
            (Some(bytes), Some(json)) => {
                let value = Value::decode(&schema, &hex(bytes)).unwrap();
                let from_avsc = read(json, &schema, JsonForm::Avro);
                from_avsc.is_some_and(|found| bytes_of(&found, &schema) == bytes_of(&value, &schema))
            }
            // Its unions cannot be had without names where they are ambiguous: nothing that can be compared.
            (Some(_), None) if text(case, "wrapUnions") == "never" && case["error"].is_string() => true,
            (Some(bytes), None) => Value::decode(&schema, &hex(bytes)).is_ok() == case["error"].is_null(),
            _ => true,
        };
        if !matches {
            wrong.push(text(case, "id"));
        }
    }
    assert_eq!(wrong, AVSC_DEVIATIONS);
}

#[test]
fn a_uuid_of_sixteen_bytes_is_a_text_in_plain_json() {
    let schema =
        Schema::parse(r#"{"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}"#).unwrap();
    let value = Value::decode(&schema, &hex("4320672c4a83283a2ac84ebb25253175")).unwrap();
    let json = r#""4320672c-4a83-283a-2ac8-4ebb25253175""#;
    assert_eq!(value.to_json(&schema, JsonForm::Plain).unwrap(), json);
    assert_eq!(read(json, &schema, JsonForm::Plain), Some(value));
    assert_eq!(read(r#""4320672c""#, &schema, JsonForm::Plain), None);
    assert_eq!(read(&json.replace("43", "+3"), &schema, JsonForm::Plain), None);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let check = |schema: &str, json: &str, fits: bool| {
        let schema = Schema::parse(schema).unwrap();
        assert_eq!(read(json, &schema, JsonForm::Plain).is_some(), fits, "{json} as {schema}");
    };
    check(r#""int""#, "2147483647", true);
    check(r#""int""#, "2147483648", false);
    check(r#""int""#, "1.0", false);
    check(r#""long""#, "-9223372036854775808", true);
    check(r#""long""#, "9223372036854775808", false);
    check(r#""float""#, "3.4e38", true);
    check(r#""float""#, "3.5e38", false);
    check(r#""float""#, r#""Infinity""#, true);
    check(r#""double""#, "1e308", true);
    check(r#""double""#, "1e309", false);
    check(r#""double""#, r#""inf""#, false);
    check(r#""double""#, "7", true);
}

#[test]
fn the_originals_wrapper_goes_on_and_comes_off() {
    let wrapped = json::wrapped("shop.Order", r#"{"id":1}"#);
    assert_eq!(wrapped, r#"{"type":"shop.Order","data":{"id":1}}"#);
    let check = |text: &str, name: Option<&str>, data: &str| {
        let (found, inner) = json::unwrapped(text, &Limits::DEFAULT).unwrap();
        assert_eq!((found.as_deref(), inner), (name, data));
    };
    check(&wrapped, Some("shop.Order"), r#"{"id":1}"#);
    check(r#" {"data" : [1 ], "type":"A"} "#, Some("A"), "[1 ]");
    check(r#"{"type":"A"}"#, None, r#"{"type":"A"}"#);
    check(r#"{"type":"A","data":1,"more":2}"#, None, r#"{"type":"A","data":1,"more":2}"#);
    check("3", None, "3");
    assert!(json::unwrapped("{", &Limits::DEFAULT).is_err());
}

#[test]
fn fields_that_are_left_out_take_their_defaults() {
    let schema = Schema::parse(
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"},
        {"name": "b", "type": {"type": "array", "items": ["null", "R"]}, "default": [null, {"a": 1, "b": []}]}]}"#,
    )
    .unwrap();
    let full = r#"{"b":[null,{"b":[],"a":1}],"a":5}"#;
    assert!(read(full, &schema, JsonForm::Plain).is_some());
    let expected = read(r#"{"a":5,"b":[null,{"a":1,"b":[]}]}"#, &schema, JsonForm::Plain);
    assert_eq!(read(r#"{"a":5}"#, &schema, JsonForm::Plain), expected);
    assert_eq!(read(r#"{"b":[]}"#, &schema, JsonForm::Plain), None);
}
