//! A union has one null.

use affinity_avro::Record;

#[derive(Record)]
enum Contact {
    None,
    Unknown,
    Mail(String),
}

fn main() {}
