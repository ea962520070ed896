//! What a coordinator keeps of a partition.

use std::fmt;

use affinity_types::Epoch;

use crate::{Error, ErrorKind, NodeId};

/// Identity of one attempt at a compare-and-set: a random number, new for every attempt and the same for its repetitions.
/// After a lost answer, reading one's own id back means it was won.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u128);

impl AttemptId {
    /// No attempt: what a partition has that was never taken. No attempt may be called so.
    pub const NONE: AttemptId = AttemptId(0);
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Who may master a partition, under which epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mastership {
    /// Its epoch: higher than every one that was given before.
    pub epoch: Epoch,
    /// The node, or nobody: an epoch may be taken to leave the partition without a master.
    pub owner: Option<NodeId>,
    /// The attempt that won it.
    pub attempt: AttemptId,
}

impl Mastership {
    /// That of a partition that was never taken.
    pub const NONE: Mastership = Mastership { epoch: Epoch::NONE, owner: None, attempt: AttemptId::NONE };

    /// Whether a compare-and-set may put this in the place of `seen`: what every backend asks at the expected revision.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the epoch is not higher than the one seen, if the attempt is [`AttemptId::NONE`] or the
    /// one seen, or if the owner's name is not possible.
    pub fn may_follow(&self, seen: &Mastership) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
        if self.epoch <= seen.epoch {
            return invalid(format!(
                "epoch {} is not higher than {}, which was given",
                self.epoch, seen.epoch
            ));
        }
        if self.attempt == AttemptId::NONE || self.attempt == seen.attempt {
            return invalid(format!("attempt {} is not a new one", self.attempt));
        }
        self.owner.as_ref().map_or(Ok(()), NodeId::validate)
    }
}

/// Place of a partition's entry in the order of its changes: it grows with every compare-and-set that is won. It means
/// something only beside other revisions of the same partition, and their distance means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// That of a partition never seen.
    pub const NONE: Revision = Revision(0);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition's entry as it was at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// What stood there.
    pub mastership: Mastership,
    /// What the next compare-and-set must expect.
    pub revision: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_attempt_at_a_higher_epoch_may_follow() {
        let mastership =
            |epoch, attempt| Mastership { epoch: Epoch(epoch), owner: None, attempt: AttemptId(attempt) };
        let check = |new: (u64, u128), seen: Mastership, expected: bool| {
            let result = mastership(new.0, new.1).may_follow(&seen);
            assert_eq!(result.is_ok(), expected, "{new:?} after {seen:?}: {result:?}");
        };
        check((1, 1), Mastership::NONE, true);
        check((9, 1), Mastership::NONE, true);
        check((0, 1), Mastership::NONE, false);
        check((1, 0), Mastership::NONE, false);
        check((6, 2), mastership(5, 1), true);
        check((5, 2), mastership(5, 1), false);
        check((4, 2), mastership(5, 1), false);
        check((6, 1), mastership(5, 1), false);
        let nameless = Mastership { owner: Some(NodeId::new("")), ..mastership(1, 1) };
        assert_eq!(nameless.may_follow(&Mastership::NONE).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
