//! Waiting for a condition. No test waits for a fixed time instead.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Calls `probe` repeatedly until it returns `Ok`. After `limit` it fails with `what` and the last `Err`.
///
/// # Errors
/// When the time is over: the last error of `probe`.
pub async fn eventually<T, F>(what: impl Display, limit: Duration, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let mut last = "no answer".to_owned();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        // A probe that never waits has no timeout: tokio polls it before it looks at the time.
        if start.elapsed() >= limit {
            bail!("not within {limit:?}: {what}; last result: {last}");
        }
        tokio::time::sleep(INTERVAL.min(left)).await;
    }
}

/// Short enough not to delay a test, long enough for a two-core machine that also runs the cluster.
const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[tokio::test]
    async fn a_probe_that_never_waits_has_a_limit_too() {
        let probe = || async { Err::<(), _>(anyhow!("never")) };
        let error = eventually("a condition", INTERVAL, probe).await.unwrap_err().to_string();
        assert!(error.ends_with("a condition; last result: never"), "{error}");
    }
}
