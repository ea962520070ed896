//! The models, and the explorer that visits all their states.

pub mod explore;
pub mod fence;
pub mod gate;
pub mod lease;
pub mod takeover;
