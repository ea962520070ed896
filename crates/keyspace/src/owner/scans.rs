//! Scans from outside: one chunk a message, over one snapshot of the memstore a scan.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use affinity_memstore::{At, Error, Scan, Scanned, Snapshot, StoreId};
use affinity_types::{Epoch, EventTime, Sequence};

use super::reads::HeldAnswer;
use super::{Owner, Protection};
use crate::failure::Never;
use crate::scan::{Chunk, ChunkReply, Continuation, ScanAsk, ScanFrom};
use crate::{Failure, Partition, Reply};

/// The scans that go on, oldest first.
pub(super) type Scans = VecDeque<OpenScan>;

/// A scan that goes on.
pub(super) struct OpenScan {
    number: u64,
    scan: Scan,
    snapshot: Snapshot,
    /// The partition's time when it began: what had expired by then is not shown.
    time: EventTime,
    opened: Duration,
    /// Bytes of the chunk before.
    bytes: usize,
}

/// Entries wanted, at least one: with `limit` the scan ends, with `most` the chunk.
#[derive(Clone, Copy)]
struct Counts {
    limit: usize,
    most: usize,
}

impl<P: Partition> Owner<P> {
    /// Answers with a chunk. The first is held as a read is that has seen the group `saw`; later ones are of the same moment, which is proven by then.
    pub(super) fn scan(&mut self, epoch: Epoch, ask: ScanAsk, saw: Option<Sequence>, reply: ChunkReply<P>) {
        self.close_aged_scans();
        let ScanAsk { store, from, limit, most } = ask;
        let counts = Counts { limit: limit.max(1), most: most.max(1) };
        let begun = match from {
            ScanFrom::Continuation(place) => {
                let _ = reply.send(self.continue_scan(&place, store, counts));
                return;
            }
            ScanFrom::Range(range) => {
                let range = range.of(store, &self.state.names().format(store).key);
                self.begin_scan(epoch, range, counts)
            }
        };
        match begun {
            Ok(chunk) => self.hold(saw, HeldAnswer::Scan(reply, chunk)),
            Err(failure) => drop(reply.send(Err(failure))),
        }
    }

    fn begin_scan(&mut self, epoch: Epoch, scan: Scan, counts: Counts) -> Reply<Chunk, P::Error> {
        if scan.longest_bound() > self.state.memstore().limits().key_max_bytes {
            return Err(Failure::Invalid("a bound of the range is longer than a key can be"));
        }
        // What was acknowledged may still wait for the memstore.
        self.settle();
        if self.epoch() != Some(epoch) {
            return Err(Failure::Unavailable);
        }
        let time = self.tick();
        let (mut chunk, more) = self.chunk(At::Newest, &scan, (time, 0), counts).map_err(Failure::widen)?;
        let Some(last) = more else { return Ok(chunk) };
        if self.scans.len() >= self.settings.scans_max {
            return Err(Failure::Overloaded);
        }
        let opened = self.now();
        let snapshot = self.state.open_snapshot(opened).map_err(|error| failure(&error).widen())?;
        let (number, bytes) = (self.random.next(), chunk.bytes());
        self.scans.push_back(OpenScan { number, scan, snapshot, time, opened, bytes });
        chunk.next = Some(Continuation { epoch, number, last: last.into() });
        Ok(chunk)
    }

    fn continue_scan(
        &mut self,
        place: &Continuation,
        store: StoreId,
        counts: Counts,
    ) -> Reply<Chunk, P::Error> {
        let at = self.scans.iter().position(|scan| scan.number == place.number);
        let Some(at) = at.filter(|_| self.epoch() == Some(place.epoch)) else {
            return Err(Failure::ScanExpired);
        };
        let scan = &self.scans[at];
        if scan.scan.store != store || !scan.scan.contains(&place.last) {
            return Err(Failure::Invalid("the continuation is that of another scan"));
        }
        let rest = scan.scan.clone().behind(place.last.to_vec());
        let newest = self.removed(Protection::ScanSnapshot);
        let moment = if newest { At::Newest } else { At::Snapshot(&scan.snapshot) };
        let read = self.chunk(moment, &rest, (scan.time, scan.bytes), counts);
        match read {
            Ok((mut chunk, Some(last))) => {
                self.scans[at].bytes = chunk.bytes();
                chunk.next = Some(Continuation { last: last.into(), ..place.clone() });
                Ok(chunk)
            }
            Ok((chunk, None)) => {
                self.end_scan(place.number);
                Ok(chunk)
            }
            Err(failure) => {
                self.end_scan(place.number);
                Err(failure.widen())
            }
        }
    }

    /// The entries at the beginning of a range that have not expired by `time`, and where the range goes on; about as many
    /// bytes as `expected`.
    fn chunk(
        &self,
        at: At<'_>,
        scan: &Scan,
        (time, expected): (EventTime, usize),
        Counts { limit, most }: Counts,
    ) -> Result<(Chunk, Option<Vec<u8>>), Failure<Never>> {
        let entries_max = self.settings.scan_chunk_max.max(1).min(most);
        let bytes_max = self.settings.scan_chunk_bytes_max.max(1);
        let expected_entries = if expected > 0 { limit.min(entries_max) } else { 0 };
        let mut chunk = Chunk::filling(expected_entries, expected + expected / 16);
        let scan = scan.clone().limit(entries_max);
        let scanned = self.state.memstore().scan(at, &scan, &mut |key, value| {
            if value.expires().is_none_or(|expires| expires > time) {
                chunk.push(key, value.bytes(), value.version());
            }
            if chunk.len() >= limit || chunk.bytes() >= bytes_max {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let more = match scanned.map_err(|error| failure(&error))? {
            Scanned::Until(last) if chunk.len() < limit => Some(last),
            Scanned::Until(_) | Scanned::All => None,
        };
        Ok((chunk.finish(), more))
    }

    /// Closes a scan that nobody goes on with; one that is closed already may be named too.
    pub(super) fn end_scan(&mut self, number: u64) {
        let at = self.scans.iter().position(|scan| scan.number == number);
        if let Some(scan) = at.and_then(|at| self.scans.remove(at)) {
            self.state.close_snapshot(scan.snapshot);
        }
    }

    /// Closes all scans: their mastership is over.
    pub(super) fn end_scans(&mut self) {
        for scan in std::mem::take(&mut self.scans) {
            self.state.close_snapshot(scan.snapshot);
        }
    }

    /// Closes the scans whose snapshots are too old.
    pub(super) fn close_aged_scans(&mut self) {
        let now = if self.scans.is_empty() { return } else { self.now() };
        while self.scans_age_at().is_some_and(|at| at <= now) {
            let Some(scan) = self.scans.pop_front() else { return };
            tracing::debug!(partition = %self.name, "a scan that was not finished has expired");
            self.state.close_snapshot(scan.snapshot);
        }
    }

    /// When the oldest scan is too old.
    pub(super) fn scans_age_at(&self) -> Option<Duration> {
        let age_max = self.state.memstore().limits().snapshot_age_max;
        self.scans.front().map(|scan| scan.opened.saturating_add(age_max))
    }
}

fn failure(error: &Error) -> Failure<Never> {
    match error {
        Error::SnapshotExpired => Failure::ScanExpired,
        Error::TooManySnapshots { .. } => Failure::Overloaded,
        error => Failure::Corrupt(error.to_string()),
    }
}
