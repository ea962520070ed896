//! A union of Rust is none of Avro.

use affinity_avro::Record;

#[derive(Record)]
union Number {
    int: i32,
    float: f32,
}

fn main() {}
