//! The tasks of the process. Each is needed for as long as the process runs: when one ends before, by a panic say, the
//! process stops, and says so, instead of going on with a part missing.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::start_error::StartError;

/// All tasks that write, read or serve.
#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// The first that ended too early.
    ended: Arc<OnceLock<&'static str>>,
}

impl Tasks {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, ended: Arc::default() }
    }

    /// What tells the tasks to end.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that ends when it is told to stop, and not before.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, ended) = (self.stop.clone(), Arc::clone(&self.ended));
        let task = self.tracker.spawn(task);
        self.tracker.spawn(async move {
            let failed = task.await.is_err();
            if failed || !stop.is_cancelled() {
                tracing::error!(task = name, "a task has ended, so the process ends");
                ended.get_or_init(|| name);
                stop.cancel();
            }
        });
    }

    /// Starts a task that never ends, and may be given up at any point.
    pub(crate) fn spawn_until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Waits until all have ended, but not for longer than `limit`. An error when one ended before it was told to.
    pub(crate) async fn end(self, limit: Duration) -> Result<(), StartError> {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!("work under way is cut off");
        }
        self.ended.get().map_or(Ok(()), |name| Err(StartError::Ended(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_is_missed_ends_the_process() {
        let check = |task: fn(CancellationToken) -> futures::future::BoxFuture<'static, ()>, early: bool| async move {
            let tasks = Tasks::new(CancellationToken::new());
            tasks.spawn("it", task(tasks.stop()));
            if early {
                tasks.stop().cancelled().await;
            } else {
                tasks.stop().cancel();
            }
            assert_eq!(tasks.end(Duration::from_secs(60)).await.is_err(), early);
        };
        check(|stop| Box::pin(async move { stop.cancelled().await }), false).await;
        check(|_| Box::pin(async {}), true).await;
        check(|_| Box::pin(async { panic!("by a fault") }), true).await;
    }
}
