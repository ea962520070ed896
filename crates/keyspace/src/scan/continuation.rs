//! Where a scan goes on.
//!
//! ```text
//! token    format: 1 | epoch: varint | number of the scan: 8 bytes big endian | the last key
//! ```

use affinity_types::{Epoch, varint};
use bytes::Bytes;

const FORMAT: u8 = 1;

/// Place in a scan that an owner has open. What is asked for again under one gives the same entries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// The mastership that the scan belongs to.
    pub(crate) epoch: Epoch,
    /// Drawn at random, so that a token that strayed to another partition names no scan there.
    pub(crate) number: u64,
    /// The last key that was looked at.
    pub(crate) last: Bytes,
}

impl Continuation {
    pub(crate) fn to_token(&self) -> Bytes {
        let mut token = vec![FORMAT];
        varint::put(&mut token, self.epoch.0);
        token.extend_from_slice(&self.number.to_be_bytes());
        token.extend_from_slice(&self.last);
        token.into()
    }

    /// `None` if an owner has not made it.
    pub(crate) fn of_token(token: &[u8]) -> Option<Continuation> {
        let (&FORMAT, mut rest) = token.split_first()? else { return None };
        let epoch = Epoch(varint::take(&mut rest)?);
        let (number, last) = rest.split_first_chunk()?;
        let (number, last) = (u64::from_be_bytes(*number), Bytes::copy_from_slice(last));
        Some(Continuation { epoch, number, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_place_it_was_made_for() {
        let place = |epoch, last: &'static [u8]| Continuation {
            epoch: Epoch(epoch),
            number: 7 << 56 | 1,
            last: Bytes::from_static(last),
        };
        for place in [place(1, b""), place(1 << 20, b"key")] {
            assert_eq!(Continuation::of_token(&place.to_token()), Some(place));
        }
        let token = place(1, b"").to_token();
        assert_eq!(&token[..], [1, 1, 7, 0, 0, 0, 0, 0, 0, 1]);
        for other in [&token[..9], &[2, 1, 7, 0, 0, 0, 0, 0, 0, 1], b"", b"\x01\xff"] {
            assert_eq!(Continuation::of_token(other), None);
        }
    }
}
