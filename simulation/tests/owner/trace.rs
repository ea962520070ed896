//! What happened in a run, in order: its hash always, its lines if they are asked for.

use std::cell::RefCell;
use std::fmt::{Arguments, Write};
use std::rc::Rc;

/// A trace that several hold, so that it outlives a run that panics.
#[derive(Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    hash: u64,
    line: String,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub(crate) fn keeping() -> Trace {
        Trace(Rc::new(RefCell::new(State { kept: Some(Vec::new()), ..State::default() })))
    }

    pub(crate) fn note(&self, what: Arguments<'_>) {
        let State { hash, line, kept } = &mut *self.0.borrow_mut();
        line.clear();
        let _ = line.write_fmt(what);
        // FNV-1a (Fowler, Noll, Vo) over words.
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            *hash = (*hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
        if let Some(kept) = kept {
            kept.push(line.clone());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// The last `n` lines, if lines are kept.
    pub(crate) fn last(&self, n: usize) -> Vec<String> {
        let kept = self.0.borrow().kept.clone().unwrap_or_default();
        kept[kept.len().saturating_sub(n)..].to_vec()
    }
}
