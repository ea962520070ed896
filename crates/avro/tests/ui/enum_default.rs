//! An enum has one default.

use affinity_avro::Record;

#[derive(Record)]
enum Status {
    #[avro(default)]
    New,
    #[avro(default)]
    Sent,
}

fn main() {}
