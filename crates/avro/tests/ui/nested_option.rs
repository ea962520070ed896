//! An option is a union.

use affinity_avro::Record;

#[derive(Record)]
struct Order {
    note: Option<Option<String>>,
}

fn main() {}
