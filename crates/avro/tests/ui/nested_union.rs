//! A union does not stand in another.

use affinity_avro::Record;

#[derive(Record)]
enum Value {
    Text(Option<String>),
    Number(i64),
}

fn main() {}
