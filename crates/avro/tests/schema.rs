//! What is a schema and what is not, and what a stranger's may cost.

use affinity_avro::{
    DefaultPolicy, ErrorKind, Limits, ParseOptions, Plan, Schema, SchemaLimits, TypeKind, Value,
};

fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#)
}

fn kind_of(text: &str) -> Result<Schema, ErrorKind> {
    Schema::parse(text).map_err(|error| error.kind())
}

#[test]
fn what_is_no_schema_is_refused_with_the_path_to_it() {
    let check = |text: &str, message: &str| {
        let error = Schema::parse(text).expect_err(text);
        assert_eq!((error.to_string(), error.kind()), (message.to_owned(), ErrorKind::Invalid));
    };
    check(r#"{"type": "record"}"#, r#""name" is missing"#);
    check("3", "a schema is a name, an object or an array, not a number");
    check(&record(r#"{"name": "a", "type": "itn"}"#), r#"R.a: there is no type "itn""#);
    let inner = r#"{"name": "a", "type": {"type": "array", "items": {"type": "map", "values": "X"}}}"#;
    check(&record(inner), r#"R.a[]{}: there is no type "X""#);
    check(&record(r#"{"name": "a", "type": "int", "default": "1"}"#), "R.a.default: a text is no int");
    check(&record(r#"{"name": "a-b", "type": "int"}"#), r#"R: "a-b" is no name of a field"#);
    let twice = r#"{"name": "a", "type": "int"}, {"name": "a", "type": "long"}"#;
    check(&record(twice), r#"R: two fields "a""#);
    check(r#"["int", ["null"]]"#, "a union within a union");
    check(r#"["int", {"type": "int", "logicalType": "date"}]"#, r#""int" twice in a union"#);
    check(r#"{"type": "fixed", "name": "F", "size": -1}"#, "F: no size of a fixed");
    check(
        r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}"#,
        "E: the default is no symbol",
    );
    check(r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#, "E: \"A\" is no symbol, or one twice");
    check(r#"{"type": "enum", "name": "int", "symbols": []}"#, r#""int" is a primitive type"#);
    let redefined =
        r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "fixed", "name": "F", "size": 1}]"#;
    check(redefined, r#""F" is defined twice"#);
    check("\"int\" 1", "expected the end, found '1' at byte 6");
}

#[test]
fn names_are_found_in_the_namespace_around_and_in_none() {
    let text = r#"{"type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "a", "type": {"type": "fixed", "name": "F", "namespace": "", "size": 1}},
        {"name": "b", "type": "F"}, {"name": "c", "type": {"type": "n.R"}}]}"#;
    let schema = Schema::parse(text).unwrap();
    let TypeKind::Record(record) = &schema.root().kind else { panic!("{schema:?}") };
    assert_eq!(record.fields[0].schema, record.fields[1].schema);
    assert_eq!(record.fields[2].schema, schema.root_id());
    assert_eq!(schema.named("F"), Some(record.fields[0].schema));
}

#[test]
fn a_schema_that_costs_too_much_is_refused() {
    let too_large = |text: &str, limits: SchemaLimits| {
        let options = ParseOptions { limits, ..ParseOptions::default() };
        let error = Schema::parse_with(text, &options).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    };
    let limits = SchemaLimits {
        text_bytes_max: 2000,
        depth_max: 20,
        names_max: 3,
        types_max: 20,
        ..SchemaLimits::DEFAULT
    };
    too_large(&" ".repeat(3000), limits);
    too_large(&"[".repeat(1000), limits);
    let fixed = |n: usize| format!(r#"{{"type": "fixed", "name": "F{n}", "size": {n}}}"#);
    too_large(&format!("[{}]", [1, 2, 3, 4].map(fixed).join(",")), limits);
    too_large(
        &record(&(0..30).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect::<Vec<_>>().join(",")),
        limits,
    );
    // Each record's default holds the next one's twice.
    let mut bomb = r#"{"type": "record", "name": "R40", "fields": []}"#.to_owned();
    for n in (0..40).rev() {
        bomb = format!(
            r#"{{"type": "record", "name": "R{n}", "fields": [{{"name": "a", "type": {bomb}, "default": {{}}}},
            {{"name": "b", "type": "R{}", "default": {{}}}}]}}"#,
            n + 1
        );
    }
    too_large(&bomb, SchemaLimits { depth_max: 1000, ..SchemaLimits::DEFAULT });
    too_large(&record(r#"{"name": "a", "type": "R", "default": {}}"#), SchemaLimits::DEFAULT);
}

#[test]
fn bad_defaults_of_strangers_can_be_dropped() {
    let text = record(r#"{"name": "a", "type": "int", "default": null}"#);
    assert_eq!(kind_of(&text), Err(ErrorKind::Invalid));
    let options = ParseOptions { defaults: DefaultPolicy::Drop, ..ParseOptions::default() };
    let schema = Schema::parse_with(&text, &options).unwrap();
    let TypeKind::Record(record) = &schema.root().kind else { panic!("{schema:?}") };
    assert_eq!(record.fields[0].default, None);
}

#[test]
fn schemas_with_a_deep_chain_of_names_are_refused_and_not_overflowed() {
    let chain = |n: usize| {
        format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"R{}"}}]}}"#, n - 1)
    };
    let first = r#"{"type":"record","name":"R0","fields":[{"name":"a","type":"int"}]}"#.to_owned();
    let types: Vec<String> = std::iter::once(first).chain((1..4000).map(chain)).collect();
    let schema = Schema::parse(&format!("[{}]", types.join(","))).unwrap();
    assert_eq!(Plan::same(&schema).map_err(|error| error.kind()).unwrap_err(), ErrorKind::TooLarge);
}

#[test]
fn schemas_that_take_long_to_resolve_are_refused() {
    let list =
        |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
    let check = |writer: &str, reader: &str| {
        let (writer, reader) = (Schema::parse(writer).unwrap(), Schema::parse(reader).unwrap());
        let plan = Plan::new(&writer, &reader).map(drop).map_err(|error| error.kind());
        assert_eq!(plan, Err(ErrorKind::TooLarge));
        let verdict = affinity_avro::incompatibilities(&writer, &reader).map_err(|error| error.kind());
        assert_eq!(verdict, Err(ErrorKind::TooLarge));
    };
    // A wide record, where each of many could be meant.
    let wide = record(&list(10_000, &|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)));
    let empty = |n: usize| format!(r#"{{"type":"record","name":"n{n}.R","fields":[]}}"#);
    check(&wide, &format!("[{}]", list(2000, &empty)));
    // Many symbols, in each of many fields.
    let symbols = list(20_000, &|n| format!("\"s{n}\""));
    let first = format!(r#"{{"name":"f0","type":{{"type":"enum","name":"E","symbols":[{symbols}]}}}}"#);
    let writer = record(&format!("{first},{}", list(1000, &|n| format!(r#"{{"name":"g{n}","type":"E"}}"#))));
    let own = |n: usize| {
        format!(r#"{{"name":"g{n}","type":{{"type":"enum","name":"n{n}.E","symbols":["s"],"default":"s"}}}}"#)
    };
    check(&writer, &record(&list(1000, &own)));
}

#[test]
fn a_schema_may_use_types_of_others() {
    let line = r#"{"type": "record", "name": "shop.Line", "fields": [{"name": "sku", "type": "string"}]}"#;
    let order = r#"{"type": "record", "name": "shop.Order", "fields": [{"name": "line", "type": "Line"}]}"#;
    let parse = |references: &[&str]| {
        let parsed = Schema::parse_with_references(order, references, &ParseOptions::default());
        parsed.map_err(|error| error.kind())
    };
    assert_eq!(parse(&[]), Err(ErrorKind::Invalid));
    let schema = parse(&[line]).unwrap();
    assert_eq!((schema.text(), schema.name().unwrap().full()), (order, "shop.Order"));
    assert!(schema.canonical().contains(r#"{"name":"shop.Line","type":"record""#));
    // One in the other, though each text is flat.
    let chain = |n: usize| {
        format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"R{}"}}]}}"#, n - 1)
    };
    let first = record(r#"{"name": "a", "type": "int"}"#).replace("\"R\"", "\"R0\"");
    let types: Vec<String> = std::iter::once(first).chain((1..4000).map(chain)).collect();
    let references: Vec<&str> = types.iter().map(String::as_str).collect();
    let deep = Schema::parse_with_references("\"R3999\"", &references, &ParseOptions::default());
    assert_eq!(deep.map_err(|error| error.kind()), Err(ErrorKind::TooLarge));
}

#[test]
fn input_that_takes_no_bytes_is_counted() {
    let nulls = Schema::parse(r#"{"type": "array", "items": "null"}"#).unwrap();
    let plan = Plan::same(&nulls).unwrap();
    let kind = |bytes: &[u8], limits| plan.decode_value(bytes, &limits).map_err(|error| error.kind());
    // 2^40 nulls, and 1000.
    assert_eq!(kind(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0], Limits::DEFAULT), Err(ErrorKind::TooLarge));
    assert_eq!(kind(&[0xd0, 0x0f, 0], Limits::DEFAULT), Ok(Value::Array(vec![Value::Null; 1000])));
    let tight = Limits { allocation_max: 10_000, ..Limits::DEFAULT };
    assert_eq!(kind(&[0xd0, 0x0f, 0], tight), Err(ErrorKind::TooLarge));
    let tight = Limits { items_max: 999, ..Limits::DEFAULT };
    assert_eq!(kind(&[0xd0, 0x0f, 0], tight), Err(ErrorKind::TooLarge));
}

#[test]
fn a_plan_knows_whether_the_bytes_are_the_same() {
    let check = |writer: &str, reader: &str, same: bool| {
        let plan = Plan::new(&Schema::parse(writer).unwrap(), &Schema::parse(reader).unwrap()).unwrap();
        assert_eq!(plan.is_same(), same, "{writer} to {reader}");
    };
    let list = |value: &str| {
        record(&format!(r#"{{"name": "next", "type": ["null", "R"]}}, {{"name": "v", "type": "{value}"}}"#))
    };
    check(&list("int"), &list("int"), true);
    check(&list("int"), &list("long"), false);
    let (a, b) = (r#"{"name": "a", "type": "int"}"#, r#"{"name": "b", "type": "int", "default": 1}"#);
    check(&record(a), &record(&format!("{a}, {b}")), false);
    check(&record(&format!("{a}, {b}")), &record(a), false);
    check(&record(&format!("{a}, {b}")), &record(&format!("{b}, {a}")), false);
    check(r#"["null", "int"]"#, r#"["null", "int", "string"]"#, true);
    check(r#"["null", "int"]"#, r#"["int", "null"]"#, false);
    check("\"int\"", r#"["int"]"#, false);
    check(r#"{"type": "array", "items": "int"}"#, r#"{"type": "array", "items": ["int"]}"#, false);
    let symbols = |list: &str| format!(r#"{{"type": "enum", "name": "E", "symbols": [{list}]}}"#);
    check(&symbols(r#""A", "B""#), &symbols(r#""A", "B", "C""#), true);
    check(&symbols(r#""A", "B""#), &symbols(r#""B", "A""#), false);
}
