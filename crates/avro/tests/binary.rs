//! Binary values, schema resolution and fingerprints against cases that Avro in Java made.

mod vectors;

use affinity_avro::{Error, Limits, Plan, Schema, Value, single_object_head, split_single_object};
use serde_json::Value as Case;
use vectors::{cases, hex, schema, text};

/// Where ours is not what a case says, and why.
///
/// - `r-061`: the reader has fields `aa` (alias `a`, with a default) and `a`. Java renames the writer's `a` to `aa` and then misses `a`.
///   We let the field that is called `a` have it: a name says more than an alias, and the values are readable.
const DEVIATIONS: &[&str] = &["r-061"];

/// Values are compared by their bytes: a NaN equals no other, and a map's order is ours.
fn bytes_of(value: &Value, schema: &Schema) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(schema, &mut bytes).expect("what was read can be written");
    bytes
}

fn sorted(bytes: &[u8], schema: &Schema) -> Result<Vec<u8>, Error> {
    Ok(bytes_of(&Value::decode(schema, bytes)?, schema))
}

#[test]
fn values_are_the_bytes_that_java_writes() {
    let cases = cases(include_str!("vectors/avro_encode.jsonl"));
    for case in &cases {
        let (schema, bytes) = (schema(case, "schema"), hex(text(case, "hex")));
        let value = Value::decode(&schema, &bytes).unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
        let again = bytes_of(&value, &schema);
        if text(case, "encoder") == "binary" && case["multi_map"] != true {
            assert_eq!(again, bytes, "{}", case["id"]);
        } else {
            assert_eq!(bytes_of(&Value::decode(&schema, &again).unwrap(), &schema), again, "{}", case["id"]);
        }
    }
    assert!(cases.len() > 200);
}

#[test]
fn fingerprints_are_those_of_java() {
    let cases = cases(include_str!("vectors/avro_fingerprint.jsonl"));
    let hexed = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for case in &cases {
        let (schema, id) = (schema(case, "schema"), &case["id"]);
        assert_eq!(schema.canonical(), text(case, "canonical"), "{id}");
        assert_eq!(format!("{:016x}", schema.fingerprint()), text(case, "crc64"), "{id}");
        assert_eq!(hexed(&schema.md5()), text(case, "md5"), "{id}");
        assert_eq!(hexed(&schema.sha256()), text(case, "sha256"), "{id}");
        assert_eq!(hexed(&single_object_head(&schema)), text(case, "single_object_header"), "{id}");
        let object = hex(text(case, "single_object"));
        let (fingerprint, payload) = split_single_object(&object).unwrap();
        assert_eq!(fingerprint, schema.fingerprint(), "{id}");
        Value::decode(&schema, payload).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    assert!(cases.len() > 30);
}

fn resolve(case: &Case) -> Result<Value, Error> {
    let plan = Plan::new(&schema(case, "writer"), &schema(case, "reader"))?;
    plan.decode_value(&hex(text(case, "hex")), &Limits::DEFAULT)
}

#[test]
fn values_resolve_as_java_resolves_them() {
    let cases = cases(include_str!("vectors/avro_resolve.jsonl"));
    let mut wrong = Vec::new();
    for case in &cases {
        let id = text(case, "id");
        let reader = schema(case, "reader");
        let found = resolve(case).map(|value| bytes_of(&value, &reader));
        let expected = case["result_hex"].as_str().map(|bytes| sorted(&hex(bytes), &reader));
        let matches = match (&found, &expected) {
            (Ok(found), Some(Ok(expected))) => found == expected,
            // Bytes that become a text without being one: Java keeps them behind its back and shows U+FFFD.
            (Ok(_), Some(Err(no_text))) => no_text.message().contains("UTF-8"),
            (found, None) => found.is_err(),
            (Err(_), Some(_)) => case["static"] == "INCOMPATIBLE",
        };
        if !matches {
            wrong.push(id);
            eprintln!("{id}: {}: {found:02x?}, expected {expected:02x?}", case["desc"]);
        }
    }
    assert_eq!(wrong, DEVIATIONS);
    assert!(cases.len() > 250);
}

#[test]
fn what_java_reads_of_incompatible_schemas_is_read_here_too() {
    let cases = cases(include_str!("vectors/avro_resolve.jsonl"));
    let readable = cases.iter().filter(|case| case["static"] == "INCOMPATIBLE" && case["error"].is_null());
    for case in readable {
        resolve(case).unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
    }
}

#[test]
fn malformed_bytes_are_errors() {
    let cases = cases(include_str!("vectors/malformed.jsonl"));
    for case in &cases {
        let bytes = match case["parts"].as_array() {
            None => hex(text(case, "hex")),
            Some(parts) => {
                let part = |part: &Case| {
                    hex(part[0].as_str().unwrap()).repeat(part[1].as_u64().unwrap().try_into().unwrap())
                };
                parts.iter().flat_map(part).collect()
            }
        };
        let writer = schema(case, "schema");
        let reader = if case["reader"].is_null() { writer.clone() } else { schema(case, "reader") };
        let read = Plan::new(&writer, &reader).and_then(|plan| plan.decode_value(&bytes, &Limits::DEFAULT));
        let may_be_read = text(case, "expect") == "no_crash";
        assert!(may_be_read || read.is_err(), "{}: {read:?}", case["id"]);
    }
    assert!(cases.len() >= 30);
}
