//! Compaction: sealed segments become sorted files, and sorted files lose what newer ones supersede.
//!
//! ```text
//! journal   [seg 7 sealed][seg 8 active]          1. the oldest sealed segment is sorted, without what it supersedes
//!              │                                     itself: a dirty file
//!              ▼
//! sorted    [clean][clean][dirty][dirty]           2. when dirty files weigh CLEAN_SHARE of the clean ones, their keys
//!              ▲────▲──────┴──────┘                   are looked for in all files before them; files that lose
//!                                                     something are written anew, small neighbours together
//! ```
//!
//! Every step puts one file in the place of some and is one change of the manifest, so a crash lies before it or after it.
//! A deletion is forgotten only when its file is clean, that is when nothing older of its key is left, and its time over.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use affinity_types::EventTime;

use super::frame::EncodedRecord;
use super::keys::NewestKeys;
use super::retention::first_kept;
use super::shelf::{FileSet, Shelf, Shelved};
use super::slot::Slot;
use super::sorted::{Run, SortedFile, SortedWriter};
use super::sorting::{frames, groups, put, read_run, read_segment, sort_slot};
use super::survivors::{Deletions, Policy, Verdict};
use crate::Cleanup;

/// Dirty bytes or records, in percent of the clean ones, from which on a pass begins.
const CLEAN_SHARE: u64 = 30;
/// Dirty bytes, in percent of the clean ones, up to which segments are sorted although a pass is due: with what that
/// allows, dirty files never weigh more than the clean ones.
const DIRTY_SHARE_MAX: u64 = 100 - CLEAN_SHARE;
/// Dirty files from which on a pass begins in any case.
const DIRTY_MAX: usize = 16;
/// Memory of one key in a pass: hash, offset and the table's slack.
const KEY_BYTES: usize = 32;

/// Does the work step by step; it belongs to one thread.
pub(super) struct Compactor {
    shelf: Arc<Shelf>,
    pass: Option<Pass>,
}

/// A pass under way: the files from `at` on, `left` of them, are yet to be gone through; then all before `at` are clean.
struct Pass {
    newest: NewestKeys,
    at: usize,
    left: usize,
    /// Bytes of segments that may be sorted before the pass ends, so that garbage stays bounded; at the limit the
    /// journal waits.
    allowance: u64,
}

impl Pass {
    /// The file at `at` is there no more.
    fn forget(&mut self, at: usize) {
        if at < self.at {
            self.at -= 1;
        } else if at < self.at + self.left {
            self.left -= 1;
        }
    }
}

impl Compactor {
    pub(super) fn new(shelf: Arc<Shelf>) -> Compactor {
        Compactor { shelf, pass: None }
    }

    /// Does one step, if there is one to do. After an error the step can be tried again.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        const TASKS: [fn(&mut Compactor) -> io::Result<bool>; 7] = [
            |this| this.shelf.settle(),
            Compactor::sort,
            Compactor::go_on,
            |this| this.shelf.prepare_spare(),
            Compactor::retire_old,
            Compactor::reclaim,
            Compactor::begin_pass,
        ];
        let mut failure = None;
        for task in TASKS {
            match task(self) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                // What fails on a full disk must not keep the others from making room.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(false), Err)
    }

    /// Sorts a segment if one waits and may be sorted.
    fn sort(&mut self) -> io::Result<bool> {
        let due = self.shelf.sealed() > 0 && self.may_sort();
        if due {
            self.sort_oldest()?;
        }
        Ok(due)
    }

    /// Goes on with the pass under way, if there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some(mut pass) = self.pass.take() else { return Ok(false) };
        let over = pass.left == 0;
        let stepped = self.pass_step(&mut pass);
        if !over || stepped.is_err() {
            self.pass = Some(pass);
        }
        stepped.map(|()| true)
    }

    /// Whether a segment may be sorted now; if so, a pass under way has that much less to allow. A pass that is due and
    /// does not begin, since it fails, holds the journal up as well.
    fn may_sort(&mut self) -> bool {
        let segment = u64::from(self.shelf.options.segment_bytes);
        let Some(pass) = &mut self.pass else {
            let files = self.shelf.files();
            let loads = self.loads(&files);
            return !loads.pass_is_due()
                || (loads.dirty.bytes + segment) * 100 <= loads.clean.bytes * DIRTY_SHARE_MAX;
        };
        let left = pass.allowance.checked_sub(segment);
        pass.allowance = left.unwrap_or(pass.allowance);
        left.is_some()
    }

    /// Sorts the oldest segment, which is sealed.
    fn sort_oldest(&mut self) -> io::Result<()> {
        let segment = Arc::clone(&self.shelf.files().segments[0]);
        let index = segment.index().clone();
        let mut bytes = vec![0; index.end as usize];
        read_segment(&segment, &mut bytes, 0)?;
        let mut writer =
            SortedWriter::create(&*self.shelf.disk, self.shelf.journal, self.shelf.sorted_number())?;
        let now = self.shelf.clock.now();
        for (number, extents) in &index.slots {
            let Some(slot) = self.shelf.slot(*number) else { continue };
            let frames = extents.iter().flat_map(|e| {
                let range = &bytes[e.position as usize..(e.position + e.length) as usize];
                frames(&segment, range, e.position.into())
            });
            sort_slot(&slot, now, frames, &mut writer)?;
        }
        let sorted = writer.finish()?;
        drop(segment);
        self.shelf.shelve_oldest(sorted)
    }

    /// Goes on with the next files of a pass.
    fn pass_step(&mut self, pass: &mut Pass) -> io::Result<()> {
        if pass.left == 0 {
            return self.shelf.mark_clean(pass.at);
        }
        let files = self.shelf.files();
        let end = pass.at + pass.left;
        let room = u64::from(self.shelf.options.segment_bytes);
        let first = self.weigh(&files.sorted[pass.at], &pass.newest)?;
        let mut kept = first.kept;
        let mut weights = vec![first];
        while pass.at + weights.len() < end && kept < room / 2 {
            let next = self.weigh(&files.sorted[pass.at + weights.len()], &pass.newest)?;
            if kept + next.kept > room {
                break;
            }
            kept += next.kept;
            weights.push(next);
        }
        let count = weights.len();
        if count > 1 || weights[0].lost {
            let dirty = files.sorted[pass.at..pass.at + count].iter().any(|shelved| shelved.dirty);
            let made = self.rewrite(&files.sorted[pass.at..pass.at + count], &weights)?;
            let replaced = u64::from(made.is_some());
            self.shelf.replace_sorted(pass.at, count, made, dirty)?;
            pass.at += usize::from(replaced == 1);
        } else {
            pass.at += 1;
        }
        pass.left -= count;
        Ok(())
    }

    /// What would stay of a file.
    fn weigh(&self, shelved: &Shelved, newest: &NewestKeys) -> io::Result<Weight> {
        let mut weight = Weight { kept: 0, lost: false, superseded: Vec::new() };
        let mut kept = Vec::new();
        let now = self.shelf.clock.now();
        for run in &shelved.file.runs {
            weight.superseded.push(Vec::new());
            let Some(slot) = self.shelf.slot(run.slot) else {
                weight.lost = true;
                continue;
            };
            let policy = Policy::at(&slot, now);
            if policy.keeps_from(run.base) {
                weight.kept += u64::from(run.length);
                continue;
            }
            let mut superseded = Vec::with_capacity(usize::try_from(run.records).unwrap_or(0));
            for frame in groups(&read_run(&shelved.file, run)?) {
                let look_up = |record: &EncodedRecord<'_>| {
                    let gone = newest.supersede(frame, record);
                    superseded.push(gone);
                    gone
                };
                match policy.judge(frame, shelved.deletions(), look_up, &mut kept) {
                    Verdict::Whole(_) => weight.kept += frame.0.len() as u64,
                    Verdict::Part(..) => {
                        weight.kept += frame.0.len() as u64;
                        weight.lost = true;
                    }
                    Verdict::Gone => weight.lost = true,
                }
            }
            weight.superseded.pop();
            weight.superseded.push(superseded);
        }
        Ok(weight)
    }

    /// Writes what stays of adjacent files into one, as they were weighed; of files that were not, nothing is superseded.
    fn rewrite(&self, files: &[Shelved], weights: &[Weight]) -> io::Result<Option<SortedFile>> {
        let mut slots = BTreeMap::<u32, Vec<(&Shelved, &Run, &[bool])>>::new();
        for (at, shelved) in files.iter().enumerate() {
            for (number, run) in shelved.file.runs.iter().enumerate() {
                let superseded = weights.get(at).map_or(&[][..], |weight| &weight.superseded[number]);
                slots.entry(run.slot).or_default().push((shelved, run, superseded));
            }
        }
        let mut writer =
            SortedWriter::create(&*self.shelf.disk, self.shelf.journal, self.shelf.sorted_number())?;
        let now = self.shelf.clock.now();
        let mut kept = Vec::new();
        for (number, runs) in slots {
            let Some(slot) = self.shelf.slot(number) else { continue };
            let policy = Policy::at(&slot, now);
            for (shelved, run, superseded) in runs {
                let mut superseded = superseded.iter();
                for frame in groups(&read_run(&shelved.file, run)?) {
                    let next = |_: &EncodedRecord<'_>| superseded.next().copied().unwrap_or(false);
                    let verdict = policy.judge(frame, shelved.deletions(), next, &mut kept);
                    put(&mut writer, frame, &verdict, &kept)?;
                }
            }
        }
        writer.finish()
    }

    /// Moves the beginning of topics on whose oldest records are not to be kept.
    fn retire_old(&mut self) -> io::Result<bool> {
        let files = self.shelf.files();
        let now = self.shelf.clock.now();
        let moved = |slot: Arc<Slot>| {
            let start = slot.state().start;
            let new = first_kept(&files.sorted, &slot, now);
            (new > start).then_some((slot, new))
        };
        let starts: Vec<_> = self.shelf.slots().into_iter().filter_map(moved).collect();
        if starts.is_empty() {
            return Ok(false);
        }
        self.shelf.set_starts(&starts)?;
        Ok(true)
    }

    /// Writes a file anew of which time alone has made half useless.
    fn reclaim(&mut self) -> io::Result<bool> {
        let files = self.shelf.files();
        let now = self.shelf.clock.now();
        let useless = |shelved: &Shelved| {
            let runs = shelved.file.runs.iter();
            let bytes: u64 = runs.map(|run| self.useless(run, shelved.deletions(), now)).sum();
            bytes > 0 && bytes * 2 >= shelved.file.length - bytes.min(1024)
        };
        let Some(at) = files.sorted.iter().position(useless) else { return Ok(false) };
        let made = self.rewrite(&files.sorted[at..=at], &[])?;
        let lighter = made.as_ref().is_none_or(|made| made.length < files.sorted[at].file.length);
        let dirty = files.sorted[at].dirty;
        let gone = made.is_none();
        self.shelf.replace_sorted(at, 1, made, dirty)?;
        if gone && let Some(pass) = &mut self.pass {
            pass.forget(at);
        }
        Ok(lighter)
    }

    fn useless(&self, run: &Run, deletions: Deletions, now: EventTime) -> u64 {
        let Some(slot) = self.shelf.slot(run.slot) else { return u64::from(run.length) };
        match slot.cleanup() {
            Cleanup::Compact { .. } if run.passing.until < now && deletions == Deletions::MayExpire => {
                run.passing.bytes
            }
            Cleanup::Compact { .. } => 0,
            Cleanup::Delete { .. } => {
                let start = slot.state().start;
                let first = run.blocks.partition_point(|block| block.base < start);
                match run.blocks.get(first) {
                    _ if run.records == 0 => 0,
                    _ if run.next <= start => u64::from(run.length),
                    Some(block) => u64::from(block.position - run.position),
                    None => 0,
                }
            }
        }
    }

    /// Begins a pass if the dirty files ask for one.
    fn begin_pass(&mut self) -> io::Result<bool> {
        if self.pass.is_some() {
            return Ok(false);
        }
        let files = self.shelf.files();
        let loads = self.loads(&files);
        if !loads.pass_is_due() {
            return Ok(false);
        }
        let (clean, dirty) = files.sorted.split_at(loads.clean.files);
        let clean = clean.len();
        if clean == 0 && dirty.len() == 1 {
            // A first file has nothing before it.
            self.shelf.mark_clean(1)?;
            return Ok(true);
        }
        let keys_max = self.shelf.options.compaction_map_bytes / KEY_BYTES;
        let mut newest = NewestKeys::new(self.shelf.journal);
        let mut covered = clean;
        for shelved in dirty {
            let records: u64 = shelved.file.runs.iter().map(|run| run.records).sum();
            if covered > clean && newest.len() as u64 + records > keys_max as u64 {
                break;
            }
            self.note_keys(&shelved.file, &mut newest)?;
            covered += 1;
        }
        let allowance = loads.clean.bytes * CLEAN_SHARE / 100;
        self.pass = Some(Pass { newest, at: 0, left: covered, allowance });
        Ok(true)
    }

    fn loads(&self, files: &FileSet) -> Loads {
        let clean = files.sorted.iter().take_while(|shelved| !shelved.dirty).count();
        let (clean, dirty) = files.sorted.split_at(clean);
        Loads { clean: self.load(clean), dirty: self.load(dirty) }
    }

    /// What of some files lies in compacted topics.
    fn load(&self, files: &[Shelved]) -> Load {
        let mut load = Load { files: files.len(), bytes: 0, records: 0 };
        for run in files.iter().flat_map(|shelved| &shelved.file.runs) {
            if self.shelf.slot(run.slot).is_some_and(|s| matches!(s.cleanup(), Cleanup::Compact { .. })) {
                load.bytes += u64::from(run.length);
                load.records += run.records;
            }
        }
        load
    }

    fn note_keys(&self, file: &SortedFile, newest: &mut NewestKeys) -> io::Result<()> {
        for run in &file.runs {
            let compacted =
                self.shelf.slot(run.slot).is_some_and(|s| matches!(s.cleanup(), Cleanup::Compact { .. }));
            if !compacted {
                continue;
            }
            for frame in groups(&read_run(file, run)?) {
                for record in frame.records().flatten() {
                    let offset = frame.base().advance(u64::from(record.slot.index));
                    newest.note(frame.slot(), record.key, offset);
                }
            }
        }
        Ok(())
    }
}

impl Shelved {
    fn deletions(&self) -> Deletions {
        if self.dirty { Deletions::Stay } else { Deletions::MayExpire }
    }
}

struct Weight {
    kept: u64,
    lost: bool,
    /// Of each run, which of the records asked about were superseded: asking is the dearest part of a pass.
    superseded: Vec<Vec<bool>>,
}

/// Of the clean files, and of the dirty ones behind them.
struct Loads {
    clean: Load,
    dirty: Load,
}

struct Load {
    files: usize,
    bytes: u64,
    records: u64,
}

impl Loads {
    fn pass_is_due(&self) -> bool {
        let Loads { clean, dirty } = self;
        let heavy = |clean: u64, dirty: u64| dirty > 0 && dirty * 100 >= clean * CLEAN_SHARE;
        let first = clean.files == 0 && dirty.files == 1;
        let many = dirty.files >= DIRTY_MAX;
        first || many || heavy(clean.bytes, dirty.bytes) || heavy(clean.records, dirty.records)
    }
}
