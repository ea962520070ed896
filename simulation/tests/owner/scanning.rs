//! A client that scans, chunk by chunk, page by page or through a router: what it finds must have been there at one moment.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_keyspace::{
    Failure, Handle, KeyRange, KeyValue, Router, RouterParts, RouterSettings, Sleep, Store, Timer,
};
use affinity_types::codec::Decode;
use affinity_types::{Clock, EventTime, Version};

use crate::history::{History, Past};
use crate::lists::{FRESH, Ids, LISTS, Lists, Refusal, TRAILS, Trail};
use crate::world::{SKEW_MS, World};

/// A key, its version, and the ids in its value.
type Entry = (String, Version, Vec<u64>);
type Found = Result<Vec<Entry>, Failure<Refusal>>;

/// Which store is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Lists,
    Trails,
    Fresh,
}

/// A scan that was answered.
#[derive(Clone, Debug)]
pub(crate) struct ScanLog {
    of: Of,
    /// The first key of its range.
    from: &'static str,
    backward: bool,
    began: u64,
    /// When its first part may have been read, as every node's clock tells it: no earlier, and no later.
    times: (EventTime, EventTime),
    found: Vec<Entry>,
}

/// A scan under way.
pub(crate) struct Scanning {
    log: ScanLog,
    found: Pin<Box<dyn Future<Output = Found>>>,
}

/// Deadlines do not pass here.
struct Never;

impl Timer for Never {
    fn sleep_until(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// How a scan is asked for.
enum How {
    Chunks,
    Pages(usize),
    Router(Arc<dyn Clock>),
}

async fn scan<V: Decode>(
    handle: Handle<Lists>,
    store: Store<str, V>,
    range: KeyRange,
    how: How,
    ids: fn(&V) -> Vec<u64>,
) -> Found {
    let mut found = Vec::new();
    let mut take = |entries: Vec<KeyValue<String, V>>| {
        found.extend(entries.into_iter().map(|entry| (entry.key, entry.version, ids(&entry.value))));
    };
    match how {
        How::Chunks => {
            let mut scan = handle.scan(&store, range);
            while let Some(entries) = scan.next().await {
                take(entries?);
            }
        }
        How::Pages(size) => {
            let mut page = handle.first_page(&store, range, size).await?;
            while let Some(token) = page.next {
                take(page.entries);
                page = handle.next_page(&store, &token, size).await?;
            }
            take(page.entries);
        }
        How::Router(clock) => {
            let settings = RouterSettings::default();
            let parts = RouterParts { clock, timer: Arc::new(Never), client: 99, seed: 1, settings };
            let mut scan = Router::new(vec![handle], parts).scan(&store, &range, None);
            while let Some(entries) = scan.next().await {
                take(entries?);
            }
        }
    }
    Ok(found)
}

impl World {
    /// The client that scans goes on, or begins.
    pub(crate) fn scan(&mut self) {
        let Some(mut scanning) = self.scanning.take() else { return self.begin_scan() };
        match scanning.found.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.scanning = Some(scanning),
            Poll::Ready(Ok(found)) => {
                self.trace.note(format_args!("a scan finds {found:?}"));
                self.counts.scans += 1;
                // Clocks are no further ahead than this.
                let times = (scanning.log.times.0, self.event_time(SKEW_MS));
                self.history.scans.push(ScanLog { found, times, ..scanning.log });
            }
            Poll::Ready(Err(failure)) => {
                let expected =
                    matches!(failure, Failure::ScanExpired | Failure::Unavailable | Failure::Overloaded);
                assert!(expected, "{:?}: {failure:?}", scanning.log);
                self.trace.note(format_args!("a scan fails: {failure:?}"));
                self.counts.scans_failed += 1;
            }
        }
    }

    fn begin_scan(&mut self) {
        let Some((n, handle)) = self.somebody() else { return };
        let of = [Of::Lists, Of::Trails, Of::Fresh][self.random.index(3)];
        let (from, backward) = (["", "k", "k1"][self.random.index(3)], self.random.once_in(2));
        let keys = (Bound::Included(from), Bound::Unbounded);
        let range = if from == "k" { KeyRange::prefix("k") } else { KeyRange::keys::<str>(keys) };
        let range = if backward { range.backward() } else { range };
        let how = match self.random.below(3) {
            0 => How::Chunks,
            1 => How::Pages(1 + self.random.index(2)),
            _ => How::Router(Arc::clone(&self.nodes[n].clock) as Arc<dyn Clock>),
        };
        let began = self.time.micros();
        let times = (self.event_time(0), EventTime(i64::MAX));
        let log = ScanLog { of, from, backward, began, times, found: Vec::new() };
        self.trace.note(format_args!("a scan begins at node {n}: {log:?}"));
        let found: Pin<Box<dyn Future<Output = Found>>> = match of {
            Of::Lists => Box::pin(scan(handle, LISTS, range, how, |list: &Ids| list.0.clone())),
            Of::Trails => Box::pin(scan(handle, TRAILS, range, how, Trail::ids)),
            Of::Fresh => Box::pin(scan(handle, FRESH, range, how, |id| vec![*id])),
        };
        self.scanning = Some(Scanning { log, found });
        self.scan();
    }

    /// True time as wall clocks tell it that are ahead by so much.
    fn event_time(&self, ahead_ms: u64) -> EventTime {
        EventTime(1_700_000_000_000).plus_ms(self.time.micros() / 1000 + ahead_ms)
    }
}

impl ScanLog {
    /// Holds it against the past of each key: there must be a moment at which all of it was so, and no more.
    pub(crate) fn check(&self, pasts: &BTreeMap<&str, Past<'_>>, history: &History) {
        let sorted = |a: &Entry, b: &Entry| if self.backward { a.0 > b.0 } else { a.0 < b.0 };
        assert!(self.found.is_sorted_by(sorted), "out of order: {self:?}");
        let outside = self.found.iter().find(|(key, ..)| key.as_str() < self.from);
        assert_eq!(outside, None, "{self:?}");
        let in_range = pasts.iter().filter(|(key, _)| **key >= self.from);
        let keys: Vec<_> =
            in_range.map(|(key, past)| (*key, past, history.before(key, self.began))).collect();
        let known =
            |(key, ..): &&Entry| keys.iter().any(|(other, ..)| other == key) || key.starts_with("echo ");
        assert!(self.found.iter().all(|entry| known(&entry)), "a key that never was: {self:?}");
        let versions = keys.iter().flat_map(|(_, past, _)| past.versions.iter().copied());
        let holds = |moment: Version| {
            keys.iter().all(|(key, past, (seen, gone))| {
                let found = self.found.iter().find(|(other, ..)| other == key);
                let place = past.place_at(moment);
                place >= *seen && self.is_so(past, place, *gone, found)
            })
        };
        let mut moments = versions.chain([Version::default()]);
        assert!(moments.any(holds), "there was no such moment: {self:?}");
    }

    /// Whether a key can have been found so at a place of its past.
    fn is_so(&self, past: &Past<'_>, place: usize, gone: usize, found: Option<&Entry>) -> bool {
        let Some(last) = place.checked_sub(1).map(|last| &past.trail.0[last]) else { return found.is_none() };
        let ids = match self.of {
            Of::Trails => past.trail.ids()[..place].to_vec(),
            Of::Lists => past.trail.list_at(place).map_or(Vec::new(), |list| list.0),
            Of::Fresh if last.deletes || found.is_none() && last.expires <= self.times.1 => Vec::new(),
            // It had not expired when the scan began, for nobody.
            Of::Fresh if place <= gone || last.expires <= self.times.0 => return found.is_none(),
            Of::Fresh => vec![last.id],
        };
        match found {
            None => ids.is_empty(),
            Some((_, version, value)) => *version == past.versions[place - 1] && *value == ids,
        }
    }
}
