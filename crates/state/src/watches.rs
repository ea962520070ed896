//! Who watches which key.
//!
//! All watchers of a key share one cell with the newest change, so a change costs the cell one value and each watcher a
//! wake-up; a slow watcher finds the newest value when it comes, and costs nothing meanwhile. What everybody was told is
//! kept no longer. A cell is removed from the table by the table's owner, to whom the last watcher leaves it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use affinity_memstore::StoreId;
use affinity_types::Version;
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use thiserror::Error;

use crate::IndexUpdate;
use crate::indices::{is_index, split_entry};

/// Limits of watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// Most watches of one partition; a further one is refused. Default 1 000 000.
    pub watches_max: usize,
    /// Most events of one key that wait for a slow watcher; at the limit the oldest is dropped. Default 64.
    pub watch_events_max: usize,
}

impl Default for WatchSettings {
    fn default() -> WatchSettings {
        WatchSettings { watches_max: 1_000_000, watch_events_max: 64 }
    }
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The newest value of the key; `None` if there is none. Versions rise from one to the next; some may be left out.
    Value {
        /// The value.
        value: Option<Bytes>,
        /// Its version; of a deletion, that of the group that deleted.
        version: Version,
    },
    /// An event that a handler sent to the watchers of the key.
    Event(Bytes),
}

/// The partition is not led from here any more: watch again wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the partition is not served from here any more")]
pub struct WatchEnded;

/// What the watchers of one key share. Most keys have one watcher, who was told everything: for those it is small.
#[derive(Debug)]
struct Cell {
    shared: Arc<Shared>,
    key: Box<[u8]>,
    /// Half of the hash of store and key, so that a table that grows need not look at keys.
    hash: u32,
    store: StoreId,
    state: Mutex<CellState>,
}

/// What the watches of a partition share with their table.
#[derive(Debug, Default)]
struct Shared {
    /// How many watches there are.
    count: AtomicUsize,
    /// Cells whose last watcher has gone; one may be watched again since, and may be here twice.
    left: Mutex<Vec<Arc<Cell>>>,
}

#[derive(Debug)]
struct CellState {
    /// The newest version that was told, or that the value had when the first of the watches began.
    version: Version,
    /// Counts changes and events of the key.
    position: u64,
    first: Watcher,
    more: Option<Box<More>>,
    ended: bool,
}

/// What only some keys have, and only at times.
#[derive(Debug, Default)]
struct More {
    /// How many watchers were not told everything. What follows up to `watchers` is kept for them alone.
    behind: usize,
    changed_at: u64,
    value: Option<Bytes>,
    /// Oldest first, as long as somebody may want them.
    events: VecDeque<Event>,
    /// Further watchers, one place each.
    watchers: Vec<Watcher>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Event {
    position: u64,
    /// How many watchers it is still to be told.
    behind: usize,
    bytes: Bytes,
}

/// A watcher, or a place for one.
#[derive(Debug)]
struct Watcher {
    /// The last position it was told.
    told: u64,
    waker: Option<Waker>,
}

impl Watcher {
    /// A position that is never reached. An `Option` would take as much again as the position.
    const NOBODY: Watcher = Watcher { told: u64::MAX, waker: None };

    fn is_somebody(&self) -> bool {
        self.told != Watcher::NOBODY.told
    }
}

impl Shared {
    fn left(&self) -> MutexGuard<'_, Vec<Arc<Cell>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_left(&self) -> Option<Arc<Cell>> {
        let mut left = self.left();
        let cell = left.pop();
        if left.is_empty() && left.capacity() > LEFT_KEPT {
            *left = Vec::new();
        }
        cell
    }
}

impl Cell {
    fn state(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_of(&self, store: StoreId, key: &[u8]) -> bool {
        self.store == store && *self.key == *key
    }

    fn end(&self) {
        self.tell(|state| {
            state.ended = true;
            true
        });
    }

    /// Changes the cell, and wakes its watchers if they have something to take then.
    fn tell(&self, change: impl FnOnce(&mut CellState) -> bool) {
        let mut state = self.state();
        if !change(&mut state) {
            return;
        }
        let wakers: Vec<Waker> = state.watchers_mut().filter_map(|watcher| watcher.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl CellState {
    fn new(version: Version) -> CellState {
        CellState { version, position: 0, first: Watcher::NOBODY, more: None, ended: false }
    }

    fn watchers_mut(&mut self) -> impl Iterator<Item = &mut Watcher> {
        let more = self.more.iter_mut().flat_map(|more| &mut more.watchers);
        std::iter::once(&mut self.first).chain(more)
    }

    /// How many watch.
    fn count(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| more.watchers.len() - more.free.len());
        usize::from(self.first.is_somebody()) + more
    }

    /// Gives a watcher a place: 0 is the first one's, the others follow.
    fn add(&mut self) -> u32 {
        let watcher = Watcher { told: self.position, waker: None };
        if !self.first.is_somebody() {
            self.first = watcher;
            return 0;
        }
        let more = self.more.get_or_insert_default();
        if let Some(index) = more.free.pop() {
            more.watchers[index as usize] = watcher;
            return index + 1;
        }
        more.watchers.push(watcher);
        u32::try_from(more.watchers.len()).expect("fewer watches than their limit")
    }

    /// A watcher's place, which it has until it is removed.
    fn place(&mut self, index: u32) -> &mut Watcher {
        match index.checked_sub(1) {
            None => &mut self.first,
            Some(index) => &mut self.more.as_mut().expect("a place among more").watchers[index as usize],
        }
    }

    /// Takes a watcher's place back. The waker is to be dropped when the cell is no longer locked: with it a task may end
    /// that has a watch of the same key.
    fn remove(&mut self, index: u32) -> Option<Waker> {
        let Watcher { told, waker } = std::mem::replace(self.place(index), Watcher::NOBODY);
        if let Some(more) = &mut self.more {
            more.free.extend(index.checked_sub(1));
            if told < self.position {
                more.behind -= 1;
                let from = more.events.partition_point(|event| event.position <= told);
                more.events.range_mut(from..).for_each(|event| event.behind -= 1);
            }
        }
        self.tidy();
        waker
    }

    /// What is told at the next position is told to everybody who watches now; `None` if nobody does.
    fn news(&mut self) -> Option<(u64, &mut More)> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        self.position += 1;
        let more = self.more.get_or_insert_default();
        more.behind = count;
        Some((self.position, more))
    }

    /// Whether there was anybody to be told a change that is news.
    fn change(&mut self, version: Version, value: Option<&Bytes>) -> bool {
        if version <= self.version {
            return false;
        }
        let Some((position, more)) = self.news() else { return false };
        (more.changed_at, more.value) = (position, value.cloned());
        self.version = version;
        true
    }

    /// Whether there was anybody to be told an event.
    fn event(&mut self, bytes: &Bytes, most: usize) -> bool {
        let Some((position, more)) = self.news() else { return false };
        if more.events.len() >= most {
            more.events.pop_front();
        }
        more.events.push_back(Event { position, behind: more.behind, bytes: bytes.clone() });
        true
    }

    /// The next thing that the watcher at `index` was not told, and how many it was not told before it.
    fn next(&mut self, index: u32) -> Option<(u64, Update)> {
        let (told, newest, version) = (self.place(index).told, self.position, self.version);
        if told == newest {
            return None;
        }
        let more = self.more.as_mut().expect("news are kept until everybody was told them");
        let next = more.events.partition_point(|event| event.position <= told);
        let changed_at = Some(more.changed_at).filter(|at| *at > told);
        let event = more.events.get_mut(next).filter(|event| changed_at.is_none_or(|at| event.position < at));
        let (position, update) = match event {
            Some(event) => {
                event.behind -= 1;
                (event.position, Update::Event(event.bytes.clone()))
            }
            None => (more.changed_at, Update::Value { value: more.value.clone(), version }),
        };
        more.behind -= usize::from(position == newest);
        self.place(index).told = position;
        self.tidy();
        Some((position - told - 1, update))
    }

    /// Drops what nobody wants any more.
    fn tidy(&mut self) {
        let Some(more) = &mut self.more else { return };
        while more.events.pop_front_if(|event| event.behind == 0).is_some() {}
        if more.behind > 0 {
            return;
        }
        if more.watchers.len() == more.free.len() {
            self.more = None;
        } else {
            (more.value, more.events) = (None, VecDeque::new());
        }
    }
}

/// A watch of one key. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    cell: Arc<Cell>,
    index: u32,
}

impl Watch {
    /// The next update; pending until there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchEnded`], and nothing after it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Update, WatchEnded>> {
        self.poll_counted(cx).map_ok(|(_, update)| update)
    }

    /// The same, with the number of updates that were left out before it.
    pub(crate) fn poll_counted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(u64, Update), WatchEnded>> {
        let mut state = self.cell.state();
        if let Some(update) = state.next(self.index) {
            return Poll::Ready(Ok(update));
        }
        if state.ended {
            return Poll::Ready(Err(WatchEnded));
        }
        let waker = &mut state.place(self.index).waker;
        let known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        let before = if known { None } else { waker.replace(cx.waker().clone()) };
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// Waits for the next update.
    ///
    /// # Errors
    /// As [`poll_next`](Watch::poll_next).
    pub async fn next(&mut self) -> Result<Update, WatchEnded> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Cell { shared, .. } = &*self.cell;
        let mut state = self.cell.state();
        let waker = state.remove(self.index);
        // After the end nobody would take it from there.
        if !state.ended && state.count() == 0 {
            shared.left().push(Arc::clone(&self.cell));
        }
        drop(state);
        drop(waker);
        shared.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Cells that nobody watches are taken from the table so many at a time, with each watch that begins and each change: more
/// than one, or dropped watches would not make room, and few, since the owner has others to serve.
const CELLS_AT_ONCE: usize = 8;

/// Most updates of an index key that wait for a slow watcher: one that comes later has missed some.
pub const INDEX_UPDATES_MAX: usize = 1024;

/// Room for so many cells is kept for the next ones that are left.
const LEFT_KEPT: usize = 1024;

/// The watched keys of a partition.
#[derive(Debug)]
pub struct Watches {
    settings: WatchSettings,
    shared: Arc<Shared>,
    hasher: DefaultHashBuilder,
    cells: HashTable<Arc<Cell>>,
}

impl Watches {
    /// No watches yet.
    #[must_use]
    pub fn new(settings: WatchSettings) -> Watches {
        Watches {
            settings,
            shared: Arc::default(),
            hasher: DefaultHashBuilder::default(),
            cells: HashTable::new(),
        }
    }

    /// Watches a key whose value now has `version`: updates after that are told. `None` at the limit.
    pub fn watch(&mut self, store: StoreId, key: &Bytes, version: Version) -> Option<Watch> {
        self.make_room();
        if self.shared.count.load(Ordering::Relaxed) >= self.settings.watches_max {
            return None;
        }
        self.shared.count.fetch_add(1, Ordering::Relaxed);
        let hash = self.hash(store, key);
        if let Some(cell) = self.cells.find(spread(hash), |cell| cell.is_of(store, key)) {
            let mut state = cell.state();
            if state.count() == 0 {
                state.version = version;
            }
            let index = state.add();
            drop(state);
            return Some(Watch { cell: Arc::clone(cell), index });
        }
        let mut state = CellState::new(version);
        let index = state.add();
        let (shared, key) = (Arc::clone(&self.shared), Box::from(&key[..]));
        let cell = Arc::new(Cell { shared, key, hash, store, state: Mutex::new(state) });
        self.cells.insert_unique(spread(hash), Arc::clone(&cell), |cell| spread(cell.hash));
        Some(Watch { cell, index })
    }

    /// Forgets some keys that nobody watches any more.
    fn make_room(&mut self) {
        for _ in 0..CELLS_AT_ONCE {
            let Some(left) = self.shared.take_left() else { return };
            if left.state().count() > 0 {
                continue;
            }
            if let Ok(entry) = self.cells.find_entry(spread(left.hash), |cell| Arc::ptr_eq(cell, &left)) {
                entry.remove();
            }
        }
    }

    /// Whether anybody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Tells the watchers of a key its new value.
    pub fn tell(&mut self, store: StoreId, key: &Bytes, version: Version, value: Option<&Bytes>) {
        if self.cells.is_empty() {
            return;
        }
        self.make_room();
        if let Some(cell) = self.cell(store, key) {
            cell.tell(|state| state.change(version, value));
        }
    }

    /// Tells the watchers of a key an event.
    pub fn send(&self, store: StoreId, key: &Bytes, event: &Bytes) {
        if let Some(cell) = self.cell(store, key) {
            cell.tell(|state| state.event(event, self.settings.watch_events_max));
        }
    }

    /// Tells the watchers of an index key, whose cell has the prefix of its entries, that one comes or goes.
    pub fn tell_entry(&self, index: StoreId, entry: &[u8], enters: bool) {
        let Some((prefix, key)) = split_entry(entry).filter(|_| !self.cells.is_empty()) else { return };
        if let Some(cell) = self.cell(index, prefix) {
            let event = IndexUpdate::encode(enters, key);
            cell.tell(|state| state.event(&event, INDEX_UPDATES_MAX));
        }
    }

    /// Ends the watches of index keys, of which not everything can be told.
    pub fn end_indices(&mut self) {
        self.cells.retain(|cell| {
            if is_index(cell.store) {
                cell.end();
            }
            !is_index(cell.store)
        });
    }

    /// Ends all watches: what was told last can still be taken.
    pub fn end_all(&mut self) {
        for cell in std::mem::take(&mut self.cells) {
            cell.end();
        }
        // Those that go on to exist belong to nobody's table, and no longer count.
        std::mem::take(&mut self.shared).left().clear();
    }

    fn cell(&self, store: StoreId, key: &[u8]) -> Option<&Arc<Cell>> {
        if self.cells.is_empty() {
            return None;
        }
        self.cells.find(spread(self.hash(store, key)), |cell| cell.is_of(store, key))
    }

    fn hash(&self, store: StoreId, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one((store, key));
        u32::try_from(hash >> u32::BITS).expect("half of it")
    }
}

impl Drop for Watches {
    /// Who watches learns that nobody tells any more, whatever the owner ended by.
    fn drop(&mut self) {
        self.end_all();
    }
}

/// A hash for the table, which looks at both ends of it.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << u32::BITS | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use affinity_types::{Epoch, Sequence};
    use proptest::prelude::*;

    use super::*;

    fn version(sequence: u64) -> Version {
        Version::new(Epoch(1), Sequence(sequence))
    }

    fn poll(watch: &mut Watch) -> Option<Result<Update, WatchEnded>> {
        match watch.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(update) => Some(update),
            Poll::Pending => None,
        }
    }

    fn value(sequence: u64, text: &'static str) -> Update {
        Update::Value { value: Some(Bytes::from_static(text.as_bytes())), version: version(sequence) }
    }

    const KEY: Bytes = Bytes::from_static(b"k");

    fn tell(watches: &mut Watches, sequence: u64, text: &'static str) {
        watches.tell(StoreId::MAIN, &KEY, version(sequence), Some(&Bytes::from_static(text.as_bytes())));
    }

    #[test]
    fn a_slow_watcher_finds_the_newest_value_and_events_in_their_place() {
        let mut watches = Watches::new(WatchSettings::default());
        let mut watch = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        assert_eq!(poll(&mut watch), None);
        tell(&mut watches, 1, "one");
        watches.send(StoreId::MAIN, &KEY, &Bytes::from_static(b"first"));
        tell(&mut watches, 2, "two");
        watches.send(StoreId::MAIN, &KEY, &Bytes::from_static(b"second"));
        assert_eq!(poll(&mut watch), Some(Ok(Update::Event(Bytes::from_static(b"first")))));
        assert_eq!(poll(&mut watch), Some(Ok(value(2, "two"))));
        assert_eq!(poll(&mut watch), Some(Ok(Update::Event(Bytes::from_static(b"second")))));
        assert_eq!(poll(&mut watch), None);
    }

    #[test]
    fn a_later_watcher_is_told_only_what_comes_after_it() {
        let mut watches = Watches::new(WatchSettings::default());
        let mut early = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        tell(&mut watches, 1, "one");
        let mut late = watches.watch(StoreId::MAIN, &KEY, version(1)).unwrap();
        assert_eq!(poll(&mut late), None);
        assert_eq!(poll(&mut early), Some(Ok(value(1, "one"))));
        drop(early);
        watches.tell(StoreId::MAIN, &KEY, version(2), None);
        assert_eq!(poll(&mut late), Some(Ok(Update::Value { value: None, version: version(2) })));
    }

    #[test]
    fn ending_tells_what_is_left_and_then_ends() {
        let mut watches = Watches::new(WatchSettings::default());
        let mut watch = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        tell(&mut watches, 1, "one");
        watches.end_all();
        assert_eq!(poll(&mut watch), Some(Ok(value(1, "one"))));
        assert_eq!(poll(&mut watch), Some(Err(WatchEnded)));
        assert!(watches.is_empty());
    }

    #[test]
    fn limits_hold_and_dropped_watches_make_room() {
        let settings = WatchSettings { watches_max: 2, watch_events_max: 2 };
        let mut watches = Watches::new(settings);
        let one = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        let mut two = watches.watch(StoreId::MAIN, &Bytes::from_static(b"l"), version(0)).unwrap();
        assert!(watches.watch(StoreId::MAIN, &KEY, version(0)).is_none());
        drop(one);
        assert!(watches.watch(StoreId::MAIN, &KEY, version(0)).is_some());
        for event in [&b"1"[..], b"2", b"3"] {
            watches.send(StoreId::MAIN, &Bytes::from_static(b"l"), &Bytes::from_static(event));
        }
        assert_eq!(
            poll(&mut two),
            Some(Ok(Update::Event(Bytes::from_static(b"2")))),
            "the oldest was dropped"
        );
    }

    #[test]
    fn what_is_no_newer_is_not_told() {
        let mut watches = Watches::new(WatchSettings::default());
        let mut watch = watches.watch(StoreId::MAIN, &KEY, version(1)).unwrap();
        tell(&mut watches, 1, "one");
        assert_eq!(poll(&mut watch), None);
        tell(&mut watches, 3, "three");
        tell(&mut watches, 2, "two");
        assert_eq!(poll(&mut watch), Some(Ok(value(3, "three"))));
        assert_eq!(poll(&mut watch), None);
    }

    #[test]
    fn a_refused_watch_leaves_the_table_as_it_was() {
        let mut watches = Watches::new(WatchSettings { watches_max: 3, ..WatchSettings::default() });
        let keys: Vec<Bytes> = (0..9u8).map(|n| Bytes::copy_from_slice(&[n])).collect();
        let mut kept: Vec<Watch> =
            keys[..3].iter().map(|key| watches.watch(StoreId::MAIN, key, version(0)).unwrap()).collect();
        for key in &keys {
            assert!(watches.watch(StoreId::MAIN, key, version(0)).is_none());
        }
        assert_eq!(watches.cells.len(), 3);
        kept.pop();
        assert!(watches.watch(StoreId::MAIN, &keys[8], version(0)).is_some(), "at once");
        assert!(watches.watch(StoreId::MAIN, &keys[7], version(0)).is_some(), "and again");
    }

    #[test]
    fn keys_that_nobody_watches_leave_the_table_few_at_a_time() {
        const MANY: usize = 1000;
        let mut watches = Watches::new(WatchSettings::default());
        let key = |n: usize| Bytes::from(n.to_string());
        let mut watch = |n| watches.watch(StoreId::MAIN, &key(n), version(0)).unwrap();
        let all: Vec<Watch> = (0..MANY).map(&mut watch).collect();
        // One key is watched again before its turn, twice, and one is left a second time.
        drop(all);
        let mut again = watch(0);
        drop(watch(0));
        let twice = watch(1);
        drop((watch(1), twice));
        assert!(watches.cells.len() >= MANY - 5 * CELLS_AT_ONCE, "bounded by what was asked");
        for sequence in 1..=MANY as u64 {
            watches.tell(StoreId::MAIN, &key(0), version(sequence), None);
        }
        assert_eq!(watches.cells.len(), 1);
        assert_eq!(poll(&mut again), Some(Ok(Update::Value { value: None, version: version(MANY as u64) })));
        drop(again);
        watches.tell(StoreId::MAIN, &KEY, version(1), None);
        assert!(watches.is_empty());
    }

    #[test]
    fn watches_that_outlive_their_table_free_its_cells() {
        let mut watches = Watches::new(WatchSettings::default());
        let watch = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        let cell = Arc::downgrade(&watch.cell);
        let left = watches.watch(StoreId::MAIN, &Bytes::from_static(b"l"), version(0)).unwrap();
        let left_cell = Arc::downgrade(&left.cell);
        drop(left);
        drop(watches);
        assert!(left_cell.upgrade().is_none());
        drop(watch);
        assert!(cell.upgrade().is_none());
    }

    #[test]
    fn an_idle_watch_takes_no_more_than_its_cell() {
        // The counters before it are the Arc's. Up to 128 bytes most allocators have sizes 16 bytes apart.
        assert!(16 + size_of::<Cell>() <= 120, "{}", size_of::<Cell>());
        let mut watches = Watches::new(WatchSettings::default());
        let mut watch = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        tell(&mut watches, 1, "one");
        watches.send(StoreId::MAIN, &KEY, &Bytes::from_static(b"event"));
        assert!(watch.cell.state().more.is_some());
        while poll(&mut watch).is_some() {}
        assert!(watch.cell.state().more.is_none(), "what everybody was told is kept no longer");
    }

    /// What is told to watchers, kept as plainly as can be.
    #[derive(Default)]
    struct Model {
        told: Vec<(u64, Update)>,
        watchers: Vec<Option<(u64, Watch)>>,
        position: u64,
    }

    const EVENTS_MAX: usize = 3;

    impl Model {
        /// An update is kept while somebody is to be told it: of values the newest, of events the newest few.
        fn tell(&mut self, update: Update) {
            self.position += 1;
            self.forget();
            let is_value = matches!(update, Update::Value { .. });
            let alike = |told: &Update| matches!(told, Update::Value { .. }) == is_value;
            let most = if is_value { 1 } else { EVENTS_MAX };
            if self.told.iter().filter(|(_, told)| alike(told)).count() >= most {
                let oldest = self.told.iter().position(|(_, told)| alike(told)).unwrap();
                self.told.remove(oldest);
            }
            self.told.push((self.position, update));
            self.forget();
        }

        fn forget(&mut self) {
            let slowest = self.watchers.iter().flatten().map(|(told, _)| *told).min().unwrap_or(u64::MAX);
            self.told.retain(|(position, _)| *position > slowest);
        }

        fn poll(&mut self, n: usize) {
            let Some((told, watch)) = self.watchers.get_mut(n).and_then(Option::as_mut) else { return };
            let expected = self.told.iter().find(|(position, _)| position > told).cloned();
            *told = expected.as_ref().map_or(*told, |(position, _)| *position);
            assert_eq!(poll(watch), expected.map(|(_, update)| Ok(update)));
            self.forget();
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Watch,
        Drop(usize),
        Change,
        Delete,
        Event,
        Poll(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => Just(Step::Watch),
            1 => (0usize..8).prop_map(Step::Drop),
            2 => Just(Step::Change),
            1 => Just(Step::Delete),
            3 => Just(Step::Event),
            6 => (0usize..8).prop_map(Step::Poll),
        ]
    }

    #[test]
    fn watchers_are_told_what_their_model_says() {
        let settings = WatchSettings { watch_events_max: EVENTS_MAX, ..WatchSettings::default() };
        proptest!(ProptestConfig::with_cases(1000), |(steps in prop::collection::vec(step(), 1..80))| {
            let mut watches = Watches::new(settings.clone());
            let mut model = Model::default();
            for (n, step) in (1u64..).zip(steps) {
                let bytes = Bytes::from(n.to_string());
                match step {
                    Step::Watch => {
                        let watch = watches.watch(StoreId::MAIN, &KEY, version(n)).unwrap();
                        model.watchers.push(Some((model.position, watch)));
                    }
                    Step::Drop(n) => {
                        model.watchers.get_mut(n).map(Option::take);
                        model.forget();
                    }
                    Step::Change | Step::Delete => {
                        let value = matches!(step, Step::Change).then_some(bytes);
                        watches.tell(StoreId::MAIN, &KEY, version(n), value.as_ref());
                        model.tell(Update::Value { value, version: version(n) });
                    }
                    Step::Event => {
                        watches.send(StoreId::MAIN, &KEY, &bytes);
                        model.tell(Update::Event(bytes));
                    }
                    Step::Poll(n) => model.poll(n),
                }
            }
            let kept = watches.cells.iter().filter_map(|cell| cell.state().more.as_ref().map(|m| m.events.len()));
            prop_assert_eq!(kept.sum::<usize>(), model.told.iter().filter(|(_, u)| matches!(u, Update::Event(_))).count());
        });
    }
}
