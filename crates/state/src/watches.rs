//! Who watches which key.
//!
//! All watchers of a key share one cell with the newest change, so a change costs the cell one value and each watcher a
//! wake-up; a slow watcher finds the newest value when it comes, and costs nothing meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use affinity_memstore::StoreId;
use affinity_types::Version;
use bytes::Bytes;
use hashbrown::HashMap;
use thiserror::Error;

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

/// What the watchers of one key share. Most keys have one watcher and no events: for those it is small.
#[derive(Debug)]
struct Cell {
    state: Mutex<CellState>,
}

#[derive(Debug, Default)]
struct CellState {
    /// Counts changes and events of the key.
    position: u64,
    changed_at: u64,
    value: Option<Bytes>,
    version: Version,
    first: Option<Watcher>,
    more: Option<Box<More>>,
    ended: bool,
}

/// What only some keys have.
#[derive(Debug, Default)]
struct More {
    /// Events by position, oldest first, as long as somebody may want them.
    events: VecDeque<(u64, Bytes)>,
    /// Further watchers, one place each.
    watchers: Vec<Option<Watcher>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Watcher {
    /// The last position it was told.
    told: u64,
    waker: Option<Waker>,
}

impl Cell {
    fn state(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cell and wakes its watchers.
    fn tell(&self, change: impl FnOnce(&mut CellState)) {
        let mut state = self.state();
        change(&mut state);
        let wakers: Vec<Waker> = state.watchers_mut().filter_map(|watcher| watcher.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl CellState {
    fn watchers(&self) -> impl Iterator<Item = &Watcher> {
        let more = self.more.iter().flat_map(|more| &more.watchers);
        self.first.iter().chain(more.flatten())
    }

    fn watchers_mut(&mut self) -> impl Iterator<Item = &mut Watcher> {
        let more = self.more.iter_mut().flat_map(|more| &mut more.watchers);
        self.first.iter_mut().chain(more.flatten())
    }

    /// Gives a watcher a place: 0 is the first one's, the others follow.
    fn add(&mut self) -> u32 {
        let watcher = Watcher { told: self.position, waker: None };
        if self.first.is_none() {
            self.first = Some(watcher);
            return 0;
        }
        let more = self.more.get_or_insert_default();
        if let Some(index) = more.free.pop() {
            more.watchers[index as usize] = Some(watcher);
            return index + 1;
        }
        more.watchers.push(Some(watcher));
        u32::try_from(more.watchers.len()).expect("fewer watches than their limit")
    }

    fn place(&mut self, index: u32) -> &mut Option<Watcher> {
        match index.checked_sub(1) {
            None => &mut self.first,
            Some(index) => &mut self.more.as_mut().expect("a place among more").watchers[index as usize],
        }
    }

    fn watcher(&mut self, index: u32) -> &mut Watcher {
        self.place(index).as_mut().expect("a watch has its place until it is dropped")
    }

    fn remove(&mut self, index: u32) {
        *self.place(index) = None;
        if let (Some(index), Some(more)) = (index.checked_sub(1), &mut self.more) {
            more.free.push(index);
        }
        self.forget_events();
    }

    /// The next thing that the watcher at `index` was not told.
    fn next(&mut self, index: u32) -> Option<Update> {
        let told = self.watcher(index).told;
        let event = self.more.iter().flat_map(|more| &more.events).find(|(position, _)| *position > told);
        let changed = (self.changed_at > told).then_some(self.changed_at);
        let (position, update) = match (event, changed) {
            (Some((position, bytes)), changed) if changed.is_none_or(|at| *position < at) => {
                (*position, Update::Event(bytes.clone()))
            }
            (_, Some(at)) => (at, Update::Value { value: self.value.clone(), version: self.version }),
            _ => return None,
        };
        self.watcher(index).told = position;
        self.forget_events();
        Some(update)
    }

    /// Drops the events that everybody was told.
    fn forget_events(&mut self) {
        if self.more.as_ref().is_none_or(|more| more.events.is_empty()) {
            return;
        }
        let slowest = self.watchers().map(|watcher| watcher.told).min().unwrap_or(u64::MAX);
        let events = &mut self.more.get_or_insert_default().events;
        while events.front().is_some_and(|(position, _)| *position <= slowest) {
            events.pop_front();
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
        let mut state = self.cell.state();
        if let Some(update) = state.next(self.index) {
            return Poll::Ready(Ok(update));
        }
        if state.ended {
            return Poll::Ready(Err(WatchEnded));
        }
        match &mut state.watcher(self.index).waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
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
        self.cell.state().remove(self.index);
    }
}

/// So few watches are not worth a sweep.
const SWEEP_MIN: usize = 1024;

/// The watched keys of a partition.
#[derive(Debug)]
pub struct Watches {
    settings: WatchSettings,
    cells: HashMap<(StoreId, Bytes), Arc<Cell>>,
    /// Watches given out since the table was last swept of cells that nobody watches.
    since_sweep: usize,
    /// At how many of them it is swept again: twice as many as there were, or watching one key costs a sweep each.
    sweep_at: usize,
}

impl Watches {
    /// No watches yet.
    #[must_use]
    pub fn new(settings: WatchSettings) -> Watches {
        Watches { settings, cells: HashMap::new(), since_sweep: 0, sweep_at: SWEEP_MIN }
    }

    /// Watches a key whose value now has `version`: updates after that are told. `None` at the limit.
    pub fn watch(&mut self, store: StoreId, key: &Bytes, version: Version) -> Option<Watch> {
        if self.since_sweep >= self.settings.watches_max.min(self.sweep_at) {
            self.sweep();
        }
        if self.since_sweep >= self.settings.watches_max {
            return None;
        }
        self.since_sweep += 1;
        let cell = self.cells.entry((store, key.clone())).or_insert_with(|| {
            let state = CellState { version, ..CellState::default() };
            Arc::new(Cell { state: Mutex::new(state) })
        });
        let index = cell.state().add();
        Some(Watch { cell: Arc::clone(cell), index })
    }

    /// Forgets keys that nobody watches, and counts the watches there are.
    fn sweep(&mut self) {
        let mut count = 0;
        self.cells.retain(|_, cell| {
            let watchers = cell.state().watchers().count();
            count += watchers;
            watchers > 0
        });
        (self.since_sweep, self.sweep_at) = (count, 2 * count + SWEEP_MIN);
    }

    /// Whether anybody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Tells the watchers of a key its new value.
    pub fn tell(&self, store: StoreId, key: &Bytes, version: Version, value: Option<&Bytes>) {
        if self.cells.is_empty() {
            return;
        }
        if let Some(cell) = self.cells.get(&(store, key.clone())) {
            cell.tell(|state| {
                state.position += 1;
                (state.changed_at, state.version, state.value) = (state.position, version, value.cloned());
            });
        }
    }

    /// Tells the watchers of a key an event.
    pub fn send(&self, store: StoreId, key: &Bytes, event: &Bytes) {
        if let Some(cell) = self.cells.get(&(store, key.clone())) {
            cell.tell(|state| {
                state.position += 1;
                let position = state.position;
                let events = &mut state.more.get_or_insert_default().events;
                if events.len() >= self.settings.watch_events_max {
                    events.pop_front();
                }
                events.push_back((position, event.clone()));
            });
        }
    }

    /// Ends all watches: what was told last can still be taken.
    pub fn end_all(&mut self) {
        for (_, cell) in self.cells.drain() {
            cell.tell(|state| state.ended = true);
        }
        self.since_sweep = 0;
    }
}

impl Drop for Watches {
    /// Who watches learns that nobody tells any more, whatever the owner ended by.
    fn drop(&mut self) {
        self.end_all();
    }
}

#[cfg(test)]
mod tests {
    use affinity_types::{Epoch, Sequence};

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

    fn tell(watches: &Watches, sequence: u64, text: &'static str) {
        watches.tell(StoreId::MAIN, &KEY, version(sequence), Some(&Bytes::from_static(text.as_bytes())));
    }

    #[test]
    fn a_slow_watcher_finds_the_newest_value_and_events_in_their_place() {
        let mut watches = Watches::new(WatchSettings::default());
        let mut watch = watches.watch(StoreId::MAIN, &KEY, version(0)).unwrap();
        assert_eq!(poll(&mut watch), None);
        tell(&watches, 1, "one");
        watches.send(StoreId::MAIN, &KEY, &Bytes::from_static(b"first"));
        tell(&watches, 2, "two");
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
        tell(&watches, 1, "one");
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
        tell(&watches, 1, "one");
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
}
