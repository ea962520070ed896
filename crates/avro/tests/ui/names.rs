//! Names that Avro does not have.

use affinity_avro::Record;

#[derive(Record)]
#[avro(namespace = "my-shop")]
struct Order {
    id: i64,
}

#[derive(Record)]
struct Line {
    sku: String,
    #[avro(name = "sku")]
    other: String,
}

fn main() {}
