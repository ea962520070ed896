//! Messages to keys that were not sent yet: how they are sent is for their sender to say.

use std::time::Duration;

use affinity_types::RequestId;
use affinity_types::codec::Encode;

use super::Router;
use crate::{Failure, Handle, Partition, Reply};

/// Takes one message's answer out of those of all messages; `None` if it is another's.
pub type TakeAnswer<P, T> = fn(<P as Partition>::Answer) -> Option<T>;

/// A command for a key.
#[must_use = "a command goes out by tell, ask or ask_with_retry"]
pub struct CommandCall<'r, P: Partition, T> {
    router: &'r Router<P>,
    owner: &'r Handle<P>,
    command: P::Command,
    take: TakeAnswer<P, T>,
    within: Option<Duration>,
    request: Option<RequestId>,
}

/// A query for a key.
#[must_use = "a query goes out by ask"]
pub struct QueryCall<'r, P: Partition, T> {
    router: &'r Router<P>,
    owner: &'r Handle<P>,
    query: P::Query,
    take: TakeAnswer<P, T>,
    within: Option<Duration>,
}

/// A query for all partitions.
#[must_use = "a query goes out by scatter"]
pub struct ScatterCall<'r, P: Partition, T> {
    router: &'r Router<P>,
    query: P::Query,
    take: TakeAnswer<P, T>,
    within: Option<Duration>,
}

impl<P: Partition> Router<P> {
    /// A command for a key, whose answer `take` takes out.
    pub fn command_call<K: Encode + ?Sized, T>(
        &self,
        key: &K,
        command: P::Command,
        take: TakeAnswer<P, T>,
    ) -> CommandCall<'_, P, T> {
        CommandCall { router: self, owner: self.owner(key), command, take, within: None, request: None }
    }

    /// A query for a key, whose answer `take` takes out.
    pub fn query_call<K: Encode + ?Sized, T>(
        &self,
        key: &K,
        query: P::Query,
        take: TakeAnswer<P, T>,
    ) -> QueryCall<'_, P, T> {
        QueryCall { router: self, owner: self.owner(key), query, take, within: None }
    }

    /// A query for all partitions, whose answers `take` takes out.
    pub fn scatter_call<T>(&self, query: P::Query, take: TakeAnswer<P, T>) -> ScatterCall<'_, P, T> {
        ScatterCall { router: self, query, take, within: None }
    }
}

impl<P: Partition, T> CommandCall<'_, P, T> {
    /// Waits at most so long for the answer, instead of [`RouterSettings::deadline_ms`](crate::RouterSettings::deadline_ms).
    pub fn within(self, limit: Duration) -> Self {
        CommandCall { within: Some(limit), ..self }
    }

    /// Gives it the id of a request that somebody else tries again: [`ask_with_retry`](CommandCall::ask_with_retry) uses it.
    pub fn under(self, request: RequestId) -> Self {
        CommandCall { request: Some(request), ..self }
    }

    /// Sends it and waits for nothing, as [`Router::tell`].
    ///
    /// # Errors
    /// `Overloaded` or `Unavailable`: it was not sent.
    pub fn tell(self) -> Result<(), Failure<P::Error>> {
        self.owner.command(self.command, None, None, None)
    }

    /// Sends it once, as [`Router::ask`].
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn ask(self) -> Reply<T, P::Error> {
        let answer =
            self.router.try_once(self.owner, self.command, None, self.router.deadline(self.within)).await?;
        (self.take)(answer).ok_or_else(strange)
    }

    /// Sends it again and again until it has an answer, as [`Router::ask_as`]: it is applied once.
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn ask_with_retry(self) -> Reply<T, P::Error>
    where
        P::Command: Clone,
    {
        let request = self.request.unwrap_or_else(|| self.router.next_request());
        let answer = self.router.retry(self.owner, request, self.command, self.within).await?;
        (self.take)(answer).ok_or_else(strange)
    }
}

impl<P: Partition, T> QueryCall<'_, P, T> {
    /// Waits at most so long for the answer, instead of [`RouterSettings::deadline_ms`](crate::RouterSettings::deadline_ms).
    pub fn within(self, limit: Duration) -> Self {
        QueryCall { within: Some(limit), ..self }
    }

    /// Sends it, as [`Router::query`].
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn ask(self) -> Reply<T, P::Error> {
        let answer = self.router.query_owner(self.owner, self.query, self.within).await?;
        (self.take)(answer).ok_or_else(strange)
    }
}

impl<P: Partition, T> ScatterCall<'_, P, T> {
    /// Waits at most so long for all answers, instead of [`RouterSettings::deadline_ms`](crate::RouterSettings::deadline_ms).
    pub fn within(self, limit: Duration) -> Self {
        ScatterCall { within: Some(limit), ..self }
    }

    /// Asks all partitions and folds their answers into `start`, as [`Router::scatter`].
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn scatter<A>(self, start: A, mut combine: impl FnMut(A, T) -> A) -> Reply<A, P::Error>
    where
        P::Query: Clone,
    {
        let ScatterCall { router, query, take, within } = self;
        let fold = |gathered: Option<A>, answer| Some(combine(gathered?, take(answer)?));
        router.scatter(query, Some(start), fold, within).await?.ok_or_else(strange)
    }
}

/// An answer that is another message's.
fn strange<E>() -> Failure<E> {
    Failure::Corrupt("the answer is one to another message".to_owned())
}
