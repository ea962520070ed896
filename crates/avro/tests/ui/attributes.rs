//! Attributes that there are not.

use affinity_avro::Record;

#[derive(Record)]
#[avro(nmae = "Order")]
struct Order {
    id: i64,
}

#[derive(Record)]
struct Line {
    #[avro(optional)]
    sku: String,
}

fn main() {}
