//! Changes as a listener hears them: one by one, in the order of the log.

use affinity_memstore::StoreId;
use affinity_types::{EventTime, Version};
use bytes::Bytes;
use hashbrown::HashMap;

use crate::{PendingValue, Result, State};

/// A change that was applied. Repairs are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The store.
    pub store: StoreId,
    /// The key in it.
    pub key: Bytes,
    /// What was there.
    pub old: Option<HeardValue>,
    /// What is there now; `None` after a deletion.
    pub new: Option<HeardValue>,
    /// Version of the group that changed it.
    pub version: Version,
    /// Timestamp of that group.
    pub time: EventTime,
}

/// A value and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardValue {
    /// The value.
    pub bytes: Bytes,
    /// From when on it no longer counts, if ever.
    pub expires: Option<EventTime>,
}

impl HeardValue {
    pub(crate) fn of(change: &PendingValue) -> Option<HeardValue> {
        let PendingValue { value, expires, .. } = change;
        value.clone().map(|bytes| HeardValue { bytes, expires: *expires })
    }
}

impl State {
    /// From now on changes are kept for [`take_heard`](State::take_heard).
    pub fn listen(&mut self) {
        self.heard.get_or_insert_default();
    }

    /// What was applied since this was asked last, in the order of the log.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        self.heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Completes changes of a batch that is still to be applied by what was there before each.
    pub(crate) fn recall(&self, mut heard: Vec<Heard>) -> Result<Vec<Heard>> {
        let mut last: HashMap<(StoreId, Bytes), usize> = HashMap::new();
        for at in 0..heard.len() {
            let place = (heard[at].store, heard[at].key.clone());
            heard[at].old = match last.get(&place) {
                Some(before) => heard[*before].new.clone(),
                None => self.get(place.0, &place.1)?.map(|value| {
                    let expires = value.expires();
                    HeardValue { bytes: value.into_bytes(), expires }
                }),
            };
            last.insert(place, at);
        }
        Ok(heard)
    }
}
