//! A bank, release after release: its handlers stay, its records change.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use affinity_avro::Record;
use affinity_keyspace::{
    AnyStore, Applied, Destination, Incoming, Index, Indexed, Master, Partition, Refused, Store, View,
};
use affinity_types::codec::{Decode, Encode};

/// The key of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Record)]
#[avro(namespace = "bank")]
pub(crate) struct AccountId {
    pub(crate) branch: String,
    pub(crate) number: i64,
}

pub(crate) fn id(number: i64) -> AccountId {
    AccountId { branch: "mitte".to_owned(), number }
}

/// The first release.
pub(crate) mod first {
    use affinity_avro::Record;

    #[derive(Clone, Debug, PartialEq, Record)]
    #[avro(namespace = "bank")]
    pub(crate) struct Account {
        pub(crate) owner: String,
        pub(crate) balance: i32,
        pub(crate) limit: i32,
    }
}

/// The second: a field has come, one is wider, one is called otherwise, one has gone.
pub(crate) mod second {
    use affinity_avro::Record;

    #[derive(Clone, Debug, PartialEq, Record)]
    #[avro(namespace = "bank")]
    pub(crate) struct Account {
        pub(crate) currency: Option<String>,
        pub(crate) balance: i64,
        #[avro(alias = "owner")]
        pub(crate) holder: String,
    }
}

/// The third adds, and still knows what the first has called a field.
pub(crate) mod third {
    use affinity_avro::Record;

    #[derive(Clone, Debug, PartialEq, Record)]
    #[avro(namespace = "bank")]
    pub(crate) struct Account {
        pub(crate) currency: Option<String>,
        pub(crate) balance: i64,
        #[avro(alias = "owner")]
        pub(crate) holder: String,
        #[avro(default = 3)]
        pub(crate) rating: i32,
    }
}

/// One that no release should be: what is new has no default.
pub(crate) mod wrong {
    use affinity_avro::Record;

    #[derive(Clone, Debug, PartialEq, Record)]
    #[avro(namespace = "bank")]
    pub(crate) struct Account {
        pub(crate) balance: i64,
        pub(crate) iban: String,
    }
}

/// What all releases have in common.
pub(crate) trait AnyAccount: Record + Encode + Decode + Clone + Send + 'static {
    fn new(owner: &str, balance: i32) -> Self;
    fn owner(&self) -> String;
    fn balance(&self) -> i64;
    fn add(&mut self, amount: i32);
}

impl AnyAccount for first::Account {
    fn new(owner: &str, balance: i32) -> Self {
        first::Account { owner: owner.to_owned(), balance, limit: 0 }
    }

    fn owner(&self) -> String {
        self.owner.clone()
    }

    fn balance(&self) -> i64 {
        self.balance.into()
    }

    fn add(&mut self, amount: i32) {
        self.balance += amount;
    }
}

impl AnyAccount for second::Account {
    fn new(owner: &str, balance: i32) -> Self {
        second::Account { currency: None, balance: balance.into(), holder: owner.to_owned() }
    }

    fn owner(&self) -> String {
        self.holder.clone()
    }

    fn balance(&self) -> i64 {
        self.balance
    }

    fn add(&mut self, amount: i32) {
        self.balance += i64::from(amount);
    }
}

impl AnyAccount for third::Account {
    fn new(owner: &str, balance: i32) -> Self {
        third::Account { currency: None, balance: balance.into(), holder: owner.to_owned(), rating: 5 }
    }

    fn owner(&self) -> String {
        self.holder.clone()
    }

    fn balance(&self) -> i64 {
        self.balance
    }

    fn add(&mut self, amount: i32) {
        self.balance += i64::from(amount);
    }
}

impl AnyAccount for wrong::Account {
    fn new(_: &str, balance: i32) -> Self {
        wrong::Account { balance: balance.into(), iban: String::new() }
    }

    fn owner(&self) -> String {
        self.iban.clone()
    }

    fn balance(&self) -> i64 {
        self.balance
    }

    fn add(&mut self, amount: i32) {
        self.balance += i64::from(amount);
    }
}

/// The handlers, over the accounts of a release.
pub(crate) struct Bank<A> {
    heard: Heard,
    accounts: PhantomData<fn() -> A>,
}

/// Accounts and their balances, as the listener heard of them.
pub(crate) type Heard = Arc<Mutex<Vec<Result<(AccountId, Option<i64>), String>>>>;

impl<A: AnyAccount> Bank<A> {
    pub(crate) const ACCOUNTS: Store<AccountId, A> = Store::new("accounts");
    /// Plain keys and values beside them.
    pub(crate) const NOTES: Store<str, String> = Store::new("notes");
    /// A further store of records, by plain keys.
    pub(crate) const CLOSED: Store<str, A> = Store::new("closed");
    pub(crate) const BY_OWNER: Index<AccountId, A, String> =
        Index::new("by_owner", 1, &Self::ACCOUNTS, |account| vec![account.owner()]);
    const TO: Destination<AccountId, i32> = Destination::new("bank");

    pub(crate) fn new(heard: &Heard) -> Bank<A> {
        Bank { heard: Arc::clone(heard), accounts: PhantomData }
    }
}

/// What is asked of the bank.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Open(AccountId, String, i32),
    Add(AccountId, i32),
    /// Takes from one and sends to another, wherever that is.
    Pay(AccountId, AccountId, i32),
    Close(AccountId),
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{self:?}").as_bytes());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such account")]
pub(crate) struct NoAccount;

impl<A: AnyAccount> Bank<A> {
    fn add(cx: &mut Master<'_>, id: &AccountId, amount: i32) -> Result<i64, NoAccount> {
        let mut account = cx.get(&Self::ACCOUNTS, id).ok_or(NoAccount)?;
        account.add(amount);
        cx.put(&Self::ACCOUNTS, id, &account);
        // As the command has left it.
        Ok(cx.get(&Self::ACCOUNTS, id).ok_or(NoAccount)?.balance())
    }
}

impl<A: AnyAccount> Partition for Bank<A> {
    const STORES: &'static [&'static str] = &["accounts", "notes", "closed"];
    const RECORDS: &'static [&'static dyn AnyStore] = &[&Self::ACCOUNTS, &Self::CLOSED];
    const INDICES: &'static [&'static dyn Indexed] = &[&Self::BY_OWNER];
    const LISTENS: bool = true;
    type Command = Command;
    type Query = AccountId;
    type Answer = i64;
    type Error = NoAccount;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<i64, NoAccount> {
        match command {
            Command::Open(id, owner, balance) => {
                cx.put(&Self::ACCOUNTS, id, &A::new(owner, *balance));
                cx.put(&Self::NOTES, owner.as_str(), &"opened".to_owned());
                Ok((*balance).into())
            }
            Command::Add(id, amount) => Self::add(cx, id, *amount),
            Command::Pay(from, to, amount) => {
                let left = Self::add(cx, from, -amount)?;
                cx.emit(&Self::TO, to, amount);
                Ok(left)
            }
            Command::Close(id) => {
                let account = cx.get(&Self::ACCOUNTS, id).ok_or(NoAccount)?;
                cx.put(&Self::CLOSED, account.owner().as_str(), &account);
                cx.delete(&Self::ACCOUNTS, id);
                assert_eq!(cx.get(&Self::ACCOUNTS, id).map(|account| account.balance()), None);
                Ok(account.balance())
            }
        }
    }

    fn query(&self, cx: &View<'_>, id: &AccountId) -> Result<i64, NoAccount> {
        cx.get(&Self::ACCOUNTS, id).map(|account| account.balance()).ok_or(NoAccount)
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<bytes::Bytes, Refused> {
        Self::add(cx, &effect.key()?, effect.message()?)?;
        Ok(bytes::Bytes::new())
    }

    fn changed(&self, applied: &Applied<'_>) {
        if let Some(change) = applied.of(&Self::ACCOUNTS) {
            let change = change.map(|change| (change.key, change.new.map(|account| account.balance())));
            self.heard.lock().unwrap().push(change.map_err(|error| error.to_string()));
        }
    }
}
