//! Waiting by hand: a waker that can be listened for, and futures side by side.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::BoxFuture;

/// A waker that tells whether it was woken.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    rung: bool,
    listener: Option<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let listener = {
            let mut heard = self.0.lock().expect("nobody panics under the lock");
            heard.rung = true;
            heard.listener.take()
        };
        if let Some(listener) = listener {
            listener.wake();
        }
    }
}

impl Bell {
    /// Polls something once, under this bell.
    pub(super) fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }

    /// Waits until it has rung.
    pub(super) async fn heard(&self) {
        poll_fn(|cx| {
            let mut heard = self.0.lock().expect("nobody panics under the lock");
            if heard.rung {
                return Poll::Ready(());
            }
            heard.listener = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Runs futures side by side to their ends.
pub(super) async fn side_by_side(mut running: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|cx| {
        running.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
