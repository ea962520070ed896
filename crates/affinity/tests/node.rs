//! Nodes on real folders: handlers written as methods, called by key, over restarts.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use affinity::{
    Applied, Bytes, Destination, Failure, Incoming, Index, KeyRange, KeyspaceSettings, Master, Node,
    NodeError, NodeSettings, Record, Refused, Router, Saga, SagaState, Sagas, Steps, Stop, Store, Stores,
    View, partition,
};

/// An account.
#[derive(Clone, Debug, PartialEq, Record)]
#[avro(crate = "::affinity::avro", namespace = "bank")]
struct Account {
    owner: String,
    balance: i64,
}

/// An amount that goes to another account.
#[derive(Clone, Debug, Record)]
#[avro(crate = "::affinity::avro")]
struct Transfer {
    from: String,
    to: String,
    amount: i64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum BankError {
    #[error("there is only {0}")]
    TooLittle(i64),
    #[error("there is no account {0}")]
    NoAccount(String),
    #[error("{0}")]
    Exists(#[from] affinity::SagaExists),
}

const ACCOUNTS: Store<str, Account> = Store::new("accounts");
const BY_OWNER: Index<str, Account, String> =
    Index::new("by_owner", 1, &ACCOUNTS, |account| vec![account.owner.clone()]);
const TRANSFERS: Sagas<str, Transfer> = Sagas::new("transfers");
const BOOKS: Destination<str, i64> = Destination::new("bank");

/// With how many changes its partitions have heard of.
struct Bank {
    heard: Arc<AtomicU32>,
}

#[partition(stores = [ACCOUNTS], indices = [BY_OWNER], sagas = [TRANSFERS])]
impl Bank {
    /// Opens an account.
    #[command]
    fn open(&self, cx: &mut Master<'_>, id: &str, owner: String) -> Result<(), BankError> {
        cx.put(&ACCOUNTS, id, &Account { owner, balance: 0 });
        Ok(())
    }

    /// Adds to it.
    #[command]
    fn add(&self, cx: &mut Master<'_>, id: &str, amount: i64) -> Result<Account, BankError> {
        Bank::book(cx, id, amount)
    }

    /// Sends an amount to another account.
    #[command]
    fn transfer(&self, cx: &mut Master<'_>, from: &str, to: String, amount: i64) -> Result<(), BankError> {
        cx.begin(&TRANSFERS, from, &Transfer { from: from.to_owned(), to, amount })?;
        Ok(())
    }

    #[query]
    fn account(&self, cx: &View<'_>, id: &str) -> Result<Option<Account>, BankError> {
        Ok(cx.get(&ACCOUNTS, id))
    }

    /// The accounts of an owner, in a partition.
    #[query]
    fn owned(&self, cx: &View<'_>, near: &str, owner: String) -> Result<Vec<String>, BankError> {
        let _ = near;
        Ok(cx.by(&BY_OWNER, &owner, 10))
    }

    /// Whether a transfer has.
    #[query]
    fn has_ended(&self, cx: &View<'_>, from: &str) -> Result<bool, BankError> {
        let state: Option<SagaState<()>> = cx.get(TRANSFERS.store(), from);
        Ok(state.is_some_and(|state| state.has_ended()))
    }

    /// Everything there is.
    #[query]
    fn total(&self, cx: &View<'_>) -> Result<i64, BankError> {
        let accounts = cx.scan(&ACCOUNTS, &KeyRange::all(), 1000);
        Ok(accounts.into_iter().map(|account| account.1.balance).sum())
    }

    #[effect]
    fn booked(&self, cx: &mut Master<'_>, booking: &Incoming<'_>) -> Result<Bytes, Refused> {
        Bank::book(cx, &booking.key::<String>()?, booking.message()?)?;
        Ok(Bytes::new())
    }

    #[changed]
    fn hear(&self, _: &Applied<'_>) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    fn book(cx: &mut Master<'_>, id: &str, amount: i64) -> Result<Account, BankError> {
        let mut account: Account =
            cx.get(&ACCOUNTS, id).ok_or_else(|| BankError::NoAccount(id.to_owned()))?;
        if account.balance + amount < 0 {
            return Err(BankError::TooLittle(account.balance));
        }
        account.balance += amount;
        cx.put(&ACCOUNTS, id, &account);
        Ok(account)
    }
}

impl Saga for Transfer {
    type Answer = ();

    fn run(&self, steps: &mut Steps<'_>) -> Result<(), Stop> {
        let Transfer { from, to, amount } = self;
        let () = steps.run(&BOOKS, from, &-amount, |(): &()| *amount)?;
        steps.ask(&BOOKS, to, amount)
    }
}

async fn bank(folder: &Path, stores: Stores, heard: &Arc<AtomicU32>) -> (Node, Router<Bank>) {
    let mut node = Node::open(NodeSettings::new(folder)).await.unwrap();
    let settings = KeyspaceSettings { partitions: 4, stores, ..KeyspaceSettings::default() };
    let bank = node.keyspace_with("bank", settings, || Bank { heard: Arc::clone(heard) }).await.unwrap();
    node.start();
    (node, bank)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    for stores in [Stores::Memory, Stores::Disk] {
        let (folder, heard) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU32::new(0)));
        let (node, bank) = bank(folder.path(), stores, &heard).await;
        for id in ["ada", "ben", "carl"] {
            bank.open(id, "family".to_owned()).ask_with_retry().await.unwrap();
        }
        assert_eq!(bank.add("ada", 100).ask().await.unwrap().balance, 100);
        assert_eq!(bank.add("ada", -101).ask().await, Err(Failure::Handler(BankError::TooLittle(100))));
        bank.transfer("ada", "ben".to_owned(), 30).ask().await.unwrap();
        let partition = bank.partition("ada");
        let mut state = bank.watch_in(partition, TRANSFERS.store(), "ada", None).await.unwrap();
        while !bank.has_ended("ada").ask().await.unwrap() {
            state.watch.next().await.unwrap();
        }
        node.stop().await;
        assert_eq!(bank.account("ada").ask().await, Err(Failure::Unavailable));
        assert!(heard.load(Ordering::Relaxed) >= 6);

        let (node, again) = self::bank(folder.path(), stores, &heard).await;
        let account = |owner: &str, balance| Some(Account { owner: owner.to_owned(), balance });
        assert_eq!(again.account("ada").ask().await, Ok(account("family", 70)));
        assert_eq!(again.account("ben").ask().await, Ok(account("family", 30)));
        assert_eq!(again.account("eve").ask().await, Ok(None));
        assert_eq!(again.total().scatter(0, |sum, total| sum + total).await, Ok(100));
        assert!(again.owned("ada", "family".to_owned()).ask().await.unwrap().contains(&"ada".to_owned()));
        node.stop().await;
    }
}

#[tokio::test]
async fn a_folder_has_one_node_and_a_keyspace_one_number_of_partitions() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU32::new(0)));
    let (mut node, _bank) = bank(folder.path(), Stores::Memory, &heard).await;
    let second = Node::open(NodeSettings::new(folder.path())).await.unwrap_err();
    assert!(second.to_string().contains("in use by another process"), "{second}");
    let twice = node.keyspace("bank", || Bank { heard: Arc::default() }).await.err().unwrap();
    assert!(matches!(twice, NodeError::Twice(_)), "{twice}");
    node.stop().await;
    let mut node = Node::open(NodeSettings::new(folder.path())).await.unwrap();
    let other = node.keyspace("bank", || Bank { heard: Arc::default() }).await.err().unwrap();
    assert!(other.to_string().contains("partitions"), "{other}");
    node.stop().await;
}
