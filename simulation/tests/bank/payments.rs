//! Payments as sagas: money goes from one account to two others, and what becomes of it adds up.

use affinity_keyspace::{Destination, Master, Refused, Saga, SagaState, Sagas, Steps, Stop, Store};
use affinity_types::codec::{CodecError, Decode, Encode};
use bytes::Bytes;

use crate::bank::account;

/// What is in the accounts, if it is not [`AT_FIRST`].
pub(crate) const MONEY: Store<str, i64> = Store::new("money");
pub(crate) const PAYMENTS: Sagas<str, Payment> = Sagas::new("payments");
const BOOKS: Destination<str, Booking> = Destination::new("bank");

pub(crate) const AT_FIRST: i64 = 100;
const TOO_LITTLE: &str = "there is too little";
const CLOSED: &str = "it is closed";

/// An amount for each of two accounts, from a third; or from and to the same.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) from: u32,
    pub(crate) to: [u32; 2],
    pub(crate) amount: i64,
    /// Whether the last account is closed to it.
    pub(crate) closed: bool,
}

impl Encode for Payment {
    fn encode(&self, out: &mut Vec<u8>) {
        let numbers =
            [i64::from(self.from), self.to[0].into(), self.to[1].into(), self.amount, self.closed.into()];
        numbers.iter().for_each(|number| number.encode(out));
    }
}

impl Decode for Payment {
    fn decode(bytes: &[u8]) -> Result<Payment, CodecError> {
        let mut numbers = bytes.chunks_exact(8).map(|number| i64::decode(number).unwrap());
        let mut next = || numbers.next().ok_or_else(|| CodecError("it is cut short".into()));
        let mut account = || Ok::<_, CodecError>(u32::try_from(next()?).unwrap());
        let (from, to) = (account()?, [account()?, account()?]);
        Ok(Payment { from, to, amount: next()?, closed: next()? == 1 })
    }
}

/// An amount that is added to an account.
pub(crate) struct Booking {
    amount: i64,
    closed: bool,
}

impl Encode for Booking {
    fn encode(&self, out: &mut Vec<u8>) {
        self.amount.encode(out);
        out.push(self.closed.into());
    }
}

impl Decode for Booking {
    fn decode(bytes: &[u8]) -> Result<Booking, CodecError> {
        let (closed, amount) = bytes.split_last().ok_or_else(|| CodecError("it is empty".into()))?;
        Ok(Booking { amount: i64::decode(amount)?, closed: *closed == 1 })
    }
}

impl Booking {
    /// Books it, unless there is too little in the account.
    pub(crate) fn book(&self, cx: &mut Master<'_>, account: &str) -> Result<Bytes, Refused> {
        let money = cx.get(&MONEY, account).unwrap_or(AT_FIRST) + self.amount;
        if self.closed {
            return Err(Refused(CLOSED.into()));
        }
        if money < 0 {
            return Err(Refused(TOO_LITTLE.into()));
        }
        cx.put(&MONEY, account, &money);
        Ok(money.to_bytes())
    }
}

impl Saga for Payment {
    type Answer = i64;

    fn run(&self, steps: &mut Steps<'_>) -> Result<i64, Stop> {
        let amount = self.amount;
        let open = |amount| Booking { amount, closed: false };
        let left =
            steps.run(&BOOKS, account(self.from).as_str(), &open(-2 * amount), |_: &i64| open(2 * amount))?;
        steps.run(&BOOKS, account(self.to[0]).as_str(), &open(amount), |_: &i64| open(-amount))?;
        let last = Booking { amount, closed: self.closed };
        let _: i64 = steps.ask(&BOOKS, account(self.to[1]).as_str(), &last)?;
        Ok(left)
    }
}

/// What payments have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Payments {
    pub(crate) committed: u64,
    pub(crate) undone: u64,
    pub(crate) left: u64,
}

impl Payment {
    /// What has become of it changes accounts so, and is nothing else than what it may come to.
    pub(crate) fn settle(&self, state: &SagaState<i64>, money: &mut [i64], counts: &mut Payments) {
        let [first, last] = self.to.map(|to| to as usize);
        match state {
            SagaState::Committed(left) => {
                assert!(*left >= 0 && !self.closed, "{self:?}");
                money[self.from as usize] -= 2 * self.amount;
                money[first] += self.amount;
                money[last] += self.amount;
                counts.committed += 1;
            }
            SagaState::Compensated { reason, left: 0 } => {
                assert!(self.closed && reason == CLOSED || reason == TOO_LITTLE, "{reason}");
                counts.undone += 1;
            }
            // The first account has spent it meanwhile, and was let keep it.
            SagaState::Compensated { reason, left: 1 } => {
                assert_eq!(*reason, format!("{CLOSED}; then step 1 was not undone: {TOO_LITTLE}"));
                money[first] += self.amount;
                counts.left += 1;
            }
            other => panic!("a payment has not ended: {other:?}"),
        }
    }
}
