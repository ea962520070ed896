//! How long to wait before the same message is tried again.

use std::time::Duration;

use affinity_types::RequestId;

use super::RouterSettings;
use crate::random::Random;

/// Waits that double up to a limit. Each is drawn from the upper half of its range, so that many who failed at once do not
/// come back at once.
pub(super) struct Backoff {
    longest_ms: u64,
    max_ms: u64,
    random: Random,
}

impl Backoff {
    /// The waits of one request. Its id tells its chance from that of others, so that they share no lock.
    pub(super) fn new(settings: &RouterSettings, seed: u64, request: &RequestId) -> Backoff {
        let client = request.client ^ request.client >> 64;
        let client = u64::try_from(client & u128::from(u64::MAX)).expect("masked to 64 bits");
        let random = Random::new(seed ^ client ^ request.sequence);
        Backoff { longest_ms: settings.retry_first_ms, max_ms: settings.retry_max_ms, random }
    }

    /// The next wait: at least a millisecond.
    pub(super) fn wait(&mut self) -> Duration {
        let longest = self.longest_ms.min(self.max_ms).max(1);
        self.longest_ms = longest.saturating_mul(2);
        let upper_half = longest - longest / 2;
        Duration::from_millis(longest - self.random.next() % upper_half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(seed: u64, sequence: u64, tries: usize) -> Vec<u64> {
        let settings = RouterSettings { retry_first_ms: 10, retry_max_ms: 100, ..RouterSettings::default() };
        let request = RequestId { client: 7 << 64 | 3, sequence, issued: None };
        let mut backoff = Backoff::new(&settings, seed, &request);
        (0..tries).map(|_| u64::try_from(backoff.wait().as_millis()).unwrap()).collect()
    }

    #[test]
    fn waits_double_up_to_their_limit_and_lie_in_the_upper_half() {
        for seed in 0..200 {
            for (wait, longest) in waits(seed, 1, 8).into_iter().zip([10, 20, 40, 80, 100, 100, 100, 100]) {
                assert!(wait > longest / 2 && wait <= longest, "seed {seed}: {wait} of {longest}");
            }
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_and_requests_differ() {
        assert_eq!(waits(5, 1, 8), waits(5, 1, 8));
        assert_ne!(waits(5, 1, 8), waits(5, 2, 8));
        assert_ne!(waits(5, 1, 8), waits(6, 1, 8));
    }

    #[test]
    fn no_wait_is_shorter_than_a_millisecond_and_none_overflows() {
        let request = RequestId { client: 0, sequence: 0, issued: None };
        for (first, max) in [(0, 0), (1, 0), (u64::MAX, u64::MAX)] {
            let settings =
                RouterSettings { retry_first_ms: first, retry_max_ms: max, ..RouterSettings::default() };
            let mut backoff = Backoff::new(&settings, 1, &request);
            for _ in 0..3 {
                assert!(backoff.wait() >= Duration::from_millis(1), "{first} {max}");
            }
        }
    }
}
