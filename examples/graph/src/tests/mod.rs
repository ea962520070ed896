//! The proof: handlers one by one, every order of messages on small graphs, whole partitions under faults, real input.
//!
//! It lies inside of the crate since two of its ways take rules away, which no build outside can.

mod flights;
mod handlers;
mod model;
mod picture;
mod simulation;
mod world;
