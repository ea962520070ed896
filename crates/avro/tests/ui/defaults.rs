//! Defaults of another type.

use affinity_avro::Record;

#[derive(Record)]
struct Order {
    #[avro(default = "0")]
    id: i64,
}

#[derive(Record)]
struct Note {
    #[avro(default = "")]
    text: Option<String>,
}

#[derive(Record)]
struct Line {
    #[avro(default)]
    order: Order,
}

#[derive(Record)]
struct Point {
    #[avro(default = 1 + 1)]
    x: i64,
}

fn main() {}
