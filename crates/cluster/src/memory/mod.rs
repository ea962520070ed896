//! The memory backend: a coordinator in one process, for tests, simulations and trying things out.
//!
//! It has no clock, no randomness and no threads: the same calls in the same order give the same answers. Between a caller
//! and the entries lies a way there and a way back:
//!
//! ```text
//!  caller ──▶ [ on the way ] ──perform──▶ entries ──▶ [ performed ] ──answer──▶ caller
//!                                                      decided, not told
//! ```
//!
//! By [default](Delivery::Automatic) a call is performed and answered at once. With [`Delivery::Manual`] nothing moves but by
//! [`MemoryCoordinator::perform`] and [`MemoryCoordinator::answer`], so that a candidate can be paused before and behind each
//! of its steps; a [`Fault`] loses a compare-and-set or its answer; and what a caller has given up stays on the way, to be
//! done later or never.
//!
//! Entries are as real coordinators count them at their worst: after [`MemoryCoordinator::wipe`] the same revisions come
//! again.

mod control;
mod coordinator;
mod state;

pub use coordinator::{Delivery, MemoryCoordinator};
pub use state::{CallId, CallView, Fault, Request, Stage};
