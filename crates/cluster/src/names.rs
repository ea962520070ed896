//! What partitions and nodes are called.

use std::fmt;
use std::sync::Arc;

use affinity_types::PartitionId;

use crate::{Error, ErrorKind};

/// One partition of a keyspace, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionName {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Number of the partition in it.
    pub partition: PartitionId,
}

impl PartitionName {
    /// Longest name of a keyspace, in bytes: that of a topic.
    pub const KEYSPACE_MAX: usize = 249;

    /// Partition number `partition` of `keyspace`.
    pub fn new(keyspace: impl Into<Arc<str>>, partition: PartitionId) -> PartitionName {
        PartitionName { keyspace: keyspace.into(), partition }
    }

    /// Whether a partition may be called so: its keyspace has 1 to [`KEYSPACE_MAX`](PartitionName::KEYSPACE_MAX) ASCII
    /// letters, digits, `.`, `_` and `-`, as a topic has, so that every coordinator can make a path of it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the reason.
    pub fn validate(&self) -> Result<(), Error> {
        let name = &*self.keyspace;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let length = 1..=PartitionName::KEYSPACE_MAX;
        if length.contains(&name.len()) && name.bytes().all(legal) && !matches!(name, "." | "..") {
            return Ok(());
        }
        let max = PartitionName::KEYSPACE_MAX;
        let message =
            format!("keyspace name {name:?} is not 1 to {max} ASCII letters, digits, '.', '_' or '-'");
        Err(Error::new(ErrorKind::Invalid, message))
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.keyspace, self.partition)
    }
}

/// Name of a node, unique in its system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Longest name of a node, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// The node of that name.
    pub fn new(name: impl Into<Arc<str>>) -> NodeId {
        NodeId(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a node may be called so: 1 to [`BYTES_MAX`](NodeId::BYTES_MAX) bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the reason.
    pub fn validate(&self) -> Result<(), Error> {
        if (1..=NodeId::BYTES_MAX).contains(&self.0.len()) {
            return Ok(());
        }
        let message =
            format!("a node's name of {} bytes: 1 to {} are possible", self.0.len(), NodeId::BYTES_MAX);
        Err(Error::new(ErrorKind::Invalid, message))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_as_a_path() {
        assert_eq!(PartitionName::new("bank", PartitionId(3)).to_string(), "bank/3");
        assert_eq!(NodeId::new("node-a").to_string(), "node-a");
    }

    #[test]
    fn names_that_cannot_be_a_path_are_invalid() {
        let check = |keyspace: &str, expected: bool| {
            let valid = PartitionName::new(keyspace, PartitionId(0)).validate().is_ok();
            assert_eq!(valid, expected, "{keyspace:?}");
        };
        check("a.b_C-9", true);
        check(&"k".repeat(249), true);
        check(&"k".repeat(250), false);
        for keyspace in ["", ".", "..", "a/b", "a b", "ä"] {
            check(keyspace, false);
        }
        for (length, expected) in [(0, false), (1, true), (255, true), (256, false)] {
            assert_eq!(NodeId::new("n".repeat(length)).validate().is_ok(), expected, "{length}");
        }
    }
}
