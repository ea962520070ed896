//! JSON as text: a reader that is asked for what should come next, a tree for what is not known beforehand, and a writer.
//!
//! Of our own, since the limits of [`Limits`](crate::Limits) hold while reading, numbers must not go through a double, and a
//! compiled record asks for its fields in the order they were written, without a tree or a visitor between.

mod reader;
mod tree;

pub use reader::{JsonKind, JsonReader};
pub(crate) use tree::Json;
