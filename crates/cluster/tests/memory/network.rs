//! A network that keeps no order: each time somebody waits, some held call of anybody goes a step further.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use affinity_cluster::memory::{MemoryCoordinator, Stage};
use affinity_cluster::{BoxFuture, Cas, Coordinator, Error, Mastership, PartitionName, Revision, Seen};

#[derive(Clone)]
pub(super) struct Network {
    coordinator: MemoryCoordinator,
    /// SplitMix64: the walk of a seed is the same everywhere.
    dice: Arc<Mutex<u64>>,
}

impl Network {
    pub(super) fn new(coordinator: MemoryCoordinator, seed: u64) -> Network {
        Network { coordinator, dice: Arc::new(Mutex::new(seed)) }
    }

    fn below(&self, n: usize) -> usize {
        let mut state = self.dice.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    /// Moves one call that somebody waits for.
    fn step(&self) {
        let mut held = self.coordinator.held();
        held.retain(|call| call.stage != Stage::GivenUp);
        if held.is_empty() {
            return;
        }
        let call = &held[self.below(held.len())];
        match call.stage {
            Stage::OnTheWay => assert!(self.coordinator.perform(call.id)),
            Stage::Performed => assert!(self.coordinator.answer(call.id)),
            Stage::GivenUp => unreachable!("they were left out"),
        }
    }

    /// Polls a call, then lets the network go on.
    fn poll<T>(&self, call: &mut BoxFuture<'_, T>, cx: &mut Context<'_>) -> Poll<T> {
        let answer = call.as_mut().poll(cx);
        if answer.is_pending() {
            self.step();
            cx.waker().wake_by_ref();
        }
        answer
    }
}

impl Coordinator for Network {
    fn read<'a>(&'a self, partition: &'a PartitionName) -> BoxFuture<'a, Result<Seen, Error>> {
        let mut call = self.coordinator.read(partition);
        Box::pin(poll_fn(move |cx| self.poll(&mut call, cx)))
    }

    fn compare_and_set<'a>(
        &'a self,
        partition: &'a PartitionName,
        expected: Revision,
        new: Mastership,
    ) -> BoxFuture<'a, Result<Cas, Error>> {
        let mut call = self.coordinator.compare_and_set(partition, expected, new);
        Box::pin(poll_fn(move |cx| self.poll(&mut call, cx)))
    }
}
