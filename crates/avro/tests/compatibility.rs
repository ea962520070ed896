//! Verdicts: against those of Java and of two registries, and against the reader itself.

mod vectors;

use std::collections::{BTreeMap, BTreeSet};

use affinity_avro::Compatibility::{Backward, Forward};
use affinity_avro::{
    Compatibility, ErrorKind, Limits, Plan, Schema, TypeId, TypeKind, Value, incompatibilities,
};
use serde_json::Value as Case;
use vectors::{cases, hex, schema, text};

/// Cases of `avro_resolve.jsonl` where our verdict is not that of Java, and why.
///
/// - `r-062`: two fields each have the other's name as an alias. Java gives no verdict, but an error, since it finds two fields for one; it
///   reads the values then, each field by its own name, as we do.
const DEVIATIONS: &[&str] = &["r-062"];

fn parse(text: &str) -> Schema {
    Schema::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn old_versions(case: &Case) -> Vec<Schema> {
    let texts = case["old"].as_array().expect("a list");
    texts.iter().map(|text| parse(text.as_str().expect("a text"))).collect()
}

#[test]
fn verdicts_are_those_of_java_and_of_registries() {
    let cases = cases(include_str!("vectors/compat.jsonl"));
    for case in &cases {
        let (old, new) = (old_versions(case), schema(case, "new"));
        let old: Vec<&Schema> = old.iter().collect();
        for level in Compatibility::ALL {
            let verdict = level.check(&new, &old);
            assert_eq!(Some(verdict.is_ok()), case["java"][level.name()].as_bool(), "{} {level}", case["id"]);
            for registry in ["karapace", "apicurio"] {
                if let Some(said) = case["registry"][registry][level.name()].as_bool() {
                    assert_eq!(verdict.is_ok(), said, "{} {level} {registry}", case["id"]);
                }
            }
            if let Err(error) = verdict {
                assert_eq!(error.kind(), ErrorKind::Incompatible, "{}", case["id"]);
            }
        }
    }
    assert!(cases.len() > 90);
}

#[test]
fn what_is_in_the_way_is_found_where_java_finds_it() {
    // Ours goes into the branch of a union that bears the name, where Java says that there is none.
    for case in &cases(include_str!("vectors/compat.jsonl")) {
        let (old, new) = (old_versions(case), schema(case, "new"));
        let last = old.last().expect("a version");
        for (member, writer, reader) in
            [("backward_incompatibilities", last, &new), ("forward_incompatibilities", &new, last)]
        {
            let ours = incompatibilities(writer, reader).expect("it is small");
            let java = case[member].as_array().expect("a list");
            assert_eq!(ours.is_empty(), java.is_empty(), "{} {member}", case["id"]);
            let paths: BTreeSet<&str> = ours.iter().map(|mismatch| &*mismatch.path).collect();
            let places: BTreeSet<String> =
                java.iter().map(|one| path_of(text(one, "location"), reader)).collect();
            let missed: Vec<_> =
                places.iter().filter(|place| !paths.iter().any(|path| path.starts_with(&***place))).collect();
            assert!(missed.is_empty(), "{} {member}: {missed:?} not in {ours:?}", case["id"]);
        }
    }
}

/// Our path for a JSON pointer into the reader's schema, without the last step to an attribute of a type.
fn path_of(pointer: &str, reader: &Schema) -> String {
    let mut path = reader.name().map_or(String::new(), |name| name.full().to_owned());
    let mut at = reader.root_id();
    let mut steps = pointer.split('/').filter(|step| !step.is_empty());
    while let Some(step) = steps.next() {
        match (&reader[at].kind, step) {
            (TypeKind::Record(record), "fields") => {
                let field: usize = steps.next().expect("a field").parse().expect("a number");
                path.push('.');
                path.push_str(&record.fields[field].name);
                at = record.fields[field].schema;
            }
            (TypeKind::Array(items), "items") => {
                path.push_str("[]");
                at = *items;
            }
            (TypeKind::Map(values), "values") => {
                path.push_str("{}");
                at = *values;
            }
            (TypeKind::Union(branches), number) => {
                if let Some(branch) = number.parse().ok().and_then(|number: usize| branches.get(number)) {
                    at = *branch;
                }
            }
            _ => {}
        }
    }
    path.trim_start_matches('.').to_owned()
}

fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "{name}", "fields": [{fields}]}}"#)
}

fn field(name: &str, kind: &str) -> String {
    format!(r#"{{"name": "{name}", "type": {kind}}}"#)
}

/// What the error says when `new` follows `old`.
fn check(level: Compatibility, old: &str, new: &str, message: &str) {
    let error = level.check(&parse(new), &[&parse(old)]).expect_err(message);
    assert_eq!((error.to_string(), error.kind()), (message.to_owned(), ErrorKind::Incompatible));
}

#[test]
fn an_error_says_where_and_what_to_do() {
    let person = |address: &str| record("Person", &field("address", &record("shop.Address", address)));
    let (bare, zip) = (person(""), person(&field("zip", "\"string\"")));
    let new_field =
        "older values do not have this field: give it a default, or an alias if it had another name";
    check(Backward, &bare, &zip, &format!("Person.address.zip: {new_field}"));
    check(
        Backward,
        &bare,
        &person(&[field("zip", "\"int\""), field("city", "\"int\"")].join(",")),
        &format!("Person.address.zip: {new_field}; also Person.address.city"),
    );
    check(
        Forward,
        &zip,
        &bare,
        "Person.address.zip: older readers need this field, and have no default for it: keep it",
    );
    check(
        Backward,
        "\"string\"",
        "\"int\"",
        "older values are string, which is not read as int: keep the type, or use another field",
    );
    let lists = |kind: &str| {
        record(
            "R",
            &field("a", &format!(r#"{{"type": "array", "items": {{"type": "map", "values": {kind}}}}}"#)),
        )
    };
    check(
        Backward,
        &lists(r#"["null", "int", "string"]"#),
        &lists(r#"["null", "int"]"#),
        "R.a[]{}: older values may be string, which no branch of the union takes: keep the branch",
    );
}

#[test]
fn an_error_says_what_to_do_with_named_types() {
    let either = |a: &str| {
        let phone = record("Phone", &field("number", a));
        record("R", &field("to", &format!(r#"["null", "string", {phone}]"#)))
    };
    check(
        Forward,
        &either("\"int\""),
        &either("\"long\""),
        "R.to<Phone>.number: older readers expect int and do not read long: keep the type, or use another field",
    );
    let colour = |symbols: &str| format!(r#"{{"type": "enum", "name": "Colour", "symbols": [{symbols}]}}"#);
    check(
        Backward,
        &colour(r#""RED", "GREEN", "BLUE""#),
        &colour(r#""RED""#),
        "Colour: older values hold symbols that are gone (GREEN, BLUE): keep them, or give the enum a default",
    );
    check(
        Forward,
        &colour(r#""RED""#),
        &colour(r#""RED", "GREEN""#),
        "Colour: older readers do not know the symbols GREEN, and have no default for them: give the enum a default in a version before",
    );
    check(
        Backward,
        &record("a.R", ""),
        &record("a.S", ""),
        "a.S: a.R is called a.S now: keep the name, or make \"a.R\" an alias",
    );
    let fixed = |size: u32| format!(r#"{{"type": "fixed", "name": "F", "size": {size}}}"#);
    check(
        Backward,
        &fixed(3),
        &fixed(4),
        "F: 3 bytes are written, 4 are expected: keep the size, or use another field",
    );
}

#[test]
fn what_is_compatible_may_mean_something_else() {
    let of = |logical: &str, more: &str| {
        let kind = format!(r#"{{"type": "array", "items": ["null", {{"type": {logical}{more}}}]}}"#);
        parse(&record("R", &field("a", &kind)))
    };
    let check = |old: &Schema, new: &Schema, message: Option<&str>| {
        assert!(Backward.check(new, &[old]).is_ok());
        let found = affinity_avro::misreadings(old, new).unwrap();
        assert_eq!(
            found.first().map(|first| format!("{}: {}", first.path, first.message)).as_deref(),
            message
        );
    };
    let long = |logical: &str| of("\"long\"", &format!(r#", "logicalType": "{logical}""#));
    let decimal = |precision: u32, scale: u32| {
        let more = format!(r#", "logicalType": "decimal", "precision": {precision}, "scale": {scale}"#);
        of("\"bytes\"", &more)
    };
    let (plain, millis, micros) = (of("\"long\"", ""), long("timestamp-millis"), long("timestamp-micros"));
    check(&millis, &millis, None);
    check(&plain, &millis, None);
    check(&millis, &plain, None);
    check(
        &millis,
        &micros,
        Some(
            "R.a[]: older values are timestamp-millis, and would be read as timestamp-micros: keep it, or use another field",
        ),
    );
    check(&decimal(6, 2), &decimal(8, 2), None);
    for new in [decimal(6, 3), decimal(5, 2), decimal(8, 1)] {
        assert_eq!(affinity_avro::misreadings(&decimal(6, 2), &new).unwrap().len(), 1);
    }
}

#[test]
fn levels_have_the_names_of_registries() {
    for level in Compatibility::ALL {
        assert_eq!(level.name().parse::<Compatibility>().unwrap(), level);
        assert_eq!(level.name().to_lowercase().parse::<Compatibility>().unwrap(), level);
    }
    assert_eq!(Compatibility::default(), Compatibility::Backward);
    assert!("SIDEWAYS".parse::<Compatibility>().is_err());
    let (int, text) = (parse("\"int\""), parse("\"string\""));
    assert!(Compatibility::FullTransitive.check(&int, &[]).is_ok(), "the first of all");
    assert!(Compatibility::None.check(&int, &[&text]).is_ok());
}

#[test]
fn where_several_branches_could_be_meant_all_must_read() {
    let r = |name: &str, fields: &str| record(name, fields);
    let (written, other) = (field("x", "\"int\""), field("y", "\"int\""));
    let union = |first: &str, second: &str| parse(&format!("[{first}, {second}]"));
    let writer = parse(&r("c.R", &written));
    let verdict = |reader: &Schema| incompatibilities(&writer, reader).unwrap().is_empty();
    assert!(verdict(&union(&r("a.R", &written), &r("b.R", &written))));
    // Java: compatible, as one of them takes it.
    assert!(!verdict(&union(&r("a.R", &written), &r("b.R", &other))));
    // Its own name decides.
    assert!(verdict(&union(&r("a.R", &other), &r("c.R", &written))));
    assert!(!verdict(&union(&r("a.R", &written), &r("c.R", &other))));
}

#[test]
fn recursive_and_deep_schemas_end() {
    let node = |value: &str| {
        record("Node", &[field("value", value), field("next", r#"["null", "Node"]"#)].join(","))
    };
    let (old, new) = (parse(&node("\"int\"")), parse(&node("\"string\"")));
    let found = incompatibilities(&old, &new).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "Node.value");

    // Each type is in the one before it, and is met through it.
    let deep = |prefix: &str, count: usize| {
        let kind = |n: usize| record(&format!("R{n}"), &field("a", &format!("\"R{}\"", n - 1)));
        let first = record("R0", &field("a", "\"int\""));
        let listed = |(n, kind): (usize, String)| {
            let list = format!(r#"{{"type": "array", "items": {kind}}}"#);
            format!(r#"{{"name": "{prefix}{n}", "type": {list}, "default": []}}"#)
        };
        let mut fields: Vec<String> =
            std::iter::once(first).chain((1..count).map(kind)).enumerate().map(listed).collect();
        fields.push(field("last", &format!("\"R{}\"", count - 1)));
        parse(&record("Deep", &fields.join(",")))
    };
    let kind = |count| incompatibilities(&deep("w", count), &deep("r", count)).map_err(|error| error.kind());
    assert_eq!(kind(200), Ok(Vec::new()));
    assert_eq!(kind(4000), Err(ErrorKind::TooLarge));

    // Every record of one meets every record of the other: their cycles have no common divisor.
    let ring = |count: usize| {
        let mut text = "\"a0.R\"".to_owned();
        for n in (0..count).rev() {
            text = record(&format!("a{n}.R"), &field("a", &text));
        }
        parse(&text)
    };
    assert_eq!(incompatibilities(&ring(13), &ring(14)).unwrap(), []);
    let kind = incompatibilities(&ring(40), &ring(39)).map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::TooLarge));

    // As many names as there may be, in unions that have to be searched for each of them.
    let names = |prefix: &str| {
        let kinds: Vec<String> = (0..4000).map(|n| record(&format!("{prefix}.R{n}"), "")).collect();
        parse(&format!("[{}]", kinds.join(",")))
    };
    let kind = incompatibilities(&names("a"), &names("b")).map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::TooLarge));
}

#[test]
fn what_is_compatible_is_read_and_java_agrees() {
    let cases = cases(include_str!("vectors/avro_resolve.jsonl"));
    let mut compatible = 0;
    for case in &cases {
        let (writer, reader) = (schema(case, "writer"), schema(case, "reader"));
        let ours = incompatibilities(&writer, &reader).unwrap();
        let java = text(case, "static") == "COMPATIBLE";
        let deviates = DEVIATIONS.contains(&text(case, "id"));
        assert!(ours.is_empty() == java || deviates, "{}: {ours:?}", case["id"]);
        if ours.is_empty() {
            compatible += 1;
            let plan = Plan::new(&writer, &reader).unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
            let bytes = hex(text(case, "hex"));
            plan.decode_value(&bytes, &Limits::DEFAULT)
                .unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
        }
    }
    assert!(compatible > 100, "{compatible}");
}

/// Small numbers from a seed, of which noise changes a few.
struct Dice(u64, u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        let next =
            |at: u64| at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 = next(self.0);
        if self.1 != 0 {
            self.1 = next(self.1);
            if (self.1 >> 33).is_multiple_of(12) {
                return (self.1 >> 40) as usize % sides;
            }
        }
        (self.0 >> 33) as usize % sides
    }
}

/// A schema of few names, so that two of them often meet. Named types are written out once.
fn random_schema(dice: &mut Dice, depth: u32, named: &mut BTreeSet<String>) -> String {
    const PRIMITIVES: [&str; 6] =
        ["\"int\"", "\"long\"", "\"double\"", "\"string\"", "\"bytes\"", "\"null\""];
    let mut name = |dice: &mut Dice| {
        let name = format!("{}{}", ["a.", "b.", ""][dice.roll(3)], ["R", "S"][dice.roll(2)]);
        named.insert(name.clone()).then_some(name)
    };
    match if depth == 0 { 0 } else { dice.roll(9) } {
        1 | 2 | 8 => {
            let Some(name) = name(dice) else { return "\"int\"".into() };
            let mut fields = Vec::new();
            for field in ["x", "y", "z"] {
                if dice.roll(3) > 0 {
                    let kind = random_schema(dice, depth - 1, named);
                    let alias = ["", r#", "aliases": ["x"]"#, r#", "aliases": ["y"]"#][dice.roll(3)];
                    let default =
                        if kind == "\"int\"" && dice.roll(2) == 0 { ", \"default\": 7" } else { "" };
                    fields.push(format!(r#"{{"name": "{field}", "type": {kind}{alias}{default}}}"#));
                }
            }
            let alias = ["", r#", "aliases": ["a.R", "S"]"#][dice.roll(2)];
            format!(r#"{{"type": "record", "name": "{name}"{alias}, "fields": [{}]}}"#, fields.join(","))
        }
        3 => format!(r#"{{"type": "array", "items": {}}}"#, random_schema(dice, depth - 1, named)),
        4 => {
            let Some(name) = name(dice) else { return "\"int\"".into() };
            let symbols = [r#""A""#, r#""A", "B""#, r#""B", "A""#, r#""C""#][dice.roll(4)];
            format!(r#"{{"type": "enum", "name": "{name}", "symbols": [{symbols}]}}"#)
        }
        5..=7 => {
            let branches: BTreeMap<String, String> = (0..=dice.roll(3))
                .map(|_| random_schema(dice, depth - 1, named))
                .filter(|text| !text.starts_with('['))
                .map(|text| {
                    let key = text.split(['"', ',']).find(|word| ["array", "record", "enum"].contains(word));
                    (if key == Some("array") { "array".into() } else { text.clone() }, text)
                })
                .collect();
            let branches: Vec<String> = branches.into_values().collect();
            format!("[{}]", if branches.is_empty() { "\"null\"".into() } else { branches.join(",") })
        }
        _ => PRIMITIVES[dice.roll(PRIMITIVES.len())].into(),
    }
}

fn random_value(dice: &mut Dice, schema: &Schema, id: TypeId) -> Value {
    match &schema[id].kind {
        TypeKind::Int => Value::Int(3),
        TypeKind::Long => Value::Long(4),
        TypeKind::Double => Value::Double(0.5),
        TypeKind::String => Value::String("t".into()),
        TypeKind::Bytes => Value::Bytes(vec![1]),
        TypeKind::Array(items) => {
            Value::Array((0..dice.roll(3)).map(|_| random_value(dice, schema, *items)).collect())
        }
        TypeKind::Enum(symbols) => {
            Value::Enum(u32::try_from(dice.roll(symbols.symbols.len())).expect("few symbols"))
        }
        TypeKind::Union(branches) => {
            let at = dice.roll(branches.len());
            let value = random_value(dice, schema, branches[at]);
            value.in_branch(schema, branches, u32::try_from(at).expect("few branches"))
        }
        TypeKind::Record(record) => Value::Record(
            record.fields.iter().map(|field| random_value(dice, schema, field.schema)).collect(),
        ),
        _ => Value::Null,
    }
}

#[test]
fn a_verdict_is_never_more_generous_than_the_reader() {
    let (mut compatible, mut incompatible) = (0, 0);
    for seed in 0..30_000 {
        let random = |mut dice: Dice| Schema::parse(&random_schema(&mut dice, 4, &mut BTreeSet::new())).ok();
        let (Some(writer), Some(reader)) = (random(Dice(seed, 0)), random(Dice(seed, seed + 1))) else {
            continue;
        };
        let mut dice = Dice(seed, 0);
        if !incompatibilities(&writer, &reader).unwrap().is_empty() {
            incompatible += 1;
            continue;
        }
        compatible += 1;
        let plan = Plan::new(&writer, &reader)
            .unwrap_or_else(|error| panic!("seed {seed}: {writer} to {reader}: {error}"));
        for _ in 0..8 {
            let mut bytes = Vec::new();
            random_value(&mut dice, &writer, writer.root_id()).encode(&writer, &mut bytes).unwrap();
            plan.decode_value(&bytes, &Limits::DEFAULT)
                .unwrap_or_else(|error| panic!("seed {seed}: {writer} to {reader}: {error}"));
        }
    }
    assert!(compatible > 5000 && incompatible > 2000, "{compatible} compatible, {incompatible} not");
}
