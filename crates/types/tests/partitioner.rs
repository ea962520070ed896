//! The partitioner against cases that kafka-clients made.

use affinity_types::{Key, PartitionId, murmur2};
use serde_json::Value;

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex");
    (0..hex.len() / 2).map(byte).collect()
}

#[test]
fn every_vector_of_kafkas_partitioner_holds() {
    let cases = include_str!("vectors/murmur2.jsonl");
    let mut checked = 0;
    for case in cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let key = Key::new(bytes(case["key"].as_str().unwrap()).into());
        let hash = murmur2(&key);
        assert_eq!(i64::from(hash), case["murmur2"].as_i64().unwrap(), "{}", case["id"]);
        assert_eq!(i64::from(hash & i32::MAX), case["positive"].as_i64().unwrap(), "{}", case["id"]);
        for (count, partition) in case["partitions"].as_object().unwrap() {
            let expected = PartitionId(partition.as_u64().unwrap().try_into().unwrap());
            assert_eq!(key.partition(count.parse().unwrap()), expected, "{} of {count}", case["id"]);
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} cases");
}
