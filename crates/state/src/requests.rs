//! The window of request ids: a retry gets the first answer.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use affinity_types::{EventTime, Offset, Request, RequestId};
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

/// How long and how many requests are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSettings {
    /// How long, in milliseconds by the log's time. Not longer than the log keeps ids (`Cleanup::Compact::request_window`, on
    /// Kafka `min.compaction.lag.ms`). Default 10 minutes.
    pub request_window_ms: u64,
    /// How many. Default 100 000.
    pub request_window_entries: usize,
    /// How far a sender's clock may be ahead of the owner's, in milliseconds. Default 5 s.
    pub request_skew_max_ms: u64,
}

impl Default for RequestSettings {
    fn default() -> RequestSettings {
        RequestSettings {
            request_window_ms: 600_000,
            request_window_entries: 100_000,
            request_skew_max_ms: 5_000,
        }
    }
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was never applied, as far as the window tells, and may be.
    New,
    /// It was applied: its answer.
    Answered(Bytes),
    /// Another request was applied under its id.
    Conflict,
    /// It may have been applied and forgotten.
    Expired,
    /// Its issue time lies too far ahead.
    FromTheFuture,
}

/// A request's id without its issue time, which does not tell requests apart.
type Id = (u128, u64);

/// Before every issue time: that of a request which has none, and the floor while nothing was forgotten.
pub(crate) const NEVER: EventTime = EventTime(i64::MIN);

#[derive(Debug)]
struct Entry {
    client: u128,
    sequence: u64,
    hash: u64,
    answer: Answer,
    offset: Offset,
    time: EventTime,
    issued: EventTime,
}

impl Entry {
    fn id(&self) -> Id {
        (self.client, self.sequence)
    }
}

/// An encoded answer. Most are short, and need no allocation of their own.
#[derive(Debug)]
enum Answer {
    Short(u8, [u8; Answer::SHORT_MAX]),
    Long(Box<[u8]>),
}

impl Answer {
    /// What fits beside the length into the place that a long one takes.
    const SHORT_MAX: usize = 22;

    fn new(bytes: &[u8]) -> Answer {
        let mut short = [0; Answer::SHORT_MAX];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(bytes);
                Answer::Short(length, short)
            }
            _ => Answer::Long(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Answer::Short(length, bytes) => &bytes[..usize::from(*length)],
            Answer::Long(bytes) => bytes,
        }
    }
}

/// The requests applied, newest last, as the log tells them: equal at equal offset but for what time evicts.
#[derive(Debug)]
pub struct Requests {
    settings: RequestSettings,
    hasher: DefaultHashBuilder,
    /// The number of each id's newest entry.
    numbers: HashTable<u32>,
    /// In the order of the log. One whose id came again stays until its turn, and no longer counts.
    entries: VecDeque<Entry>,
    /// The number of the first entry, around the type's range: no two entries are so far apart.
    first: u32,
    /// The latest issue time of a request that was forgotten.
    floor: EventTime,
}

impl Requests {
    /// An empty window.
    #[must_use]
    pub fn new(settings: RequestSettings) -> Requests {
        Requests {
            settings,
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            entries: VecDeque::new(),
            first: 0,
            floor: NEVER,
        }
    }

    /// Remembers a request of a group at `offset`, of `time`.
    pub fn note(&mut self, request: &Request, offset: Offset, time: EventTime) {
        let id = (request.id.client, request.id.sequence);
        let hash = self.hasher.hash_one(id);
        let count = u32::try_from(self.entries.len()).expect("fewer entries than numbers");
        let number = self.first.wrapping_add(count);
        let Requests { hasher, numbers, entries, first, .. } = self;
        let of = |number: u32| entries[number.wrapping_sub(*first) as usize].id();
        // One without issue time may run again after its window: it is as young as its last run.
        match numbers.find_mut(hash, |other| of(*other) == id) {
            Some(newest) => *newest = number,
            None => drop(numbers.insert_unique(hash, number, |other| hasher.hash_one(of(*other)))),
        }
        if entries.len() == entries.capacity() {
            // Not twice as much at once: the window's memory is to be near what it holds.
            entries.reserve_exact((entries.len() / 8).max(64));
        }
        let RequestId { client, sequence, issued } = request.id;
        let (hash, answer, issued) = (request.hash, Answer::new(&request.result), issued.unwrap_or(NEVER));
        entries.push_back(Entry { client, sequence, hash, answer, offset, time, issued });
        let most = self.settings.request_window_entries;
        while self.numbers.len() > most || self.entries.len() > most.saturating_mul(2) {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than the window at `now`, but no more than `most`, and says how many. What is left of it is
    /// found by nobody either.
    pub fn evict(&mut self, now: EventTime, most: usize) -> usize {
        let oldest = now.minus_ms(self.settings.request_window_ms);
        let mut evicted = 0;
        while evicted < most && self.entries.front().is_some_and(|entry| entry.time < oldest) {
            self.forget_oldest();
            evicted += 1;
        }
        evicted
    }

    fn forget_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let number = self.first;
        self.first = number.wrapping_add(1);
        let hash = self.hasher.hash_one(entry.id());
        if let Ok(newest) = self.numbers.find_entry(hash, |other| *other == number) {
            newest.remove();
            self.raise_floor(entry.issued);
        }
    }

    /// The last request of a client that is remembered.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn last_of(&self, client: u128) -> Option<u64> {
        self.entries.iter().filter(|entry| entry.client == client).map(|entry| entry.sequence).max()
    }

    fn get(&self, id: Id) -> Option<&Entry> {
        let entry = |number: u32| &self.entries[number.wrapping_sub(self.first) as usize];
        let number = self.numbers.find(self.hasher.hash_one(id), |number| entry(*number).id() == id)?;
        Some(entry(*number))
    }

    /// What is known at `now` of a request that asks for what `hash` stands for.
    #[must_use]
    pub fn look_up(&self, id: &RequestId, hash: u64, now: EventTime) -> Known {
        let RequestSettings { request_window_ms, request_skew_max_ms, .. } = self.settings;
        let mut floor = self.floor;
        if let Some(entry) = self.get((id.client, id.sequence)) {
            if entry.time >= now.minus_ms(request_window_ms) {
                let answer = || Known::Answered(Bytes::copy_from_slice(entry.answer.bytes()));
                return if entry.hash == hash { answer() } else { Known::Conflict };
            }
            // Its time has come, though not its turn to be forgotten.
            floor = floor.max(entry.issued);
        }
        let Some(issued) = id.issued else { return Known::New };
        if issued > now.plus_ms(request_skew_max_ms) {
            return Known::FromTheFuture;
        }
        // The log remembers a request by the time of its group, which may lie before its issue time by the skew.
        let by_time = now.minus_ms(request_window_ms.saturating_sub(request_skew_max_ms));
        if issued <= floor || issued <= by_time { Known::Expired } else { Known::New }
    }

    /// The latest issue time of a request that was forgotten: of one that was issued no later and is not in the window,
    /// nobody can tell whether it was applied.
    pub(crate) fn floor(&self) -> EventTime {
        self.floor
    }

    /// Requests issued up to `floor` may have been applied and forgotten.
    pub(crate) fn raise_floor(&mut self, floor: EventTime) {
        self.floor = self.floor.max(floor);
    }

    /// The latest issue time that a request of a group of `time` can have.
    pub(crate) fn latest_issue(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.settings.request_skew_max_ms)
    }

    /// The first offset of the log that the window still needs; `None` if it needs nothing.
    pub(crate) fn oldest(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.offset)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sequence: u64, issued: Option<i64>) -> Request {
        let id = RequestId { client: 1, sequence, issued: issued.map(EventTime) };
        Request { id, hash: sequence * 10, result: Bytes::from(sequence.to_string()) }
    }

    fn window(entries: usize) -> Requests {
        let settings = RequestSettings { request_window_entries: entries, ..RequestSettings::default() };
        Requests::new(settings)
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_another_request_a_conflict() {
        let mut requests = window(10);
        let first = request(7, Some(1_000_000));
        requests.note(&first, Offset(1), EventTime(1_000_000));
        let now = EventTime(1_000_500);
        assert_eq!(requests.look_up(&first.id, 70, now), Known::Answered("7".into()));
        assert_eq!(requests.look_up(&first.id, 71, now), Known::Conflict);
        let retried = RequestId { issued: None, ..first.id };
        assert_eq!(
            requests.look_up(&retried, 70, now),
            Known::Answered("7".into()),
            "issue times tell nothing apart"
        );
    }

    #[test]
    fn what_may_have_been_forgotten_is_expired() {
        let mut requests = window(2);
        for sequence in 1..=3 {
            let at = 1_000_000 + i64::try_from(sequence).unwrap();
            requests.note(&request(sequence, Some(at)), Offset(sequence), EventTime(at));
        }
        let now = EventTime(1_000_010);
        let look_up = |sequence, issued| {
            let id = request(sequence, issued).id;
            requests.look_up(&id, sequence * 10, now)
        };
        assert_eq!(requests.len(), 2);
        assert_eq!(look_up(1, Some(1_000_001)), Known::Expired, "evicted by size");
        assert_eq!(look_up(9, Some(1_000_001)), Known::Expired, "issued at the floor");
        assert_eq!(look_up(9, Some(1_000_002)), Known::New);
        assert_eq!(look_up(9, None), Known::New, "without an issue time nobody can tell");
        assert_eq!(look_up(9, Some(1_000_010 - 600_000)), Known::Expired, "older than the window");
        assert_eq!(look_up(9, Some(1_005_010)), Known::New);
        assert_eq!(look_up(9, Some(1_005_011)), Known::FromTheFuture);
    }

    #[test]
    fn time_evicts() {
        let mut requests = window(10);
        requests.note(&request(1, Some(0)), Offset(0), EventTime(0));
        requests.evict(EventTime(600_000), 9);
        assert_eq!((requests.len(), requests.oldest()), (1, Some(Offset(0))));
        requests.evict(EventTime(600_001), 9);
        assert!(requests.is_empty());
        assert_eq!((requests.floor(), requests.oldest()), (EventTime(0), None));
    }

    #[test]
    fn what_is_too_old_is_not_found_before_it_is_evicted_either() {
        let mut requests = window(10);
        let issued = [None, Some(600_000), Some(5_002)];
        for (sequence, issued) in (0..).zip(issued) {
            requests.note(&request(sequence, issued), Offset(sequence), EventTime(2));
        }
        let now = EventTime(600_003);
        assert_eq!(requests.evict(now, 1), 1, "no more than what was asked for");
        assert_eq!(requests.len(), 2);
        let look_up = |sequence: u64, issued: Option<i64>| {
            let id = request(sequence, issued).id;
            requests.look_up(&id, sequence * 10, now)
        };
        assert_eq!(look_up(0, None), Known::New, "without an issue time it may run again");
        assert_eq!(look_up(1, Some(600_000)), Known::Expired, "though issued a moment ago, it says");
        assert_eq!(look_up(2, Some(5_002)), Known::Expired);
        assert_eq!(look_up(3, Some(600_000)), Known::New);
    }

    #[test]
    fn an_id_that_comes_again_is_as_young_as_its_last_run() {
        let mut requests = window(3);
        for (offset, sequence) in (0..).zip([1, 2, 1, 1, 3, 4]) {
            requests.note(&request(sequence, Some(1_000_000)), Offset(offset), EventTime(1_000_000));
        }
        let known = |requests: &Requests, sequence| {
            let id = request(sequence, None).id;
            requests.look_up(&id, sequence * 10, EventTime(1_000_000))
                == Known::Answered(sequence.to_string().into())
        };
        assert_eq!(requests.len(), 3);
        let all: Vec<bool> = (1..=4).map(|sequence| known(&requests, sequence)).collect();
        assert_eq!(all, [true, false, true, true]);
        assert_eq!(requests.oldest(), Some(Offset(2)), "what no longer counts takes its turn");
        for offset in 6..1000 {
            requests.note(&request(4, None), Offset(offset), EventTime(1_000_000));
            assert!(requests.entries.len() <= 6, "and is bounded");
        }
        assert!(known(&requests, 4));
    }

    #[test]
    fn numbers_go_around_their_range() {
        let mut requests = window(5);
        requests.first = u32::MAX - 20;
        for sequence in 0..100 {
            requests.note(&request(sequence, None), Offset(sequence), EventTime(0));
            for known in sequence.saturating_sub(4)..=sequence {
                let answer = Known::Answered(known.to_string().into());
                assert_eq!(requests.look_up(&request(known, None).id, known * 10, EventTime(0)), answer);
            }
        }
        assert!(requests.first < 100);
    }

    #[test]
    fn answers_of_every_length_come_back() {
        let mut requests = window(100);
        let answer = |length: u64| vec![7; usize::try_from(length).unwrap()];
        for length in 0..60 {
            let request = Request { result: answer(length).into(), ..request(length, None) };
            requests.note(&request, Offset(length), EventTime(0));
        }
        for length in 0..60 {
            let known = requests.look_up(&request(length, None).id, length * 10, EventTime(0));
            assert_eq!(known, Known::Answered(answer(length).into()));
        }
    }

    #[test]
    fn a_remembered_request_takes_no_more_than_its_entry() {
        assert!(size_of::<Entry>() <= 80, "{}", size_of::<Entry>());
        let mut requests = window(10_000);
        for sequence in 0..20_000 {
            requests.note(&request(sequence, None), Offset(sequence), EventTime(0));
        }
        assert!(requests.entries.capacity() <= 10_000 * 9 / 8 + 64, "{}", requests.entries.capacity());
    }
}
