//! Logical types on what they are not.

use affinity_avro::Record;

#[derive(Record)]
struct Order {
    #[avro(logical = "date")]
    day: i64,
}

#[derive(Record)]
struct Times {
    #[avro(logical = "timestamp-millis")]
    times: Vec<Option<i32>>,
}

#[derive(Record)]
struct Line {
    #[avro(logical = "timestamp")]
    at: i64,
}

#[derive(Record)]
struct Price {
    #[avro(logical = "decimal")]
    amount: Vec<u8>,
}

fn main() {}
