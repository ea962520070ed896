//! A branch is one value.

use affinity_avro::Record;

#[derive(Record)]
enum Shape {
    Circle { radius: f64 },
    Square(f64),
}

fn main() {}
