//! A schema has one name.

use affinity_avro::Record;

#[derive(Record)]
struct Page<T> {
    items: Vec<T>,
}

fn main() {}
