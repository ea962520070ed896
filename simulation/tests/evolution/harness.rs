//! Records in the harness, which needs no registry.

use affinity_avro::Record;
use affinity_keyspace::{Harness, store_types};
use affinity_registry::{MemoryRegistry, bind};

use crate::bank::{AnyAccount, Bank, Command, Heard, first, id, second};
use crate::node::block_on;

#[test]
fn handlers_over_records_are_tested_without_a_registry() {
    let mut bank = Harness::new(Bank::<first::Account>::new(&Heard::default()), 1);
    bank.given(&Bank::<first::Account>::ACCOUNTS, &id(1), &first::Account::new("ada", 10));
    let outcome = bank.command(Command::Add(id(1), 5));
    assert_eq!(outcome.answer, Ok(15));
    let account = first::Account::new("ada", 15);
    let expected = bank.changed(&Bank::<first::Account>::ACCOUNTS, &id(1), Some(&account));
    assert_eq!(outcome.changes, [expected]);
    assert_eq!(bank.query(id(1)), Ok(15));
    let paid = bank.command(Command::Pay(id(1), id(2), 5));
    assert_eq!((paid.answer, paid.effects.len()), (Ok(10), 1));
}

#[test]
fn a_harness_holds_values_of_an_older_release() {
    let registry = MemoryRegistry::new();
    let formats =
        |types: &[_]| block_on(bind(&registry, "bank", "accounts", types)).unwrap().formats().to_vec();
    let older = formats(&store_types::<Bank<first::Account>>());
    let newer = formats(&store_types::<Bank<second::Account>>());
    let bytes = older[0].1.value.to_bytes(&first::Account::new("ada", 10));
    let read: second::Account = newer[0].1.value.decode(&bytes).unwrap();
    assert_eq!((read.holder.as_str(), read.balance), ("ada", 10));
    assert_ne!(bytes, newer[0].1.value.to_bytes(&read));
    // Without a place it names its schema itself, and is not taken for another one.
    let alone = affinity_types::codec::Encode::to_bytes(&first::Account::new("ada", 10));
    let other = <second::Account as affinity_types::codec::Decode>::decode(&alone);
    assert!(other.unwrap_err().to_string().contains("another version"));
    assert_eq!(<first::Account as affinity_types::codec::Decode>::decode(&alone).unwrap().owner, "ada");
    assert_eq!(first::Account::schema().name().unwrap().full(), "bank.Account");
}
