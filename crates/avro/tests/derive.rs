//! Compiled records: their schemas, their bytes, other versions of them, and their JSON.

use std::collections::{BTreeMap, HashMap};

use affinity_avro::{
    Date, Decimal, Duration, Error, ErrorKind, JsonForm, Limits, Plans, Record, RecordPlan, Schema,
    TimestampMillis, Value,
};
use bytes::Bytes;

/// An order.
///
/// Of a shop.
#[derive(Clone, Debug, PartialEq, Record)]
#[avro(namespace = "shop", alias = "Purchase", alias = "old.Purchase")]
struct Order {
    /// Its number.
    id: i64,
    customer: Customer,
    lines: Vec<Line>,
    attributes: BTreeMap<String, String>,
    #[avro(default)]
    weights: HashMap<String, f64>,
    note: Option<String>,
    #[avro(name = "type", alias = "kind", default_json = "\"NEW\"")]
    status: Status,
    hash: Hash,
    raw: Vec<u8>,
    shared: Bytes,
    #[avro(default = -1)]
    small: i16,
    #[avro(default = 1.5)]
    rate: f32,
    #[avro(default = "say \"x\"")]
    text: String,
    #[avro(default = true)]
    paid: bool,
    contact: Contact,
    #[avro(logical = "timestamp-micros")]
    changed: Option<i64>,
    nothing: (),
}

#[derive(Clone, Debug, PartialEq, Record)]
#[avro(namespace = "shop")]
struct Customer {
    name: CustomerName,
    parent: Option<Box<Customer>>,
}

/// What is inside.
#[derive(Clone, Debug, PartialEq, Record)]
struct CustomerName(String);

#[derive(Clone, Debug, PartialEq, Record)]
#[avro(namespace = "shop")]
struct Line {
    sku: String,
    count: u32,
}

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Record)]
enum Status {
    #[avro(name = "NEW", default)]
    New,
    #[avro(name = "SENT")]
    Sent,
}

#[derive(Clone, Debug, PartialEq, Record)]
struct Hash([u8; 4]);

#[derive(Clone, Debug, PartialEq, Record)]
enum Contact {
    Nobody,
    Phone(i64),
    Mail(String),
    Person(Box<Customer>),
}

#[derive(Clone, Debug, PartialEq, Record)]
struct Nothing {}

fn order() -> Order {
    let ada = Customer { name: CustomerName("Ada".into()), parent: None };
    let customer = Customer { name: CustomerName("Bo\n\"é\"".into()), parent: Some(Box::new(ada.clone())) };
    Order {
        id: -7,
        customer,
        lines: vec![Line { sku: "a".into(), count: 1 }, Line { sku: String::new(), count: u32::MAX }],
        attributes: [("k".to_owned(), "v".to_owned()), (String::new(), "w".to_owned())].into(),
        weights: [("z".to_owned(), 0.1), ("a".to_owned(), -0.0), ("m".to_owned(), 1e300)].into(),
        note: Some("later".into()),
        status: Status::Sent,
        hash: Hash([0, 1, 2, 255]),
        raw: vec![1, 200],
        shared: Bytes::from_static(b"shared"),
        small: -300,
        rate: 0.1,
        text: "text".into(),
        paid: false,
        contact: Contact::Person(Box::new(ada)),
        changed: None,
        nothing: (),
    }
}

#[test]
fn a_schema_is_what_the_type_says() {
    let expected = concat!(
        r#"{"type":"record","name":"Order","namespace":"shop","aliases":["Purchase","old.Purchase"],"#,
        r#""doc":"An order.\n\nOf a shop.","fields":["#,
        r#"{"name":"id","type":"long","doc":"Its number."},"#,
        r#"{"name":"customer","type":{"type":"record","name":"Customer","namespace":"shop","fields":["#,
        r#"{"name":"name","type":"string"},"#,
        r#"{"name":"parent","type":["null","shop.Customer"],"default":null}]}},"#,
        r#"{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","namespace":"shop","fields":["#,
        r#"{"name":"sku","type":"string"},{"name":"count","type":"long"}]}}},"#,
        r#"{"name":"attributes","type":{"type":"map","values":"string"}},"#,
        r#"{"name":"weights","type":{"type":"map","values":"double"},"default":{}},"#,
        r#"{"name":"note","type":["null","string"],"default":null},"#,
        r#"{"name":"type","type":{"type":"enum","name":"Status","namespace":"","doc":"Where an order is.","#,
        r#""symbols":["NEW","SENT"],"default":"NEW"},"aliases":["kind"],"default":"NEW"},"#,
        r#"{"name":"hash","type":{"type":"fixed","name":"Hash","namespace":"","size":4}},"#,
        r#"{"name":"raw","type":"bytes"},{"name":"shared","type":"bytes"},"#,
        r#"{"name":"small","type":"int","default":-1},{"name":"rate","type":"float","default":1.5},"#,
        r#"{"name":"text","type":"string","default":"say \"x\""},{"name":"paid","type":"boolean","default":true},"#,
        r#"{"name":"contact","type":["null","long","string","shop.Customer"]},"#,
        r#"{"name":"changed","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},"#,
        r#"{"name":"nothing","type":"null"}]}"#,
    );
    assert_eq!(Order::schema().text(), expected);
    assert_eq!(Nothing::schema().canonical(), r#"{"name":"Nothing","type":"record","fields":[]}"#);
    assert_eq!(CustomerName::schema().text(), r#""string""#);
}

#[test]
fn a_record_has_the_bytes_and_the_json_of_the_generic_value() {
    let order = order();
    let bytes = order.to_avro();
    let value = Value::decode(Order::schema(), &bytes).unwrap();
    let mut again = Vec::new();
    value.encode(Order::schema(), &mut again).unwrap();
    assert_eq!(again, bytes);
    assert_eq!(Order::from_avro(&bytes).unwrap(), order);
    for form in [JsonForm::Plain, JsonForm::Avro] {
        let json = order.to_json_as(form);
        assert_eq!(value.to_json(Order::schema(), form).unwrap(), json);
        assert_eq!(Value::from_json(&json, Order::schema(), form, &Limits::DEFAULT).unwrap(), value);
        assert_eq!(Order::from_json_as(&json, form, &Limits::DEFAULT).unwrap(), order);
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

#[test]
fn plain_json_is_as_people_write_it() {
    let expected = concat!(
        r#"{"id":-7,"customer":{"name":"Bo\n\"é\"","parent":{"name":"Ada","parent":null}},"#,
        r#""lines":[{"sku":"a","count":1},{"sku":"","count":4294967295}],"attributes":{"":"w","k":"v"},"#,
        r#""weights":{"a":-0.0,"m":1e+300,"z":0.1},"note":"later","type":"SENT","hash":"AAEC/w==","raw":"Acg=","#,
        r#""shared":"c2hhcmVk","small":-300,"rate":0.1,"text":"text","paid":false,"#,
        r#""contact":{"shop.Customer":{"name":"Ada","parent":null}},"changed":null,"nothing":null}"#,
    );
    assert_eq!(order().to_json(), expected);
    let sparse = r#" { "unknown": [1, {"x": "y"}], "contact": null, "nothing": null, "shared": "", "raw": "",
        "hash": "AAAAAA==", "attributes": {}, "lines": [], "customer": {"name": "N"}, "id": 3 } "#;
    let order = Order::from_json(sparse).unwrap();
    let expected = Order {
        id: 3,
        customer: Customer { name: CustomerName("N".into()), parent: None },
        lines: Vec::new(),
        attributes: BTreeMap::new(),
        weights: HashMap::new(),
        note: None,
        status: Status::New,
        hash: Hash([0; 4]),
        raw: Vec::new(),
        shared: Bytes::new(),
        small: -1,
        rate: 1.5,
        text: "say \"x\"".into(),
        paid: true,
        contact: Contact::Nobody,
        changed: None,
        nothing: (),
    };
    assert_eq!(order, expected);
}

#[test]
fn wrong_json_is_an_error_with_the_path_to_it() {
    let check = |json: &str, message: &str| {
        assert_eq!(Line::from_json(json).unwrap_err().to_string(), message);
    };
    check(r#"{"sku": 1, "count": 1}"#, "sku: expected a text, found '1' at byte 8");
    check(r#"{"sku": "a"}"#, r#"the field "count" is missing at byte 12"#);
    check(r#"{"sku": "a", "count": 1.5}"#, "count: 1.5 is no whole number, or out of range at byte 25");
    check(
        r#"{"sku": "a", "count": -1}"#,
        "count: out of range integral type conversion attempted at byte 24",
    );
    check("[]", "expected an object, found '[' at byte 0");
    let contact = |json| Contact::from_json(json).map_err(|error| error.to_string());
    assert_eq!(contact(r#"{"string": "x"}"#), Ok(Contact::Mail("x".into())));
    assert_eq!(contact("null"), Ok(Contact::Nobody));
    assert!(contact(r#"{"int": 1}"#).unwrap_err().starts_with(r#"the union has no branch "int""#));
    assert!(contact(r#"{"long": 1, "string": "x"}"#).unwrap_err().contains("beside a branch"));
}

/// The same order, some versions ago.
const OLDER: &str = r#"{"type": "record", "name": "Purchase", "namespace": "old", "fields": [
    {"name": "nothing", "type": "null"},
    {"name": "gone", "type": {"type": "array", "items": {"type": "map", "values": ["null", "string", "bytes"]}}},
    {"name": "kind", "type": {"type": "enum", "name": "Status", "symbols": ["LOST", "SENT", "NEW"]}},
    {"name": "customer", "type": {"type": "record", "name": "Customer", "namespace": "shop", "fields": [
        {"name": "parent", "type": ["Customer", "null"]}, {"name": "age", "type": "int"}, {"name": "name", "type": "bytes"}]}},
    {"name": "id", "type": ["int", "long"]},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "namespace": "shop", "fields": [
        {"name": "count", "type": "int"}, {"name": "sku", "type": "string"}]}}},
    {"name": "attributes", "type": {"type": "map", "values": "string"}},
    {"name": "note", "type": "string"},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
    {"name": "raw", "type": "string"},
    {"name": "shared", "type": "bytes"},
    {"name": "rate", "type": "long"},
    {"name": "contact", "type": "int"}
]}"#;

fn older() -> Result<(Schema, Vec<u8>), Error> {
    let schema = Schema::parse(OLDER)?;
    let json = r#"{"nothing": null, "gone": [{"a": {"string": "x"}}, {}], "kind": "LOST",
        "customer": {"parent": {"parent": null, "age": 1, "name": "QQ=="}, "age": 2, "name": "Qg=="},
        "id": {"int": 5}, "lines": [{"count": 3, "sku": "s"}], "attributes": {"a": "b"}, "note": "n", "hash": "AAECAw==",
        "raw": "raw", "shared": "c2hhcmVk", "rate": 2, "contact": 8}"#;
    let value = Value::from_json(json, &schema, JsonForm::Plain, &Limits::DEFAULT)?;
    let mut bytes = Vec::new();
    value.encode(&schema, &mut bytes)?;
    Ok((schema, bytes))
}

#[test]
fn an_older_record_is_read_by_a_plan_as_the_generic_value_is() {
    let (schema, bytes) = older().unwrap();
    let plan = RecordPlan::<Order>::new(&schema).unwrap();
    let found = plan.decode(&bytes).unwrap();
    let parent = Some(Box::new(Customer { name: CustomerName("A".into()), parent: None }));
    let expected = Order {
        id: 5,
        customer: Customer { name: CustomerName("B".into()), parent },
        lines: vec![Line { sku: "s".into(), count: 3 }],
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        weights: HashMap::new(),
        note: Some("n".into()),
        status: Status::New,
        hash: Hash([0, 1, 2, 3]),
        raw: b"raw".to_vec(),
        shared: Bytes::from_static(b"shared"),
        small: -1,
        rate: 2.0,
        text: "say \"x\"".into(),
        paid: true,
        contact: Contact::Phone(8),
        changed: None,
        nothing: (),
    };
    assert_eq!(found, expected);
    let generic = plan.plan().decode_value(&bytes, &Limits::DEFAULT).unwrap();
    let mut encoded = Vec::new();
    generic.encode(Order::schema(), &mut encoded).unwrap();
    assert_eq!(encoded, expected.to_avro());
}

#[test]
fn a_field_added_at_the_end_has_its_default() {
    #[derive(Debug, PartialEq, Record)]
    #[avro(name = "Line", namespace = "shop")]
    struct LongerLine {
        sku: String,
        count: u32,
        note: Option<String>,
        #[avro(default = 9)]
        price: i64,
    }
    let plan = RecordPlan::<LongerLine>::new(Line::schema()).unwrap();
    let found = plan.decode(&Line { sku: "s".into(), count: 1 }.to_avro()).unwrap();
    assert_eq!(found, LongerLine { sku: "s".into(), count: 1, note: None, price: 9 });
}

#[test]
fn bytes_are_kept_where_they_may_be() {
    let bytes = Bytes::from(order().to_avro());
    let plan = RecordPlan::<Order>::new(Order::schema()).unwrap();
    assert!(plan.plan().is_same());
    let shared = plan.decode_shared(&bytes).unwrap().shared;
    assert!(bytes.as_ptr_range().contains(&shared.as_ptr()));
    assert_eq!(shared, "shared");
}

#[test]
fn plans_are_kept_by_the_ids_of_schemas() {
    let plans = Plans::<Line>::new(Limits::DEFAULT);
    assert!(plans.get(3).is_none());
    let made = plans.add(3, Line::schema()).unwrap();
    let line = Line { sku: "s".into(), count: 1 };
    assert_eq!(made.decode(&line.to_avro()).unwrap(), line);
    assert!(plans.get(3).is_some());
    let error = plans.add(4, Customer::schema()).map(drop).unwrap_err();
    assert_eq!((error.kind(), plans.get(4).is_none()), (ErrorKind::Incompatible, true));
    assert!(error.to_string().contains("\"sku\""), "{error}");
}

/// A list that holds itself.
#[derive(Debug, PartialEq, Record)]
struct Node {
    next: Option<Box<Node>>,
}

#[test]
fn values_that_nest_too_deep_are_errors() {
    let chain = |length: usize| [vec![2; length], vec![0]].concat();
    assert!(Node::from_avro(&chain(100)).is_ok());
    assert_eq!(Node::from_avro(&chain(1_000_000)).unwrap_err().kind(), ErrorKind::TooLarge);
    let json = format!("{}null{}", r#"{"next":"#.repeat(100_000), "}".repeat(100_000));
    assert_eq!(Node::from_json(&json).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// A record with a text for each name, which holds itself.
macro_rules! broad {
    ($($field:ident)*) => {
        const BROAD: usize = [$(stringify!($field)),*].len();

        #[derive(Debug, PartialEq, Record)]
        struct Broad {
            $($field: String,)*
            next: Option<Box<Broad>>,
        }
    };
}
broad!(a b c d e f g h i j k l m n o p q r s t u v w x y z aa ab ac ad ae af ag ah ai aj ak al am an ao ap aq ar at au av aw);

#[test]
fn broad_records_that_nest_deep_are_errors_on_a_stack_of_two_megabytes() {
    let read = || {
        let chain = |length: usize| {
            let level = [vec![0; BROAD], vec![2]].concat();
            [level.repeat(length), vec![0; BROAD + 1]].concat()
        };
        let older = Broad::schema().text().replacen(r#""type":"string""#, r#""type":"bytes""#, 1);
        let plan = RecordPlan::<Broad>::new(&Schema::parse(&older).expect("a schema")).expect("a plan");
        assert!(!plan.plan().is_same());
        let few = Broad::from_avro(&chain(20)).expect("few enough");
        assert_eq!(plan.decode(&chain(20)).expect("few enough"), few);
        assert_eq!(Broad::from_json(&few.to_json()).expect("few enough"), few);
        let (kind, bytes) = (|error: Error| error.kind(), chain(1000));
        assert_eq!(Broad::from_avro(&bytes).map_err(kind), Err(ErrorKind::TooLarge));
        assert_eq!(plan.decode(&bytes).map_err(kind), Err(ErrorKind::TooLarge));
        let json = format!("{}null{}", r#"{"next":"#.repeat(1000), "}".repeat(1000));
        assert_eq!(Broad::from_json(&json).map_err(kind), Err(ErrorKind::TooLarge));
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(read).expect("a thread");
    thread.join().expect("it reads and refuses");
}

#[test]
fn a_type_that_holds_itself_without_a_name_is_refused_and_not_overflowed() {
    #[derive(Record)]
    enum Json {
        Null,
        Text(String),
        List(Vec<Json>),
        Object(BTreeMap<String, Json>),
    }
    #[derive(Record)]
    struct Nest(Vec<Nest>);
    for schema in [Json::schema, Nest::schema] {
        let why = std::panic::catch_unwind(schema).expect_err("it has no end");
        let why = why.downcast_ref::<String>().expect("a message");
        assert!(why.contains("put a struct with `#[derive(Record)]` between"), "{why}");
    }
}

#[test]
fn a_logical_type_on_a_record_is_refused_and_not_dropped() {
    #[derive(Record)]
    struct Holder {
        #[avro(logical = "date")]
        line: Line,
    }
    let why = std::panic::catch_unwind(Holder::schema).expect_err("a record is no date");
    let why = why.downcast_ref::<String>().expect("a message");
    assert!(why.contains("line: nothing in it can mean date"), "{why}");
}

#[test]
fn logical_types_have_the_bytes_of_what_they_are_made_of() {
    #[derive(Debug, PartialEq, Record)]
    struct All {
        date: Date,
        at: TimestampMillis,
        price: Decimal<9, 2>,
        length: Duration,
    }
    let all = All {
        date: Date(20780),
        at: TimestampMillis(1_795_456_800_123),
        price: Decimal::new(-12345).unwrap(),
        length: Duration { months: 1, days: 2, millis: 3 },
    };
    let bytes = all.to_avro();
    assert_eq!(bytes[..3], [0xd8, 0xc4, 0x02]);
    assert_eq!(bytes[9..12], [0x04, 0xcf, 0xc7]);
    assert_eq!(All::from_avro(&bytes).unwrap(), all);
    assert_eq!(All::from_json(&all.to_json()).unwrap(), all);
    let text = All::schema().text();
    assert!(text.contains(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#), "{text}");
    assert_eq!(Decimal::<3, 1>::new(1000), None);
}

#[test]
fn decimals_are_the_fewest_bytes() {
    #[derive(Debug, PartialEq, Record)]
    struct Price(Decimal<38, 0>);
    let check = |number: i128, bytes: &[u8]| {
        let price = Price(Decimal::new(number).unwrap());
        assert_eq!(price.to_avro()[1..], *bytes, "{number}");
        assert_eq!(Price::from_avro(&price.to_avro()).unwrap(), price);
    };
    check(0, &[0]);
    check(-1, &[0xff]);
    check(127, &[0x7f]);
    check(128, &[0, 0x80]);
    check(-128, &[0x80]);
    check(-129, &[0xff, 0x7f]);
    check(255, &[0, 0xff]);
    let read = |bytes: &[u8]| Price::from_avro(&[&[u8::try_from(bytes.len() * 2).unwrap()], bytes].concat());
    assert_eq!(read(&[]).unwrap().0.unscaled(), 0);
    assert_eq!(read(&[0xff; 30]).unwrap().0.unscaled(), -1);
    assert_eq!(read(&[&[0u8; 20][..], &[0x80]].concat()).unwrap().0.unscaled(), 128);
    assert!(read(&[0x7f; 17]).is_err());
    assert!(read(&[0x7f; 16]).is_err());
    assert!(read(&[&[0xff][..], &[0x00; 16]].concat()).is_err());
}

#[cfg(feature = "uuid")]
#[test]
fn a_uuid_is_a_text() {
    #[derive(Debug, PartialEq, Record)]
    struct Holder {
        id: uuid::Uuid,
    }
    let holder = Holder { id: uuid::Uuid::from_u128(0x4320_672c_4a83_283a_2ac8_4ebb_2525_3175) };
    let bytes = holder.to_avro();
    assert_eq!(bytes[1..], *b"4320672c-4a83-283a-2ac8-4ebb25253175");
    assert_eq!(Holder::from_avro(&bytes).unwrap(), holder);
    assert_eq!(Holder::from_json(&holder.to_json()).unwrap(), holder);
    assert_eq!(Holder::from_avro(b"\x04ab").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[cfg(feature = "jiff")]
#[test]
fn times_of_jiff_are_logical_types() {
    #[derive(Debug, PartialEq, Record)]
    struct Times {
        at: jiff::Timestamp,
        day: jiff::civil::Date,
        time: jiff::civil::Time,
        local: jiff::civil::DateTime,
    }
    let check = |at: &str, local: &str| {
        let local: jiff::civil::DateTime = local.parse().unwrap();
        let times = Times { at: at.parse().unwrap(), day: local.date(), time: local.time(), local };
        assert_eq!(Times::from_avro(&times.to_avro()).unwrap(), times);
        assert_eq!(Times::from_json(&times.to_json()).unwrap(), times);
        times
    };
    let times = check("2026-11-23T18:00:00.123Z", "1969-12-31T23:59:59.999999");
    assert!(times.to_json().contains(r#""at":1795456800123000,"day":-1,"time":86399999999,"local":-1}"#));
    check("1900-01-01T00:00:00.000001Z", "-009999-01-01T00:00:00");
    check("9999-12-30T22:00:00.999999Z", "9999-12-31T23:59:59.999999");
    assert_eq!(
        Times::from_json(r#"{"at":0,"day":2147483647,"time":0,"local":0}"#).unwrap_err().path(),
        "day"
    );
    assert!(Times::from_json(r#"{"at":0,"day":0,"time":86400000000,"local":0}"#).is_err());
    assert!(Times::from_json(r#"{"at":9223372036854775807,"day":0,"time":0,"local":0}"#).is_err());
}

#[cfg(feature = "chrono")]
#[test]
fn times_of_chrono_are_logical_types() {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
    #[derive(Debug, PartialEq, Record)]
    struct Times {
        at: DateTime<Utc>,
        day: NaiveDate,
        time: NaiveTime,
        local: NaiveDateTime,
    }
    let check = |micros: i64| {
        let at = DateTime::from_timestamp_micros(micros).unwrap();
        let local = at.naive_utc();
        let times = Times { at, day: local.date(), time: local.time(), local };
        assert_eq!(Times::from_avro(&times.to_avro()).unwrap(), times);
        assert_eq!(Times::from_json(&times.to_json()).unwrap(), times);
        times.to_json()
    };
    assert_eq!(check(-1), r#"{"at":-1,"day":-1,"time":86399999999,"local":-1}"#);
    check(1_795_456_800_123_000);
    check(-2_208_988_800_000_000);
    let leap = NaiveTime::from_hms_micro_opt(23, 59, 59, 1_500_000).unwrap();
    let times = Times { time: leap, ..Times::from_json(r#"{"at":0,"day":0,"time":0,"local":0}"#).unwrap() };
    let last = NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap();
    assert_eq!(Times::from_avro(&times.to_avro()).unwrap().time, last, "a leap second is read back");
    assert!(Times::from_json(r#"{"at":0,"day":0,"time":86400000000,"local":0}"#).is_err());
    assert!(Times::from_json(r#"{"at":0,"day":2147483647,"time":0,"local":0}"#).is_err());
}
