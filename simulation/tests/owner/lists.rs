//! The application of the simulation: lists that grow, so that an answer shows everything that came before it.

use affinity_keyspace::{Condition, Master, Partition, Store, View};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Epoch, Sequence, Version, varint};
use thiserror::Error;

pub(crate) struct Lists;

/// Keys to lists of the ids appended.
pub(crate) const LISTS: Store<str, Ids> = Store::new("lists");
/// A second store, which every append writes too: all changes of a message are one group.
const COUNTS: Store<str, u64> = Store::new("counts");

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids(pub(crate) Vec<u64>);

impl Encode for Ids {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
    }
}

impl Decode for Ids {
    fn decode(bytes: &[u8]) -> Result<Ids, CodecError> {
        let ids = bytes.chunks(8).map(|chunk| chunk.try_into().map(u64::from_be_bytes));
        ids.collect::<Result<_, _>>().map(Ids).map_err(|_| CodecError("a list of whole ids".into()))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) key: String,
    pub(crate) id: u64,
    /// Only if the list has this version.
    pub(crate) version: Option<Version>,
}

impl Encode for Append {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.id);
        self.key.encode(out);
    }
}

/// A list and the version it had before the command; a query's is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ids: Ids,
    pub(crate) version: Option<Version>,
}

impl Encode for Seen {
    fn encode(&self, out: &mut Vec<u8>) {
        let version = self.version.unwrap_or_default();
        varint::put(out, version.epoch.0);
        varint::put(out, version.sequence.0);
        self.ids.encode(out);
    }
}

impl Decode for Seen {
    fn decode(mut bytes: &[u8]) -> Result<Seen, CodecError> {
        let short = || CodecError("cut short".into());
        let epoch = Epoch(varint::take(&mut bytes).ok_or_else(short)?);
        let version = Version::new(epoch, Sequence(varint::take(&mut bytes).ok_or_else(short)?));
        Ok(Seen { ids: Ids::decode(bytes)?, version: Some(version) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the list has changed")]
    Changed,
    #[error("the stores disagree")]
    Torn,
}

impl Partition for Lists {
    const STORES: &'static [&'static str] = &["lists", "counts"];
    type Command = Append;
    type Query = String;
    type Answer = Seen;
    type Error = Refusal;

    fn command(&self, cx: &mut Master<'_>, append: &Append) -> Result<Seen, Refusal> {
        let key = append.key.as_str();
        let Ids(mut ids) = cx.get(&LISTS, key).unwrap_or_default();
        if cx.get(&COUNTS, key).unwrap_or(0) != ids.len() as u64 {
            return Err(Refusal::Torn);
        }
        ids.push(append.id);
        let ids = Ids(ids);
        let version = cx.version(&LISTS, key);
        match append.version {
            None => cx.put(&LISTS, key, &ids),
            Some(version) => {
                let condition = Condition::Version(version);
                cx.put_if(&LISTS, key, condition, &ids).map_err(|_| Refusal::Changed)?;
            }
        }
        cx.put(&COUNTS, key, &(ids.0.len() as u64));
        Ok(Seen { ids, version })
    }

    fn query(&self, cx: &View<'_>, key: &String) -> Result<Seen, Refusal> {
        let ids = cx.get(&LISTS, key.as_str()).unwrap_or_default();
        Ok(Seen { ids, version: cx.version(&LISTS, key.as_str()) })
    }
}
