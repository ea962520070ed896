//! Read leases of other masters: how long they are outlives a restart, as notes in the store of what the log does not tell again.

use std::time::Duration;

use affinity_types::Epoch;

use crate::apply::{Reached, State};

/// Leases are forgotten after so many times their length: the drift of clocks is less than that allows.
const LEASES_KEPT: u64 = 4;

/// What begins the note of a lease, beside marks: its epoch follows, 8 bytes big endian; the value is its length in milliseconds,
/// so too.
const NOTES: [u8; 3] = [0xff, 0xfd, b'l'];

/// The read lease of an epoch that is over, or under way elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its length in milliseconds, as its barrier says.
    pub lease_ms: u64,
    /// When its last valid record was received, by the reader's elapsed time.
    pub heard: Duration,
}

impl State {
    /// The leases of epochs that were not this process' own, as far as they may still run.
    pub fn leases(&self) -> impl Iterator<Item = (Epoch, Lease)> + '_ {
        self.leases.iter().map(|(epoch, lease)| (*epoch, *lease))
    }

    /// What the store held when it was opened does not tell when a master was heard last: for all its epochs, `heard`. It tells
    /// how long their leases are; if not that of its last epoch, `lease_ms`.
    pub fn assume_leases(&mut self, lease_ms: u64, heard: Duration) {
        self.leases.values_mut().for_each(|lease| lease.heard = heard);
        let epoch = self.epoch();
        if epoch > Epoch::NONE {
            self.leases.entry(epoch).or_insert(Lease { lease_ms, heard });
        }
    }

    /// A mastership begins, with leases of this length; those that ran out long ago, however clocks drift, are forgotten.
    pub(crate) fn begin_lease(&mut self, epoch: Epoch, lease_ms: u64, reached: &mut Reached) {
        let Reached { received, leases, .. } = reached;
        self.leases.retain(|epoch, lease| {
            let kept = Duration::from_millis(lease.lease_ms.saturating_mul(LEASES_KEPT));
            let keeps = lease.heard.saturating_add(kept) > *received;
            if !keeps {
                leases.push((lease_key(*epoch), None));
            }
            keeps
        });
        self.leases.insert(epoch, Lease { lease_ms, heard: *received });
        leases.push((lease_key(epoch), Some(lease_ms.to_be_bytes().to_vec())));
    }
}

fn lease_key(epoch: Epoch) -> Vec<u8> {
    [&NOTES[..], &epoch.0.to_be_bytes()].concat()
}

/// When it was heard last is not known, and to be assumed.
pub(crate) fn read_lease(key: &[u8], value: &[u8]) -> Option<(Epoch, Lease)> {
    let epoch = u64::from_be_bytes(key.strip_prefix(&NOTES)?.try_into().ok()?);
    let lease_ms = u64::from_be_bytes(value.try_into().ok()?);
    Some((Epoch(epoch), Lease { lease_ms, heard: Duration::ZERO }))
}

/// Whether a key of the store of local marks is a note of a lease.
pub(crate) fn is_note(key: &[u8]) -> bool {
    key.starts_with(&NOTES)
}
