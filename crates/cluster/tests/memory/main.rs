//! The memory backend: each fault.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod faults;
