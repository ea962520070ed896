//! Builds of the application: a node that starts again may have another one, whose index has another function.

use std::cell::Cell;

use affinity_keyspace::{Index, Indexed};
use affinity_types::codec::CodecError;
use affinity_types::format::Format;

use crate::echoes::ECHOES;
use crate::lists::Trail;

thread_local! {
    /// That of the node whose turn it is.
    static BUILD: Cell<u32> = const { Cell::new(0) };
}

/// How many there are.
pub(crate) const BUILDS: u32 = 3;

/// What runs from here on is of this build.
pub(crate) fn run_as(build: u32) {
    BUILD.set(build);
}

/// Echoes by their length, which each build tells in its own way.
pub(crate) const BY_LENGTH: Index<str, Trail, u64> =
    Index::new("by_length", 0, &ECHOES, |trail| vec![length_key(trail, BUILD.get())]);

fn length_key(trail: &Trail, build: u32) -> u64 {
    u64::from(build) << 32 | trail.0.len() as u64
}

/// Whether one is found by its length, in the way of this build and no other.
pub(crate) fn is_measured(key: &str, trail: &Trail, by_length: impl Fn(&u64) -> Vec<String>) -> bool {
    (0..BUILDS).all(|build| {
        let found = by_length(&length_key(trail, build)).iter().any(|other| other == key);
        found == (build == BUILD.get())
    })
}

/// [`BY_LENGTH`] with the version of the build.
pub(crate) struct ByLength;

impl Indexed for ByLength {
    fn name(&self) -> &'static str {
        BY_LENGTH.name()
    }

    fn version(&self) -> u32 {
        BUILD.get()
    }

    fn store(&self) -> &'static str {
        ECHOES.name()
    }

    fn is_unique(&self) -> bool {
        false
    }

    fn keys(&self, value: &[u8], format: &Format, show: &mut dyn FnMut(&[u8])) -> Result<(), CodecError> {
        Indexed::keys(&BY_LENGTH, value, format, show)
    }
}
