//! Releases of an application whose records change, over one log and one registry.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod bank;
mod between;
mod harness;
mod node;

use affinity_avro::{Compatibility, JsonForm, Record, Schema, split_frame};
use affinity_keyspace::{Failure, KeyRange, store_types};
use affinity_registry::{ErrorKind, FileRegistry, MemoryRegistry, SchemaRegistry, Subject, bind, subject_of};
use affinity_types::{Key, PartitionId};

use bank::{Bank, Command, NoAccount, first, id, second, third, wrong};
use node::{Site, block_on};

fn open(number: i64, owner: &str, balance: i32) -> Command {
    Command::Open(id(number), owner.to_owned(), balance)
}

#[test]
fn a_newer_release_reads_and_rewrites_what_older_ones_have_written() {
    let folder = tempfile::tempdir().unwrap();
    // Each release opens the folder anew, as its processes do.
    let registry = || FileRegistry::open(folder.path().join("schemas")).unwrap();
    let site = Site::new(1);

    let mut node = site.start::<first::Account>("one", &registry()).unwrap();
    node.promote();
    assert_eq!(node.ask(&id(1), open(1, "ada", 10)), Ok(10));
    assert_eq!(node.ask(&id(2), open(2, "charles", 20)), Ok(20));
    let ids = node.value_ids("accounts");
    assert_eq!((ids.len(), ids[0]), (2, ids[1]));
    drop(node);

    let mut node = site.start::<second::Account>("two", &registry()).unwrap();
    node.promote();
    assert_eq!(node.query(&id(1)), Ok(10));
    assert_eq!(node.ask(&id(1), Command::Add(id(1), 5)), Ok(15));
    assert_eq!(node.ask(&id(3), open(3, "mary", 30)), Ok(30));
    let mixed = node.value_ids("accounts");
    assert_eq!(mixed.iter().filter(|value| **value == ids[0]).count(), 1, "one was not written again");
    drop(node);

    let mut node = site.start::<third::Account>("three", &registry()).unwrap();
    node.promote();
    for (number, balance) in [(1, 15), (2, 20), (3, 30)] {
        assert_eq!(node.query(&id(number)), Ok(balance));
    }
    let all = node.scan(&Bank::<third::Account>::ACCOUNTS, KeyRange::all());
    let fields: Vec<_> =
        all.iter().map(|entry| (entry.key.number, entry.value.holder.as_str(), entry.value.rating)).collect();
    assert_eq!(fields, [(1, "ada", 3), (2, "charles", 3), (3, "mary", 3)]);
    assert_eq!(node.by_owner("charles"), [id(2)], "an index reads all releases");
    assert_eq!(node.ask(&id(2), Command::Close(id(2))), Ok(20));
    assert_eq!(node.query(&id(2)), Err(Failure::Handler(NoAccount)));
    let closed = node.scan(&Bank::<third::Account>::CLOSED, KeyRange::prefix("char"));
    assert_eq!((closed.len(), closed[0].value.balance), (1, 20));
    assert_eq!(node.scan(&Bank::<third::Account>::NOTES, KeyRange::all()).len(), 3);
    node.verify();
    let heard = node.heard.lock().unwrap();
    let balances: Vec<_> = heard.iter().map(|change| change.clone().unwrap()).collect();
    let expected = [(1, 10), (2, 20), (1, 15), (3, 30)].map(|(number, balance)| (id(number), Some(balance)));
    assert_eq!(balances, [&expected[..], &[(id(2), None)]].concat(), "a listener hears all releases");
}

#[test]
fn keys_and_values_are_frames_of_the_registry() {
    let registry = MemoryRegistry::new();
    let site = Site::new(1);
    let mut node = site.start::<first::Account>("one", &registry).unwrap();
    node.promote();
    node.ask(&id(7), open(7, "ada", 10)).unwrap();
    let entries = node.entries("accounts");
    let latest = |what: &str| {
        let subject = subject_of("bank", None, what).unwrap();
        block_on(registry.latest(&subject)).unwrap().unwrap()
    };
    let (key, value) = (latest("key"), latest("value"));
    let (key_id, key_body) = split_frame(&entries[0].0).unwrap();
    let (value_id, value_body) = split_frame(&entries[0].1).unwrap();
    assert_eq!((key_id, value_id), (key.id.0, value.id.0));
    // Whoever has the registry alone can read them.
    let key = affinity_avro::Value::decode(&key.schema, key_body).unwrap();
    let value = affinity_avro::Value::decode(&value.schema, value_body).unwrap();
    assert_eq!(
        key.to_json(&latest("key").schema, JsonForm::Plain).unwrap(),
        r#"{"branch":"mitte","number":7}"#
    );
    assert!(value.to_json(&latest("value").schema, JsonForm::Plain).unwrap().contains(r#""owner":"ada""#));
    // Plain stores beside them stay plain.
    assert_eq!(&node.entries("notes")[0].0[..], b"ada");
}

#[test]
fn a_record_that_does_not_fit_opens_and_writes_nothing() {
    let registry = MemoryRegistry::new();
    let site = Site::new(1);
    let mut node = site.start::<first::Account>("one", &registry).unwrap();
    node.promote();
    node.ask(&id(1), open(1, "ada", 10)).unwrap();
    let before = node.entries("accounts");
    drop(node);
    let subject = subject_of("bank", None, "value").unwrap();
    let closed = subject_of("bank", Some("closed"), "value").unwrap();
    for level in [Compatibility::Backward, Compatibility::None] {
        // Whatever the subject would let pass, the store's values have to be read.
        block_on(registry.set_compatibility(&subject, level)).unwrap();
        let error = site.start::<wrong::Account>("two", &registry).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        let text = error.to_string();
        assert!(text.contains("store accounts") && text.contains("bank.Account.iban"), "{text}");
        for subject in [&subject, &closed] {
            assert_eq!(block_on(registry.versions(subject)).unwrap().len(), 1, "nothing was registered");
        }
    }
    let mut node = site.start::<first::Account>("three", &registry).unwrap();
    node.promote();
    assert_eq!(node.query(&id(1)), Ok(10));
    assert_eq!(node.entries("accounts"), before);
}

#[test]
fn a_decimal_of_another_scale_or_of_fewer_digits_opens_nothing() {
    use affinity_avro::Decimal;
    use affinity_types::codec::Encode;
    macro_rules! price {
        ($name:ident, $($of:tt)*) => {
            #[derive(Record)]
            #[avro(name = "Price", namespace = "bank")]
            struct $name {
                amount: Option<$($of)*>,
            }
        };
    }
    price!(Six, Decimal<6, 2>);
    price!(Eight, Decimal<8, 2>);
    price!(Finer, Decimal<8, 3>);
    let types = |key, value| [affinity_types::format::StoreTypes { name: "prices", key, value }];
    let registry = MemoryRegistry::new();
    let bound = |types: [affinity_types::format::StoreTypes; 1]| {
        block_on(bind(&registry, "prices", "prices", &types)).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(bound(types(Six::FRAMES, Six::FRAMES)), Ok(()));
    assert_eq!(bound(types(Six::FRAMES, Eight::FRAMES)), Ok(()), "more digits");
    assert_eq!(bound(types(Six::FRAMES, Six::FRAMES)), Ok(()), "the older release beside it");
    let why = bound(types(Six::FRAMES, Finer::FRAMES)).unwrap_err();
    assert!(why.contains("bank.Price.amount: older values are decimal(6, 2)"), "{why}");
    let why = bound(types(Finer::FRAMES, Six::FRAMES)).unwrap_err();
    assert!(why.contains("prices-key") && why.contains("would be read as decimal(8, 3)"), "{why}");
    let subject = subject_of("prices", None, "value").unwrap();
    assert_eq!(block_on(registry.versions(&subject)).unwrap().len(), 2, "nothing was registered");
    // Whoever has more digits first cannot go back to fewer.
    let registry = MemoryRegistry::new();
    block_on(bind(&registry, "prices", "prices", &types(None, Eight::FRAMES))).unwrap();
    assert!(block_on(bind(&registry, "prices", "prices", &types(None, Six::FRAMES))).is_err());
}

#[test]
fn all_stores_are_asked_before_the_first_is_registered() {
    let registry = MemoryRegistry::new();
    // The last store alone refuses: whoever reads its values needs more than this release writes.
    let subject = subject_of("bank", Some("closed"), "value").unwrap();
    let more = first::Account::schema()
        .text()
        .replace("\"fields\":[", "\"fields\":[{\"name\":\"more\",\"type\":\"int\"},");
    block_on(registry.register(&subject, &Schema::parse(&more).unwrap())).unwrap();
    block_on(registry.set_compatibility(&subject, Compatibility::Full)).unwrap();
    let error = Site::new(1).start::<first::Account>("one", &registry).map(drop).unwrap_err();
    assert!(error.to_string().contains("store closed") && error.to_string().contains("more"), "{error}");
    for what in ["key", "value"] {
        let subject = subject_of("bank", None, what).unwrap();
        assert_eq!(block_on(registry.latest(&subject)).unwrap(), None, "nothing was registered");
    }
}

#[test]
fn a_version_is_read_even_when_the_one_after_it_would_do() {
    // The second has no limit, and lets it come back as something else; the first had it as a number.
    let registry = MemoryRegistry::new();
    let subject = subject_of("bank", None, "value").unwrap();
    let site = Site::new(1);
    drop(site.start::<first::Account>("one", &registry).unwrap());
    let text = Schema::parse(
        r#"{"type": "record", "name": "bank.Account", "fields": [{"name": "balance", "type": "long"}, {"name": "iban", "type": "string", "default": ""}]}"#,
    );
    block_on(registry.register(&subject, &text.unwrap())).unwrap();
    // It may follow the second, by the level of the subject; values of the first it could not read.
    let error = site.start::<wrong::Account>("two", &registry).map(drop).unwrap_err();
    assert!(error.to_string().contains("version 1"), "{error}");
}

#[test]
fn an_older_release_learns_what_a_newer_one_has_written() {
    let registry = MemoryRegistry::new();
    let site = Site::new(1);
    let mut old = site.start::<second::Account>("old", &registry).unwrap();
    let mut new = site.start::<third::Account>("new", &registry).unwrap();
    new.promote();
    new.ask(&id(1), open(1, "ada", 10)).unwrap();
    drop(new);
    old.promote();
    // The newer version came after it was opened.
    let Err(Failure::Corrupt(why)) = old.query(&id(1)) else { panic!("it is not known yet") };
    assert!(why.contains("a value of store accounts: schema"), "{why}");
    let before = old.entries("accounts");
    assert!(matches!(old.ask(&id(1), Command::Add(id(1), 1)), Err(Failure::Corrupt(_))));
    assert_eq!(old.entries("accounts"), before, "what is not read is not written over");
    assert_eq!(block_on(old.bound.learn(&registry)).unwrap().len(), 0);
    assert_eq!(old.query(&id(1)), Ok(10));
    assert_eq!(old.ask(&id(1), Command::Add(id(1), 1)), Ok(11));
    drop(old);
    // Opened anew it knows at once.
    let mut old = site.start::<second::Account>("old", &registry).unwrap();
    old.promote();
    assert_eq!(old.query(&id(1)), Ok(11));
}

#[test]
fn an_older_release_opens_beside_a_newer_one_and_is_told_what_it_cannot_read() {
    let registry = MemoryRegistry::new();
    let site = Site::new(1);
    drop(site.start::<first::Account>("first", &registry).unwrap());
    let mut new = site.start::<second::Account>("second", &registry).unwrap();
    new.promote();
    new.ask(&id(1), open(1, "ada", 10)).unwrap();
    drop(new);
    // The first needs a limit, which the second does not write.
    let mut old = site.start::<first::Account>("old", &registry).unwrap();
    let unreadable = block_on(old.bound.learn(&registry)).unwrap();
    let texts: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("bank-value: version 2") && texts[0].contains("no field"), "{texts:?}");
    old.promote();
    assert!(matches!(old.query(&id(1)), Err(Failure::Corrupt(_))));
    assert_eq!(old.ask(&id(2), open(2, "mary", 1)), Ok(1), "others are served");
}

#[test]
fn keys_keep_the_id_that_they_were_created_with() {
    let registry = MemoryRegistry::new();
    let site = Site::new(1);
    let mut node = site.start::<first::Account>("one", &registry).unwrap();
    node.promote();
    node.ask(&id(1), open(1, "ada", 10)).unwrap();
    let before = node.entries("accounts");
    drop(node);

    // Another registry, where the ids are others: whoever was given the wrong folder does not serve.
    let other = MemoryRegistry::new();
    let any = Subject::new("any").unwrap();
    block_on(other.register(&any, &Schema::parse("\"int\"").unwrap())).unwrap();
    let mut node = site.start::<first::Account>("two", &other).unwrap();
    let why = node.refuse();
    assert!(why.contains("store accounts has keys") && why.contains("another registry"), "{why}");
    drop(node);

    // A key that looks otherwise is refused, even where it could be read.
    let mut node = site.start::<second::Account>("three", &registry).unwrap();
    node.promote();
    node.ask(&id(1), Command::Add(id(1), 1)).unwrap();
    assert_eq!(node.entries("accounts")[0].0, before[0].0, "the same key");
    let types = store_types::<Bank<second::Account>>();
    let changed = [affinity_types::format::StoreTypes { key: types[0].value, ..types[0] }];
    let error = block_on(bind(&registry, "bank", "accounts", &changed)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("bank-key: keys have schema"), "{error}");
}

#[test]
fn keys_of_records_find_their_partition_by_their_frames() {
    const PARTITIONS: u32 = 4;
    let registry = MemoryRegistry::new();
    let site = Site::new(PARTITIONS);
    let mut node = site.start::<first::Account>("one", &registry).unwrap();
    node.promote();
    for number in 0..20 {
        node.ask(&id(number), open(number, &format!("o{number}"), 100)).unwrap();
    }
    let keys = node.all_keys("accounts");
    assert_eq!(keys.len(), 20);
    for (partition, key) in keys {
        assert_eq!(Key::new(key).partition(PARTITIONS), PartitionId(partition));
    }
    // Effects go where the accounts are.
    for number in 0..20 {
        node.ask(&id(number), Command::Pay(id(number), id((number + 7) % 20), 10)).unwrap();
    }
    node.settle();
    for number in 0..20 {
        assert_eq!(node.query(&id(number)), Ok(100), "{number}");
    }
}

#[test]
fn without_formats_a_store_of_records_takes_nothing() {
    let site = Site::new(1);
    let mut node = site.start_unbound::<first::Account>("one");
    node.promote();
    let answer = node.ask(&id(1), open(1, "ada", 10));
    assert!(
        matches!(answer, Err(Failure::Invalid(why)) if why.contains("without the formats")),
        "{answer:?}"
    );
    assert!(node.entries("accounts").is_empty());
    // Its keys would be others, so that it is not there says nothing.
    assert!(matches!(node.query(&id(1)), Err(Failure::Invalid(_))));
}
