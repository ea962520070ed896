//! The backend on disk: fjall, one database a node.

mod database;
mod due;
mod layout;
mod store;

pub use database::{Disk, DiskSettings, Opened};
pub use store::DiskStore;
