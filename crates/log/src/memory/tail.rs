//! The reader.

use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_types::Offset;
use affinity_types::TopicId;

use super::state::{Shared, not_found, out_of_range};
use crate::{Batch, Error, Tail, TopicPartition};

pub(super) struct MemoryTail {
    pub(super) shared: Arc<Shared>,
    pub(super) place: TopicPartition,
    pub(super) topic: TopicId,
    pub(super) id: u64,
    pub(super) next: Offset,
}

impl Tail for MemoryTail {
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Batch, Error>> {
        let bytes_max = self.shared.options.batch_bytes;
        let read = self.shared.with(|state| {
            let partition =
                state.partition_of(&self.place, self.topic).ok_or_else(|| not_found(&self.place))?;
            if self.next < partition.start {
                return Err(out_of_range(&self.place, self.next, partition.start, partition.end));
            }
            let batch = partition.read(&self.place, self.next, bytes_max)?;
            // A waker that is replaced leaves with the answer, to be dropped outside of the lock.
            let replaced = match batch {
                None => partition.waiting.insert(self.id, cx.waker().clone()),
                Some(_) => None,
            };
            Ok((batch, replaced))
        });
        match read {
            Err(error) => Poll::Ready(Err(error)),
            Ok((None, _)) => Poll::Pending,
            Ok((Some(batch), _)) => {
                self.next = batch.next();
                Poll::Ready(Ok(batch))
            }
        }
    }
}

impl Drop for MemoryTail {
    fn drop(&mut self) {
        let waker = self.shared.with(|state| {
            state
                .partition_of(&self.place, self.topic)
                .and_then(|partition| partition.waiting.remove(&self.id))
        });
        drop(waker);
    }
}
