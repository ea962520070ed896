//! Record frames against those of Confluent's clients, in both directions, schemas that refer to others among them.

#[expect(dead_code, reason = "schemas are parsed with those they refer to")]
mod vectors;

use affinity_avro::{JsonForm, Limits, ParseOptions, Schema, Value, put_frame, split_frame};
use vectors::{cases, hex, text};

#[test]
fn frames_are_those_of_confluents_clients() {
    let cases = cases(include_str!("vectors/confluent_frames.jsonl"));
    let mut with_references = 0;
    for case in &cases {
        let id = text(case, "id");
        let references: Vec<&str> = case["reference_schemas"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|reference| reference.as_str().unwrap())
            .collect();
        with_references += usize::from(!references.is_empty());
        let schema =
            Schema::parse_with_references(text(case, "schema"), &references, &ParseOptions::default())
                .unwrap();
        let frame = hex(text(case, "frame"));
        let (schema_id, payload) = split_frame(&frame).unwrap();
        assert_eq!(u64::from(schema_id), case["schema_id"].as_u64().unwrap(), "{id}");
        let json = Value::from_json(text(case, "value"), &schema, JsonForm::Avro, &Limits::DEFAULT).unwrap();
        // These clients write bytes that are not in a record as they are, without a length.
        if case["raw_bytes"] == true {
            assert_eq!(json, Value::Bytes(payload.to_vec()), "{id}");
            continue;
        }
        assert_eq!(Value::decode(&schema, payload).unwrap(), json, "{id}");
        let mut ours = Vec::new();
        put_frame(&mut ours, schema_id);
        json.encode(&schema, &mut ours).unwrap();
        if case["multi_map"] != true {
            assert_eq!(ours, frame, "{id}");
        }
    }
    assert!(cases.len() > 40 && with_references > 2);
}
