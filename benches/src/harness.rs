//! How a benchmark is written and measured.
//!
//! ```text
//! pub(crate) const LOG_APPEND: Bench = Bench {
//!     name: "log-append",
//!     about: "durable appends, 64 producers, against fdatasync group commit of the same bytes",
//!     quick: true,
//!     run: |run| {
//!         let mut worst = Duration::ZERO;
//!         run.pair("records/s", 0.8, |side, run| {
//!             let dir = run.fresh_dir()?;                 // on a real disk, gone when dropped
//!             match side {
//!                 Side::Ours => ours(dir.path(), &mut worst),
//!                 Side::Bare => bare(dir.path()),
//!             }
//!         })?;
//!         run.figure("worst", "ms", worst.as_secs_f64() * 1e3);   // printed as `log-append.worst`
//!         Ok(())
//!     },
//! };
//! ```
//!
//! The law of a pair: both sides do the same work to the same end, and return **rates** (larger is better), so that a
//! ratio of 1 means that ours costs nothing and the goal is a lower bound. Setting up and tearing down stay outside the
//! measured span, which is what a [`Stopwatch`] is for. Each side is warmed up once, then the sides alternate as
//! `ours bare, bare ours, ours bare, ...`: a drift of the machine (heat, a filling disk, write-back that the other side left
//! behind) then weighs on both alike. The result is the median of the pairs' ratios, with the least and the greatest
//! beside it as the noise.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::report::Line;

/// Why a benchmark could not be measured.
pub(crate) type Failure = Box<dyn Error>;

/// Fewest pairs that a median is taken of.
pub(crate) const PAIRS_MIN: usize = 5;

/// One benchmark.
pub(crate) struct Bench {
    /// What it is asked for by: the room first, as in `log-append`.
    pub(crate) name: &'static str,
    /// What is compared with what, in one line.
    pub(crate) about: &'static str,
    /// Whether it runs when no name is given. That group stays under three minutes as a whole.
    pub(crate) quick: bool,
    /// Measures it: [`Run::pair`] and any number of [`Run::figure`]s.
    pub(crate) run: fn(&mut Run<'_>) -> Result<(), Failure>,
}

/// Which side of a pair is to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What this project offers.
    Ours,
    /// The barest way to the same result.
    Bare,
}

/// One run of one benchmark: what it may use, and what it has found so far.
pub(crate) struct Run<'a> {
    bench: &'a Bench,
    dir: PathBuf,
    pairs: usize,
    lines: Vec<Line>,
}

impl<'a> Run<'a> {
    /// A run that keeps its files below `dir`, which is created.
    ///
    /// # Errors
    /// When `dir` cannot be created.
    pub(crate) fn new(bench: &'a Bench, dir: &Path, pairs: usize) -> Result<Run<'a>, Failure> {
        fs::create_dir_all(dir)?;
        Ok(Run { bench, dir: dir.to_owned(), pairs: pairs.max(PAIRS_MIN), lines: Vec::new() })
    }

    /// An empty directory on the disk under test, removed with all it holds when dropped.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn fresh_dir(&self) -> Result<TempDir, Failure> {
        Ok(tempfile::Builder::new().prefix(self.bench.name).tempdir_in(&self.dir)?)
    }

    /// Measures both sides in turns. `measure` does the work of one side once and returns its rate in `unit`; the
    /// median ratio of ours to bare holds when it reaches `goal`.
    ///
    /// # Errors
    /// The first failure of `measure`, or a rate that is no positive number.
    pub(crate) fn pair(
        &mut self,
        unit: &str,
        goal: f64,
        mut measure: impl FnMut(Side, &Run<'_>) -> Result<f64, Failure>,
    ) -> Result<(), Failure> {
        let mut rate = |side| -> Result<f64, Failure> {
            let rate = measure(side, self)?;
            if rate.is_finite() && rate > 0.0 {
                Ok(rate)
            } else {
                Err(format!("{side:?}: a rate of {rate}").into())
            }
        };
        let pairs = interleave(self.pairs, &mut rate)?;
        self.lines.push(Line::pair(self.bench.name, unit, goal, &pairs));
        Ok(())
    }

    /// Notes a figure that has no bare side: printed, not judged.
    pub(crate) fn figure(&mut self, what: &str, unit: &str, value: f64) {
        self.lines.push(Line::figure(format!("{}.{what}", self.bench.name), unit, value));
    }

    /// What was found, in the order it was noted.
    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines
    }
}

/// The rates of both sides, measured next to each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) ours: f64,
    pub(crate) bare: f64,
}

impl Pair {
    pub(crate) fn ratio(self) -> f64 {
        self.ours / self.bare
    }
}

/// Warms both sides up, then measures `pairs` pairs, every second one in the other order.
fn interleave<E>(pairs: usize, rate: &mut impl FnMut(Side) -> Result<f64, E>) -> Result<Vec<Pair>, E> {
    rate(Side::Ours)?;
    rate(Side::Bare)?;
    let mut found = Vec::with_capacity(pairs);
    for turn in 0..pairs {
        let pair = if turn % 2 == 0 {
            let ours = rate(Side::Ours)?;
            Pair { ours, bare: rate(Side::Bare)? }
        } else {
            let bare = rate(Side::Bare)?;
            Pair { ours: rate(Side::Ours)?, bare }
        };
        let Pair { ours, bare } = pair;
        eprintln!(
            "  pair {} of {pairs}: ours {ours:.0}, bare {bare:.0}, ratio {:.3}",
            turn + 1,
            pair.ratio()
        );
        found.push(pair);
    }
    Ok(found)
}

/// The middle of `values`, or halfway between the two in the middle.
///
/// # Panics
/// When there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (below, above) = ((values.len() - 1) / 2, values.len() / 2);
    f64::midpoint(values[below], values[above])
}

/// Measures a span of time: the one place of the benchmarks that reads a clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark is the observer, outside of what law 8 simulates"
    )]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Things a second, when `count` of them happened since the start.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
    pub(crate) fn rate(self, count: usize) -> f64 {
        count as f64 / self.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_in_any_order() {
        let check = |values: &[f64], expected: f64| assert_eq!(median(values.iter().copied()), expected);
        check(&[3.0], 3.0);
        check(&[9.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 2.0, 100.0], 3.0);
    }

    #[test]
    fn sides_are_warmed_up_and_then_take_turns_in_going_first() {
        let mut order = String::new();
        let pairs = interleave(3, &mut |side| {
            order.push(if side == Side::Ours { 'o' } else { 'b' });
            Ok::<_, Failure>(if side == Side::Ours { 3.0 } else { 2.0 })
        });
        assert_eq!(order, "obobboob");
        assert_eq!(pairs.unwrap(), [Pair { ours: 3.0, bare: 2.0 }; 3]);
    }

    #[test]
    fn a_rate_that_is_no_number_is_a_failure() {
        let bench = Bench { name: "x", about: "", quick: true, run: |_| Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::new(&bench, dir.path(), 5).unwrap();
        assert!(run.pair("/s", 1.0, |_, _| Ok(f64::NAN)).is_err());
        assert!(run.pair("/s", 1.0, |_, _| Ok(0.0)).is_err());
        assert!(run.into_lines().is_empty());
    }
}
