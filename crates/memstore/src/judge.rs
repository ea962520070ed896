//! Whether a store on disk may be used, decided from what it says of itself and what the log says now.

use std::fmt;
use std::time::Duration;

use affinity_types::{EventTime, Offset, TopicId};

use crate::Checkpoint;

/// What was found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing at all.
    Nothing,
    /// Data without a checkpoint.
    NoCheckpoint,
    /// A checkpoint, or a window of request ids, that cannot be read.
    Damaged,
    /// A store in a format that this build does not read.
    Format(u8),
    /// A checkpoint.
    Checkpoint(Checkpoint),
}

/// What the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Identity of the topic.
    pub topic: TopicId,
    /// First offset that can be read.
    pub start: Offset,
    /// The offset that the next record will have.
    pub end: Offset,
    /// The wall clock.
    pub now: EventTime,
    /// How long the log remembers deletions; `None` if it never forgets one.
    pub delete_retention: Option<Duration>,
}

/// What is to be done with a store on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none yet: begin with an empty one.
    Begin,
    /// Go on from its checkpoint.
    Resume,
    /// Set it aside and begin with an empty one.
    Rebuild(Reason),
}

/// Why a store on disk cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has data and no checkpoint.
    NoCheckpoint,
    /// It is damaged.
    Damaged,
    /// Another build wrote it, in this format.
    Format(u8),
    /// It was made from another topic.
    OtherTopic {
        /// The one it was made from.
        found: TopicId,
        /// The one there is.
        expected: TopicId,
    },
    /// It holds more than the log has: the log lost records, or is another one.
    AheadOfLog {
        /// Where the store stands.
        next: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The log no longer has the records that come next.
    BehindLog {
        /// Where the store stands.
        next: Offset,
        /// Where the log begins.
        start: Offset,
    },
    /// Deletions that it has not seen may be forgotten: deleted keys would come back.
    TooOld {
        /// How long ago its checkpoint was current.
        age: Duration,
        /// How long the log remembers deletions.
        delete_retention: Duration,
    },
}

/// Decides what is to be done with what was found on disk.
#[must_use]
pub fn judge(found: &Found, facts: &Facts) -> Verdict {
    let checkpoint = match found {
        Found::Nothing => return Verdict::Begin,
        Found::NoCheckpoint => return Verdict::Rebuild(Reason::NoCheckpoint),
        Found::Damaged => return Verdict::Rebuild(Reason::Damaged),
        Found::Format(format) => return Verdict::Rebuild(Reason::Format(*format)),
        Found::Checkpoint(checkpoint) => checkpoint,
    };
    let next = checkpoint.next;
    let age = Duration::from_millis(facts.now.0.saturating_sub(checkpoint.time.0).max(0).cast_unsigned());
    if checkpoint.topic != facts.topic {
        Verdict::Rebuild(Reason::OtherTopic { found: checkpoint.topic, expected: facts.topic })
    } else if next > facts.end {
        Verdict::Rebuild(Reason::AheadOfLog { next, end: facts.end })
    } else if next < facts.start {
        Verdict::Rebuild(Reason::BehindLog { next, start: facts.start })
    } else if let Some(delete_retention) = facts.delete_retention.filter(|&retention| age > retention) {
        Verdict::Rebuild(Reason::TooOld { age, delete_retention })
    } else {
        Verdict::Resume
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoCheckpoint => f.write_str("it has no checkpoint"),
            Reason::Damaged => f.write_str("it is damaged"),
            Reason::Format(format) => write!(f, "its format {format} is not of this build"),
            Reason::OtherTopic { found, expected } => write!(f, "it is of topic {found}, not of {expected}"),
            Reason::AheadOfLog { next, end } => write!(f, "it stands at {next}, the log ends at {end}"),
            Reason::BehindLog { next, start } => write!(f, "it stands at {next}, the log begins at {start}"),
            Reason::TooOld { age, delete_retention } => {
                let (age, retention) = (age.as_secs(), delete_retention.as_secs());
                write!(f, "it is {age} s old, the log remembers deletions for {retention} s")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use affinity_types::Epoch;

    use super::*;

    const FACTS: Facts = Facts {
        topic: TopicId(7),
        start: Offset(10),
        end: Offset(20),
        now: EventTime(100_000),
        delete_retention: Some(Duration::from_secs(60)),
    };

    fn at(topic: u128, next: u64, time: i64) -> Found {
        Found::Checkpoint(Checkpoint::new(TopicId(topic), Offset(next), Epoch(1), EventTime(time)))
    }

    #[test]
    fn a_store_is_resumed_or_rebuilt_for_a_reason() {
        let rebuild = Verdict::Rebuild;
        let (found, expected) = (TopicId(8), TopicId(7));
        let too_old = |ms| {
            let age = Duration::from_millis(ms);
            rebuild(Reason::TooOld { age, delete_retention: Duration::from_secs(60) })
        };
        let cases = [
            (Found::Nothing, Verdict::Begin),
            (Found::NoCheckpoint, rebuild(Reason::NoCheckpoint)),
            (Found::Damaged, rebuild(Reason::Damaged)),
            (Found::Format(2), rebuild(Reason::Format(2))),
            (at(8, 15, 100_000), rebuild(Reason::OtherTopic { found, expected })),
            (at(7, 9, 100_000), rebuild(Reason::BehindLog { next: Offset(9), start: Offset(10) })),
            (at(7, 10, 100_000), Verdict::Resume),
            (at(7, 20, 100_000), Verdict::Resume),
            (at(7, 21, 100_000), rebuild(Reason::AheadOfLog { next: Offset(21), end: Offset(20) })),
            (at(7, 15, 40_000), Verdict::Resume),
            (at(7, 15, 39_999), too_old(60_001)),
            // A checkpoint of the future: the wall clock was set back.
            (at(7, 15, 200_000), Verdict::Resume),
            (at(7, 15, i64::MIN), too_old(i64::MAX.cast_unsigned())),
        ];
        for (found, verdict) in cases {
            assert_eq!(judge(&found, &FACTS), verdict, "{found:?}");
        }
    }

    #[test]
    fn a_log_that_never_forgets_deletions_makes_no_store_too_old() {
        let facts = Facts { delete_retention: None, ..FACTS };
        assert_eq!(judge(&at(7, 15, 0), &facts), Verdict::Resume);
    }
}
