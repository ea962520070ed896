//! Branches are told apart by their types.

use affinity_avro::Record;

#[derive(Record)]
enum Id {
    Number(i64),
    Serial(i64),
}

fn main() {}
