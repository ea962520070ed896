//! JSON as text: a reader that is asked for what should come next, a tree for what is not known beforehand, and a writer.
//!
//! Of our own, since the limits of [`Limits`](crate::Limits) hold while reading, numbers must not go through a double, and a
//! compiled record asks for its fields in the order they were written, without a tree or a visitor between.

mod reader;
mod tree;
mod value;
mod writer;

pub use reader::{JsonKind, JsonReader};
pub(crate) use tree::Json;
pub use value::{unwrapped, wrapped};
pub use writer::JsonWriter;
pub(crate) use writer::put_quoted;

/// How values are written as JSON.
///
/// | | plain | Avro's |
/// |---|---|---|
/// | bytes, fixed | base64 | characters U+0000 to U+00FF |
/// | union of null and one other | the value | `{"branch": value}` |
/// | any other union | `{"branch": value}` | `{"branch": value}` |
/// | null in a union | `null` | `null` |
/// | field left out, when read | its default | its default |
/// | NaN and the infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` | the same |
///
/// Logical types are as what they are made of. A branch is called by the full name of its type, or Avro's word for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonForm {
    /// As people write it.
    #[default]
    Plain,
    /// As Avro's specification has it.
    Avro,
}
