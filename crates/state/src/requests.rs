//! The window of request ids: a retry gets the first answer.

use std::collections::VecDeque;

use affinity_types::{EventTime, Request, RequestId};
use bytes::Bytes;
use hashbrown::HashMap;

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

#[derive(Debug)]
struct Entry {
    hash: u64,
    answer: Bytes,
}

/// The requests applied, newest last, as the log tells them: equal at equal offset but for what time evicts.
#[derive(Debug)]
pub struct Requests {
    settings: RequestSettings,
    entries: HashMap<Id, Entry>,
    order: VecDeque<(Id, EventTime, Option<EventTime>)>,
    /// The latest issue time of a request that was forgotten.
    floor: Option<EventTime>,
}

impl Requests {
    /// An empty window.
    #[must_use]
    pub fn new(settings: RequestSettings) -> Requests {
        Requests { settings, entries: HashMap::new(), order: VecDeque::new(), floor: None }
    }

    /// Remembers a request of a group of `time`.
    pub fn note(&mut self, request: &Request, time: EventTime) {
        let id = (request.id.client, request.id.sequence);
        let entry = Entry { hash: request.hash, answer: request.result.clone() };
        // One without issue time may run again after its window: it is as young as its last run.
        if self.entries.insert(id, entry).is_some() {
            self.order.retain(|(other, ..)| *other != id);
        }
        self.order.push_back((id, time, request.id.issued));
        while self.order.len() > self.settings.request_window_entries {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than the window at `now`.
    pub fn evict(&mut self, now: EventTime) {
        let oldest = now.minus_ms(self.settings.request_window_ms);
        while self.order.front().is_some_and(|(_, time, _)| *time < oldest) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((id, _, issued)) = self.order.pop_front() {
            self.entries.remove(&id);
            self.floor = self.floor.max(issued);
        }
    }

    /// What is known at `now` of a request that asks for what `hash` stands for.
    #[must_use]
    pub fn look_up(&self, id: &RequestId, hash: u64, now: EventTime) -> Known {
        if let Some(entry) = self.entries.get(&(id.client, id.sequence)) {
            let same = entry.hash == hash;
            return if same { Known::Answered(entry.answer.clone()) } else { Known::Conflict };
        }
        let Some(issued) = id.issued else { return Known::New };
        if issued > now.plus_ms(self.settings.request_skew_max_ms) {
            return Known::FromTheFuture;
        }
        // The log remembers a request by the time of its group, which may lie before its issue time by the skew.
        let RequestSettings { request_window_ms, request_skew_max_ms, .. } = self.settings;
        let by_time = now.minus_ms(request_window_ms.saturating_sub(request_skew_max_ms));
        if self.floor.is_some_and(|floor| issued <= floor) || issued <= by_time {
            Known::Expired
        } else {
            Known::New
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
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
        requests.note(&first, EventTime(1_000_000));
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
            requests.note(&request(sequence, Some(at)), EventTime(at));
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
        requests.note(&request(1, Some(0)), EventTime(0));
        requests.evict(EventTime(600_000));
        assert_eq!(requests.len(), 1);
        requests.evict(EventTime(600_001));
        assert!(requests.is_empty());
    }
}
