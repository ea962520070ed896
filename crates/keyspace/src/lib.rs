//! The owner of a partition.
