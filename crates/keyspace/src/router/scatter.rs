//! One query to all partitions, and one answer made of theirs.

use std::collections::VecDeque;
use std::time::Duration;

use super::Router;
use crate::{Partition, Reply};

impl<P: Partition> Router<P> {
    /// Asks all partitions, [`scatter_max`](super::RouterSettings::scatter_max) at a time, and folds their answers into
    /// `start` in the order of the partitions, whichever answers first. There is no moment at which all answers were true: each
    /// is true of its partition.
    ///
    /// # Errors
    /// All or nothing: the failure of the first partition in their order that did not answer. The deadline is one for all.
    pub async fn scatter<T>(
        &self,
        query: P::Query,
        start: T,
        mut combine: impl FnMut(T, P::Answer) -> T,
        within: Option<Duration>,
    ) -> Reply<T, P::Error>
    where
        P::Query: Clone,
    {
        let deadline = self.deadline(within);
        let most = self.shared.parts.settings.scatter_max.max(1);
        let (mut asked, mut gathered) = (VecDeque::new(), start);
        let mut owners = self.shared.handles.iter();
        loop {
            while asked.len() < most {
                let Some(owner) = owners.next() else { break };
                asked.push_back(self.send_query(owner, query.clone(), deadline));
            }
            let Some(first) = asked.pop_front() else { return Ok(gathered) };
            gathered = combine(gathered, self.await_read(first?, deadline).await?);
        }
    }
}
