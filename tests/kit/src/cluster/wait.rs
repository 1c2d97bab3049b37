//! Waiting for what becomes true: no test waits for a time instead.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` again and again until it answers `Ok`; after `limit` fails with `what` and the last `Err`.
///
/// # Errors
/// What was last seen instead, when the time is over.
pub async fn eventually<T, F>(what: impl Display, limit: Duration, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let mut seen = "no answer".to_owned();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => seen = format!("{error:#}"),
            Err(_) => bail!("not within {limit:?}: {what}; last seen: {seen}"),
        }
        tokio::time::sleep(INTERVAL.min(left)).await;
    }
}

/// Often enough to cost a test little, seldom enough for a two-core machine that runs a cluster beside it.
const INTERVAL: Duration = Duration::from_millis(100);
