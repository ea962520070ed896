//! Scans from outside, over owners on a log in memory that are polled by hand.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod disk;
mod lifetime;
mod model;
mod world;
