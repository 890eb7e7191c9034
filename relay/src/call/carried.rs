//! A call that goes on without its caller.
//!
//! For: carrying a call through where its caller waits for the answer, which takes no task, and in a task of its own as
//! soon as nobody waits there any more.
//! May not touch: what the call does.
//! Claims: a call that has begun is carried to its end, whatever becomes of whoever waited for its answer; one that
//! panics ends alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A call under way.
pub(crate) struct Carried<F: Future<Output = ()> + Send + 'static> {
    /// `None`: it has ended.
    call: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Carried<F> {
    pub(crate) fn new(call: F) -> Self {
        Self { call: Some(Box::pin(call)) }
    }

    /// Waits for the answer that the call sends. What is left of the call then (the rest of a stream), or when this is
    /// dropped (the caller has left), goes on in a task. An error: the call ended without an answer, so it panicked.
    pub(crate) async fn until<T>(
        mut self,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, oneshot::error::RecvError> {
        let mut answer = pin!(answer);
        std::future::poll_fn(|context| {
            self.advance(context);
            answer.as_mut().poll(context)
        })
        .await
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        let Some(call) = &mut self.call else { return };
        // As in a task of its own, a panic must not take the caller's connection along. Its message goes by the panic hook;
        // the settlement, which is dropped here, ends the hold.
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) | Err(_) => self.call = None,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Drop for Carried<F> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        // Without a runtime the process is ending, and the settlement says so.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn what_follows_the_answer_goes_on_in_a_task() {
        let (sender, answer) = oneshot::channel();
        let (go_on, is_done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, done) = (go_on.clone(), is_done.clone());
        let call = Carried::new(async move {
            sender.send(7).unwrap();
            told.notified().await;
            done.notify_one();
        });
        assert_eq!(call.until(answer).await, Ok(7));
        go_on.notify_one();
        is_done.notified().await;
    }

    #[tokio::test]
    async fn a_caller_who_leaves_ends_only_the_waiting() {
        let (sender, answer) = oneshot::channel::<()>();
        let (begun, is_done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (started, done) = (begun.clone(), is_done.clone());
        let call = Carried::new(async move {
            let mut sender = sender;
            started.notify_one();
            // It learns of it, too.
            sender.closed().await;
            done.notify_one();
        });
        let waiting = tokio::spawn(call.until(answer));
        begun.notified().await;
        waiting.abort();
        is_done.notified().await;
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_never_comes() {
        let (sender, answer) = oneshot::channel::<()>();
        let dropped = Arc::new(AtomicBool::new(false));
        struct Witness(Arc<AtomicBool>);
        impl Drop for Witness {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let witness = Witness(dropped.clone());
        let call = Carried::new(async move {
            let _held = (sender, witness);
            panic!("a fault of the call");
        });
        assert!(call.until(answer).await.is_err());
        assert!(dropped.load(Ordering::SeqCst));
    }
}
