//! Looking ahead in a scan.
//!
//! Values that were written at different times lie far apart, and each has to come from memory. Looked at one by one, a scan
//! waits for each; looked at many at a time, before any of them is used, they come together.

use std::hint::black_box;

use super::key::CompactKey;
use super::tree::Record;

/// Most entries ahead: about what a processor fetches at the same time.
const AHEAD_MAX: usize = 32;
/// What it fetches at once.
const LINE_BYTES: usize = 64;

type Entry<'a> = (&'a CompactKey, &'a Record);

struct Ahead<'a, I> {
    entries: I,
    /// The next are at `at` and behind.
    looked_at: [Option<Entry<'a>>; AHEAD_MAX],
    at: usize,
    /// How many are looked at together: at first few, since a scan may end with them.
    together: usize,
}

/// The same entries, whose records have been looked at a little before.
pub(crate) fn ahead<'a>(entries: impl Iterator<Item = Entry<'a>>) -> impl Iterator<Item = Entry<'a>> {
    Ahead { entries, looked_at: [None; AHEAD_MAX], at: AHEAD_MAX, together: 1 }
}

impl<'a, I: Iterator<Item = Entry<'a>>> Ahead<'a, I> {
    fn look(&mut self) {
        self.at = AHEAD_MAX - self.together;
        self.together = (2 * self.together).min(AHEAD_MAX);
        for place in &mut self.looked_at[self.at..] {
            *place = self.entries.next();
        }
        let mut seen = 0;
        for (_, record) in self.looked_at[self.at..].iter().flatten() {
            // Of long ones the beginning: the rest follows it. The fewer steps, the more records are on their way at once.
            let last = record.len().saturating_sub(1);
            for at in [0, LINE_BYTES.min(last), (2 * LINE_BYTES).min(last)] {
                seen ^= record.get(at).copied().unwrap_or_default();
            }
        }
        black_box(seen);
    }
}

impl<'a, I: Iterator<Item = Entry<'a>>> Iterator for Ahead<'a, I> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.at == AHEAD_MAX {
            self.look();
        }
        let entry = self.looked_at[self.at]?;
        self.at += 1;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_are_the_same() {
        for count in 0..150 {
            let entries: Vec<(CompactKey, Record)> = (0..count)
                .map(|n: u8| (CompactKey::new(&[n]), vec![n; 3 * usize::from(n)].into_boxed_slice()))
                .collect();
            let seen = ahead(entries.iter().map(|(key, record)| (key, record)));
            assert!(seen.eq(entries.iter().map(|(key, record)| (key, record))));
        }
    }
}
