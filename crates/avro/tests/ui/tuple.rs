//! Fields have names.

use affinity_avro::Record;

#[derive(Record)]
struct Point(i32, i32);

fn main() {}
