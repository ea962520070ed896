//! What is read takes no more memory than the limits say: measured, in a program of one test, since it counts for all threads.

use affinity_avro::{ErrorKind, JsonForm, Limits, Plan, Record, Schema, SchemaLimits, Value};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const ALLOCATION_MAX: usize = 1 << 20;

const LIMITS: Limits =
    Limits { bytes_max: 1 << 20, depth_max: 64, items_max: 1 << 40, allocation_max: ALLOCATION_MAX };

#[derive(Debug, Record)]
struct Wide {
    a: i64,
    items: Vec<Wide>,
    b: Option<String>,
    c: Option<String>,
}

/// The most that `read` takes beside what there was.
fn peak<T>(read: impl FnOnce() -> T) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    drop(read());
    MEMORY.peak_usage().saturating_sub(before)
}

#[test]
fn what_is_read_takes_no_more_memory_than_the_limits_say() {
    // A list that grows doubles, and is counted before: twice the limit, and some for the error.
    const PEAK_MAX: usize = 2 * ALLOCATION_MAX + (64 << 10);
    let check = |what: &str, taken: usize| assert!(taken <= PEAK_MAX, "{what} took {taken} bytes");
    let count = |count: u64| {
        let mut bytes = Vec::new();
        affinity_avro::writer::put_long(&mut bytes, i64::try_from(count).unwrap());
        bytes
    };

    let nulls = Schema::parse(r#"{"type": "array", "items": "null"}"#).unwrap();
    let plan = Plan::same(&nulls).unwrap();
    let taken = peak(|| {
        let read = plan.decode_value(&count(1 << 39), &LIMITS);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TooLarge);
    });
    check("an array of nulls", taken);

    let defaults = r#"{"type": "array", "items": {"type": "record", "name": "R", "fields": [
        {"name": "a", "type": {"type": "array", "items": "string"}, "default": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b", "c"]}]}}"#;
    let empty = r#"{"type": "array", "items": {"type": "record", "name": "R", "fields": []}}"#;
    let plan = Plan::new(&Schema::parse(empty).unwrap(), &Schema::parse(defaults).unwrap()).unwrap();
    let taken = peak(|| plan.decode_value(&[count(1 << 20), vec![0]].concat(), &LIMITS).unwrap_err());
    check("records of defaults", taken);

    let wide = [count(0), count(500_000), vec![0; 600_000]].concat();
    let taken = peak(|| {
        let mut reader = affinity_avro::Reader::new(&wide, &LIMITS).unwrap();
        <Wide as affinity_avro::Datum>::decode(&mut reader).unwrap_err()
    });
    check("records of few bytes", taken);
    let plan = Plan::same(Wide::schema()).unwrap();
    check("the same as generic values", peak(|| plan.decode_value(&wide, &LIMITS).unwrap_err()));

    let text = format!(r#"{{"a":1,"b":null,"items":[{}]}}"#, r#"{"a":1,"items":[]},"#.repeat(50_000));
    let taken = peak(|| Wide::from_json_as(&text, JsonForm::Plain, &LIMITS).unwrap_err());
    check("JSON of a record", taken);
    let taken = peak(|| Value::from_json(&text, Wide::schema(), JsonForm::Plain, &LIMITS).unwrap_err());
    check("JSON of a generic value", taken);

    schemas_take_no_more_memory_than_dozens_of_their_texts();
    what_does_not_resolve_takes_little_to_say();
}

/// A chain of records with long names, which meets itself at every place of it and fails where the shorter one ends.
fn what_does_not_resolve_takes_little_to_say() {
    const CHAIN: usize = 100;
    let name = |n: usize| format!("{}{n}", "N".repeat(1000));
    let list =
        |field: &str, of: &str| format!(r#"{{"name":"{field}","type":{{"type":"array","items":{of}}}}}"#);
    let schema = |met: &dyn Fn(usize) -> usize| {
        let mut fields = Vec::new();
        for n in 0..CHAIN {
            let of = if n == 0 { "int".to_owned() } else { name(n - 1) };
            let record = format!(
                r#"{{"type":"record","name":"{}","fields":[{{"name":"a","type":"{of}"}}]}}"#,
                name(n)
            );
            fields.push(list(&format!("c{n}"), &record));
        }
        fields.extend((0..CHAIN).map(|n| list(&format!("d{n}"), &format!("\"{}\"", name(met(n))))));
        Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(",")))
            .expect("a schema")
    };
    let (writer, reader) = (schema(&|_| CHAIN - 1), schema(&|n| n));
    let taken = peak(|| Plan::new(&writer, &reader).expect("an empty list is read"));
    assert!(taken <= 16 << 20, "a plan took {taken} bytes");
}

fn schemas_take_no_more_memory_than_dozens_of_their_texts() {
    let check = |what: &str, text: &str| {
        let taken = peak(|| drop(Schema::parse(text)));
        assert!(taken <= 64 * SchemaLimits::DEFAULT.text_bytes_max, "{what} took {taken} bytes");
    };
    check("many lists", &format!("[{}0]", "[],".repeat(300_000)));
    let fields = |of: &str| (0..5000).map(|n| format!(r#",{{"name":"f{n}",{of}}}"#)).collect::<String>();
    // Each short name is a long one.
    let namespace = "n".repeat(30_000);
    let of_itself = fields(r#""type":"R""#);
    check(
        "a long namespace",
        &format!(
            r#"{{"type":"record","name":"R","namespace":"{namespace}","fields":[{}]}}"#,
            &of_itself[1..]
        ),
    );
    let aliases = r#""a","#.repeat(100_000);
    check(
        "aliases in a namespace",
        &format!(
            r#"{{"type":"record","name":"R","namespace":"{}","aliases":[{aliases}"b"],"fields":[]}}"#,
            "n".repeat(1000)
        ),
    );
    // A long default in a record that is left out in thousands of others.
    let inner = format!(
        r#"{{"type":"record","name":"A","fields":[{{"name":"a","type":"string","default":"{}"}}]}}"#,
        "x".repeat(30_000)
    );
    let first = format!(r#"{{"name":"f","type":{inner},"default":{{}}}}"#);
    let left_out = fields(r#""type":"A","default":{}"#);
    check("a default left out", &format!(r#"{{"type":"record","name":"R","fields":[{first}{left_out}]}}"#));
}
