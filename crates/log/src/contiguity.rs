//! Finding out that somebody else appends.

use std::ops::Range;

use affinity_types::Offset;

use crate::Outcome;

/// The contiguity check: a partition's only writer knows which offset each of its groups must
/// get. A gap between two acknowledgements means that somebody else wrote what lies in it, and the owner reads it before
/// it believes the acknowledgement: a higher epoch there has fenced it; records of lower epochs are to be repaired.
#[derive(Clone, Debug, Default)]
pub struct Contiguity {
    expected: Option<Offset>,
}

impl Contiguity {
    /// The offset that the next group must get; `None` before the barrier, which may land anywhere.
    #[must_use]
    pub fn expected(&self) -> Option<Offset> {
        self.expected
    }

    /// Takes note of an outcome; the answer is the range that others wrote since the last acknowledgement, if any.
    /// Outcomes other than [`Outcome::Appended`] say nothing of it.
    pub fn observe(&mut self, outcome: &Outcome) -> Option<Range<Offset>> {
        let Outcome::Appended { first, next } = *outcome else { return None };
        let expected = self.expected.replace(next)?;
        (expected != first).then_some(expected..first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_acknowledgements_is_found() {
        let mut check = Contiguity::default();
        let appended = |first, next| Outcome::Appended { first: Offset(first), next: Offset(next) };
        assert_eq!(check.observe(&appended(7, 8)), None, "a barrier may land anywhere");
        assert_eq!(check.observe(&appended(8, 11)), None);
        assert_eq!(check.observe(&Outcome::Unknown), None);
        assert_eq!(check.observe(&appended(13, 14)), Some(Offset(11)..Offset(13)));
        assert_eq!(check.observe(&appended(14, 15)), None);
    }
}
