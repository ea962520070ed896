//! Types that Avro does not have.

use affinity_avro::Record;

#[derive(Record)]
struct Order {
    id: u64,
}

fn main() {}
