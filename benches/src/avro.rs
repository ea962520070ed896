//! Records in Avro and JSON against apache-avro and serde_json, which read and write the same structs through serde.
//!
//! Both sides handle the same bytes and texts, which is checked before, and both keep what can be made once: schemas, plans,
//! writers, readers, buffers.

use std::hint::black_box;

use affinity_avro::{Limits, Plan, Record, RecordPlan, Schema, Value};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Deserialize, Serialize};

use crate::harness::{Bench, Failure, Run, Side, Stopwatch};

const RECORDS: i32 = 1000;
const ROUNDS: usize = 300;

/// Encoding a record.
pub(crate) const ENCODE: Bench = Bench {
    name: "avro-encode",
    about: "a record of 8 fields, one of them a record, to Avro, against apache-avro through serde",
    quick: true,
    run: encode,
};

/// Decoding it.
pub(crate) const DECODE: Bench = Bench {
    name: "avro-decode",
    about: "the same from Avro, against apache-avro through serde",
    quick: true,
    run: decode,
};

/// Decoding what an older version wrote.
pub(crate) const RESOLVE: Bench = Bench {
    name: "avro-resolve",
    about: "the same from Avro of an older writer, against apache-avro through its Value and serde",
    quick: true,
    run: resolve,
};

/// Decoding to the generic value.
pub(crate) const GENERIC: Bench = Bench {
    name: "avro-generic",
    about: "the same from Avro to the generic value, against apache-avro's",
    quick: true,
    run: generic,
};

/// Writing JSON.
pub(crate) const JSON_OUT: Bench =
    Bench { name: "json-out", about: "the same to JSON, against serde_json", quick: true, run: json_out };

/// Reading JSON.
pub(crate) const JSON_IN: Bench =
    Bench { name: "json-in", about: "the same from JSON, against serde_json", quick: true, run: json_in };

/// An account.
#[derive(Clone, Debug, PartialEq, Record, Serialize, Deserialize)]
struct Account {
    id: i64,
    owner: String,
    balance: f64,
    active: bool,
    visits: i32,
    address: Address,
    email: Option<String>,
    #[avro(default)]
    tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Record, Serialize, Deserialize)]
struct Address {
    street: String,
    city: String,
    zip: i32,
}

/// What an account was before: without tags, with a phone, in another order, and with smaller numbers.
#[derive(Clone, Debug, Record, Serialize)]
#[avro(name = "Account")]
struct OldAccount {
    owner: String,
    phone: String,
    id: i32,
    address: OldAddress,
    active: bool,
    visits: i32,
    balance: f32,
    email: Option<String>,
}

#[derive(Clone, Debug, Record, Serialize)]
#[avro(name = "Address")]
struct OldAddress {
    city: String,
    zip: i32,
    street: String,
    country: String,
}

fn account(n: i32) -> Account {
    Account {
        id: i64::from(n) * 7_919_000_017,
        owner: format!("owner {n}"),
        // Few enough digits that serde_json reads them exactly too.
        balance: f64::from(n * 11) / 10.0,
        active: n % 3 > 0,
        visits: n * 31,
        address: Address { street: format!("{n} Long Street"), city: "Brno".into(), zip: 60_000 + n },
        email: (n % 2 > 0).then(|| format!("owner{n}@example.org")),
        tags: (0..n % 4).map(|tag| format!("tag{tag}")).collect(),
    }
}

fn old_account(n: i32) -> OldAccount {
    let Account { owner, active, visits, address: Address { street, city, zip }, email, .. } = account(n);
    let address = OldAddress { city, zip, street, country: "CZ".into() };
    let balance = 1.5;
    OldAccount { owner, phone: format!("+420 {n:09}"), id: n, address, active, visits, balance, email }
}

fn accounts() -> Vec<Account> {
    (0..RECORDS).map(account).collect()
}

/// Their bytes, which both sides agree on.
fn encoded<T: Record + Serialize>(records: &[T]) -> Result<Vec<Vec<u8>>, Failure> {
    let schema = bare_schema::<T>()?;
    let writer = GenericDatumWriter::builder(&schema).build()?;
    let bytes: Vec<Vec<u8>> = records.iter().map(T::to_avro).collect();
    for (bytes, record) in bytes.iter().zip(records) {
        if writer.write_ser_to_vec(record)? != *bytes {
            return Err("the two do not write the same bytes".into());
        }
    }
    Ok(bytes)
}

fn bare_schema<T: Record>() -> Result<apache_avro::Schema, Failure> {
    Ok(apache_avro::Schema::parse_str(T::schema().text())?)
}

fn encode(run: &mut Run<'_>) -> Result<(), Failure> {
    let accounts = accounts();
    encoded(&accounts)?;
    let schema = bare_schema::<Account>()?;
    let writer = GenericDatumWriter::builder(&schema).build()?;
    let mut out = Vec::with_capacity(1024);
    run.pair("records/s", 5.0, |side, _| match side {
        Side::Ours => rate(&accounts, |account| {
            out.clear();
            affinity_avro::Datum::encode(account, &mut out);
            black_box(&out);
            Ok(())
        }),
        Side::Bare => rate(&accounts, |account| {
            out.clear();
            writer.write_ser(&mut out, account)?;
            black_box(&out);
            Ok(())
        }),
    })
}

fn decode(run: &mut Run<'_>) -> Result<(), Failure> {
    let accounts = encoded(&accounts())?;
    let schema = bare_schema::<Account>()?;
    let reader = GenericDatumReader::builder(&schema).build()?;
    let plan = RecordPlan::<Account>::new(Account::schema())?;
    run.pair("records/s", 2.0, |side, _| match side {
        Side::Ours => rate(&accounts, |bytes| Ok(plan.decode(bytes)?)),
        Side::Bare => rate(&accounts, |bytes| Ok(reader.read_deser::<Account>(&mut &bytes[..])?)),
    })
}

fn resolve(run: &mut Run<'_>) -> Result<(), Failure> {
    let old: Vec<OldAccount> = (0..RECORDS).map(old_account).collect();
    let accounts = encoded(&old)?;
    let (writer, schema) = (bare_schema::<OldAccount>()?, bare_schema::<Account>()?);
    let reader = GenericDatumReader::builder(&writer).reader_schema(&schema).build()?;
    let bare = |bytes: &[u8]| -> Result<Account, Failure> {
        Ok(apache_avro::from_value(&reader.read_value(&mut &*bytes)?)?)
    };
    let plan = RecordPlan::<Account>::new(OldAccount::schema())?;
    for bytes in &accounts {
        if plan.decode(bytes)? != bare(bytes)? {
            return Err("the two do not read the same record".into());
        }
    }
    run.pair("records/s", 10.0, |side, _| match side {
        Side::Ours => rate(&accounts, |bytes| Ok(plan.decode(bytes)?)),
        Side::Bare => rate(&accounts, |bytes| bare(bytes)),
    })
}

fn generic(run: &mut Run<'_>) -> Result<(), Failure> {
    let accounts = encoded(&accounts())?;
    let schema = bare_schema::<Account>()?;
    let reader = GenericDatumReader::builder(&schema).build()?;
    let plan = Plan::same(Account::schema())?;
    check_generic(&plan, Account::schema(), &accounts)?;
    run.pair("records/s", 2.0, |side, _| match side {
        Side::Ours => rate(&accounts, |bytes| Ok(plan.decode_value(bytes, &Limits::DEFAULT)?)),
        Side::Bare => rate(&accounts, |bytes| Ok(reader.read_value(&mut &bytes[..])?)),
    })
}

fn check_generic(plan: &Plan, schema: &Schema, all: &[Vec<u8>]) -> Result<(), Failure> {
    for bytes in all {
        let value: Value = plan.decode_value(bytes, &Limits::DEFAULT)?;
        let mut again = Vec::new();
        value.encode(schema, &mut again)?;
        if again != *bytes {
            return Err("a generic value is not what was read".into());
        }
    }
    Ok(())
}

fn json_out(run: &mut Run<'_>) -> Result<(), Failure> {
    let accounts = accounts();
    for account in &accounts {
        if account.to_json() != serde_json::to_string(account)? {
            return Err("the two do not write the same JSON".into());
        }
    }
    run.pair("records/s", 0.8, |side, _| match side {
        Side::Ours => rate(&accounts, |account| Ok(account.to_json())),
        Side::Bare => rate(&accounts, |account| Ok(serde_json::to_string(account)?)),
    })
}

fn json_in(run: &mut Run<'_>) -> Result<(), Failure> {
    let texts: Vec<String> = accounts().iter().map(Account::to_json).collect();
    for text in &texts {
        if Account::from_json(text)? != serde_json::from_str(text)? {
            return Err("the two do not read the same record".into());
        }
    }
    run.pair("records/s", 0.7, |side, _| match side {
        Side::Ours => rate(&texts, |text| Ok(Account::from_json(text)?)),
        Side::Bare => rate(&texts, |text| Ok(serde_json::from_str::<Account>(text)?)),
    })
}

/// How many items a second `work` does.
fn rate<T, R>(items: &[T], mut work: impl FnMut(&T) -> Result<R, Failure>) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        for item in items {
            drop(black_box(work(black_box(item))?));
        }
    }
    Ok(watch.rate(items.len() * ROUNDS))
}
