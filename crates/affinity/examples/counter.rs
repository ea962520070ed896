//! A keyed counter that lasts: run it twice, or kill it in between.
//!
//! `cargo run -p affinity --example counter -- ada 2` adds 2 to `ada` and says what is counted so far.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;

use affinity::{Master, Node, NodeSettings, Record, Store, View, partition};

/// How often a thing was counted.
#[derive(Clone, Debug, Record)]
#[avro(crate = "::affinity::avro")]
struct Count {
    count: i64,
}

const COUNTS: Store<str, Count> = Store::new("counts");

struct Counter;

#[partition(stores = [COUNTS])]
impl Counter {
    /// Counts a thing.
    #[command]
    fn add(&self, cx: &mut Master<'_>, key: &str, by: i64) -> Result<Count, Infallible> {
        let count = Count { count: cx.get(&COUNTS, key).map_or(0, |count: Count| count.count) + by };
        cx.put(&COUNTS, key, &count);
        Ok(count)
    }

    /// All that was counted.
    #[query]
    fn total(&self, cx: &View<'_>) -> Result<i64, Infallible> {
        let counts = cx.scan(&COUNTS, &affinity::KeyRange::all(), 10_000);
        Ok(counts.into_iter().map(|(_, count): (String, Count)| count.count).sum())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let key = arguments.next().unwrap_or_else(|| "ada".to_owned());
    let by = arguments.next().map_or(Ok(1), |by| by.parse())?;
    let mut node = Node::open(NodeSettings::new("target/counter")).await?;
    let counter = node.keyspace("counter", || Counter).await?;
    node.start();
    let count = counter.add(&key, by).ask_with_retry().await?;
    println!("{key}: {}", count.count);
    println!("all: {}", counter.total().scatter(0, |sum, total| sum + total).await?);
    node.stop().await;
    Ok(())
}
