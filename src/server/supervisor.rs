//! Supervises tasks. Each task must run as long as the process; if a task ends, the process fails.

use std::{any::Any, collections::HashMap, error::Error, fmt, future::pending};

use tokio::task::{Id, JoinError, JoinSet};

/// Supervised tasks. They are aborted when the supervisor is dropped.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

/// A supervised task that failed, or that ended before the shutdown.
#[derive(Debug)]
pub(super) struct TaskError {
    task: &'static str,
    end: TaskEnd,
}

#[derive(Debug)]
enum TaskEnd {
    Returned,
    Failed(anyhow::Error),
    Panicked(String),
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts a task. Its name appears in the error and in the log.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until a task ends, for any reason. Waits forever without tasks.
    pub(super) async fn failure(&mut self) -> TaskError {
        match self.tasks.join_next_with_id().await {
            Some(joined) => {
                let (task, result) = self.end(joined);
                TaskError { task, end: result.err().unwrap_or(TaskEnd::Returned) }
            }
            None => pending().await,
        }
    }

    /// Waits until every task has returned, after a request to stop.
    ///
    /// # Errors
    /// Fails with the first task that does not succeed; the other tasks are aborted.
    pub(super) async fn stopped(mut self) -> Result<(), TaskError> {
        while let Some(joined) = self.tasks.join_next_with_id().await {
            let (task, result) = self.end(joined);
            result.map_err(|end| TaskError { task, end })?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        joined: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, Result<(), TaskEnd>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result.map_err(TaskEnd::Failed)),
            Err(error) => (error.id(), Err(TaskEnd::Panicked(message(error)))),
        };
        (self.names.remove(&id).unwrap_or_default(), result)
    }
}

/// The message of a panic.
fn message(error: JoinError) -> String {
    let text = error.to_string();
    let panic: Option<Box<dyn Any + Send>> = error.try_into_panic().ok();
    let message = panic.as_deref().and_then(|panic| match panic.downcast_ref::<String>() {
        Some(message) => Some(message.clone()),
        None => panic.downcast_ref::<&str>().map(ToString::to_string),
    });
    message.unwrap_or(text)
}

// === impl TaskError ===

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task;
        match &self.end {
            TaskEnd::Returned => write!(f, "the task `{task}` ended before the shutdown"),
            TaskEnd::Failed(_) => write!(f, "the task `{task}` failed"),
            TaskEnd::Panicked(message) => write!(f, "the task `{task}` panicked: {message}"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.end {
            TaskEnd::Failed(error) => Some(error.as_ref()),
            TaskEnd::Returned | TaskEnd::Panicked(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::runtime::log::Chain;

    async fn failure(task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> String {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("metrics", pending());
        supervisor.spawn("session watch", task);
        Chain(&supervisor.failure().await).to_string()
    }

    #[tokio::test]
    async fn a_task_that_returns_is_named() {
        let expected = "the task `session watch` ended before the shutdown";
        assert_eq!(failure(async { Ok(()) }).await, expected);
    }

    #[tokio::test]
    async fn a_task_that_fails_is_named_with_the_cause() {
        let expected = "the task `session watch` failed: no such host";
        assert_eq!(failure(async { bail!("no such host") }).await, expected);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named_with_the_message() {
        let number = 7;
        assert_eq!(
            failure(async { panic!("static message") }).await,
            "the task `session watch` panicked: static message"
        );
        assert_eq!(
            failure(async move { panic!("formatted {number}") }).await,
            "the task `session watch` panicked: formatted 7"
        );
    }

    #[tokio::test]
    async fn tasks_that_were_requested_to_stop_may_return() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("webhook", async { Ok(()) });
        supervisor.stopped().await.unwrap();
        let mut supervisor = Supervisor::default();
        supervisor.spawn("webhook", async { bail!("broken pipe") });
        let error = supervisor.stopped().await.unwrap_err();
        assert_eq!(error.to_string(), "the task `webhook` failed");
    }
}
