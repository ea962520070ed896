//! A keyspace that passes messages on, keeps lists of what it has sent and what has come, and has accounts.

use affinity_keyspace::{
    AnySaga, Destination, Incoming, Master, NotResumed, Partition, Refused, Resume, SagaExists, Store, View,
};
use affinity_types::codec::{Decode, Encode};
use affinity_types::{EventTime, Key};
use bytes::Bytes;

use crate::payments::{AT_FIRST, Booking, MONEY, PAYMENTS, Payment};

pub(crate) const PARTITIONS: u32 = 3;

/// Lists by what they are lists of, and of which other partition.
const LISTS: Store<str, Bytes> = Store::new("lists");
const BANK: Destination<str, u64> = Destination::new("bank");

/// Numbers of this remainder are refused by who receives them.
const REFUSED: u64 = 3;
const KINDS: u64 = 5;

/// Sends number `id` from `from` to `to`.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) id: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) due: Option<EventTime>,
}

impl Send {
    pub(crate) fn is_refused(id: u64) -> bool {
        id % KINDS == REFUSED
    }

    pub(crate) fn asks(id: u64) -> bool {
        id % KINDS == REFUSED + 1
    }
}

/// A key that lives in a partition.
pub(crate) fn account(partition: u32) -> String {
    let names = (0..).map(|n| format!("a{n}"));
    let mut there = names.filter(|name| Key::new(name.to_bytes()).partition(PARTITIONS).0 == partition);
    there.next().unwrap()
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Send(Send),
    /// Begins a payment under an id.
    Pay(u64, Payment),
    /// Lets a payment of an account's partition leave what it is stuck at.
    Leave(u64, u32),
}

impl Ask {
    /// The partition that is asked.
    pub(crate) fn partition(&self) -> u32 {
        match self {
            Ask::Send(send) => send.from,
            Ask::Pay(_, payment) => payment.from,
            Ask::Leave(_, partition) => *partition,
        }
    }
}

impl Encode for Ask {
    fn encode(&self, out: &mut Vec<u8>) {
        let (Ask::Send(Send { id, .. }) | Ask::Pay(id, _) | Ask::Leave(id, _)) = self;
        id.encode(out);
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("{0}")]
    Exists(#[from] SagaExists),
    #[error("{0}")]
    NotResumed(#[from] NotResumed),
}

pub(crate) struct Bank;

fn add(cx: &mut Master<'_>, list: &str, id: u64) {
    let mut ids = Vec::from(cx.get(&LISTS, list).unwrap_or_default());
    ids.extend_from_slice(&id.to_be_bytes());
    cx.put(&LISTS, list, &Bytes::from(ids));
}

impl Partition for Bank {
    const STORES: &'static [&'static str] = &["lists", "money", "payments"];
    const SAGAS: &'static [&'static dyn AnySaga] = &[&PAYMENTS];
    type Command = Ask;
    type Query = String;
    type Answer = Bytes;
    type Error = BankError;

    fn command(&self, cx: &mut Master<'_>, ask: &Ask) -> Result<Bytes, BankError> {
        let Send { id, to, due, .. } = match ask {
            Ask::Send(send) => send,
            Ask::Pay(id, payment) => {
                cx.begin(&PAYMENTS, &id.to_string(), payment)?;
                return Ok(Bytes::new());
            }
            Ask::Leave(id, _) => {
                cx.resume(&PAYMENTS, &id.to_string(), Resume::Leave)?;
                return Ok(Bytes::new());
            }
        };
        let key = account(*to);
        // Others than effects write what effects wrote: compaction takes the records that those came with.
        let came = format!("came {to}");
        if let Some(ids) = cx.get(&LISTS, came.as_str()) {
            cx.put(&LISTS, came.as_str(), &ids);
        }
        match due {
            Some(due) => {
                add(cx, "delayed", *id);
                let effect = cx.emit_at(&BANK, key.as_str(), id, *due);
                // Some are cancelled at once, by the one who sent them.
                if id % 2 == 0 {
                    cx.cancel(&effect);
                }
            }
            None => {
                add(cx, &format!("sent {to}"), *id);
                if Send::asks(*id) {
                    cx.emit_asking(&BANK, key.as_str(), id, id);
                } else {
                    cx.emit(&BANK, key.as_str(), id);
                }
            }
        }
        Ok(Bytes::new())
    }

    fn query(&self, cx: &View<'_>, list: &String) -> Result<Bytes, BankError> {
        if let Some(account) = list.strip_prefix("money ") {
            return Ok(cx.get(&MONEY, account).unwrap_or(AT_FIRST).to_bytes());
        }
        if let Some(id) = list.strip_prefix("payment ") {
            return Ok(cx.get(&Store::<str, Bytes>::new("payments"), id).unwrap_or_default());
        }
        Ok(cx.get(&LISTS, list.as_str()).unwrap_or_default())
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        if let Ok(booking) = effect.message::<Booking>() {
            return booking.book(cx, &effect.key::<String>()?);
        }
        let id: u64 = effect.message()?;
        add(cx, &format!("came {}", effect.from.partition), id);
        if Send::is_refused(id) { Err(Refused("one in five".into())) } else { Ok((2 * id).to_bytes()) }
    }

    fn answered(&self, cx: &mut Master<'_>, answer: &Incoming<'_>) -> Result<(), Refused> {
        let (id, twice): (u64, u64) = (answer.tag()?, answer.message()?);
        assert_eq!(twice, 2 * id);
        add(cx, &format!("answered {}", answer.from.partition), id);
        Ok(())
    }

    fn refused(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<(), Refused> {
        let id: u64 = effect.message()?;
        add(cx, &format!("refused {}", effect.from.partition), id);
        Ok(())
    }
}

/// The numbers in a list.
pub(crate) fn ids(list: &Bytes) -> Vec<u64> {
    list.chunks_exact(8).map(|bytes| u64::decode(bytes).unwrap()).collect()
}
