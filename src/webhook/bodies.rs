//! Receives request bodies within fixed memory and time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::refusal::{Refusal, RefusalReason};

/// Largest accepted body, in bytes. The API server accepts requests of up to 3 MiB.
const MAX_BODY: usize = 4 << 20;

/// Memory for the bodies that the server receives at the same time. The memory is limited because any client that reaches the
/// port can send a body slowly. Each body reserves memory in the first class that accepts its size. If the class has too
/// little memory left, the server rejects the body at once. There are two classes so that large bodies cannot use the memory
/// for the review of a pod, which is small. While its chunks are joined, a body can take twice its size.
const CLASSES: [SizeClass; 2] =
    [SizeClass { max_body: 256 << 10, memory: 8 << 20 }, SizeClass { max_body: MAX_BODY, memory: 8 << 20 }];

/// Minimum number of bytes that each body reserves, so that the memory also limits the number of requests.
const MIN_RESERVATION: u64 = 1024;

/// Timeout for the arrival of a body. After the same time the API server stops waiting for the answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A memory limit for bodies up to a size, both in bytes.
struct SizeClass {
    max_body: usize,
    memory: usize,
}

/// The free memory of each [`SizeClass`]: one permit is one byte.
#[derive(Debug)]
pub(super) struct Bodies([Semaphore; CLASSES.len()]);

/// A received body and the memory that is reserved for it until the value is dropped.
#[derive(Debug)]
pub(super) struct ReceivedBody<'b> {
    pub(super) bytes: Bytes,
    _memory: SemaphorePermit<'b>,
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new() -> Self {
        Self(CLASSES.map(|class| Semaphore::new(class.memory)))
    }

    /// Reserves memory for the body and receives it.
    pub(super) async fn receive(&self, body: &mut Body) -> Result<ReceivedBody<'_>, Refusal> {
        let _memory = self.reserve(body)?;
        Ok(ReceivedBody { bytes: receive(body).await?, _memory })
    }

    fn reserve(&self, body: &Body) -> Result<SemaphorePermit<'_>, Refusal> {
        // A body that is sent in chunks has no length, so it may be as large as the limit.
        let size = body.size_hint().upper().unwrap_or(MAX_BODY as u64);
        let class = CLASSES.iter().position(|class| size <= class.max_body as u64).ok_or_else(too_large)?;
        let bytes = u32::try_from(size.max(MIN_RESERVATION)).map_err(|_| too_large())?;
        self.0[class]
            .try_acquire_many(bytes)
            .map_err(|_| Refusal::new(RefusalReason::Busy, "too many bodies are being received"))
    }
}

async fn receive(body: &mut Body) -> Result<Bytes, Refusal> {
    let malformed = |detail: String| Refusal::new(RefusalReason::Malformed, detail);
    let received = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match received.map_err(|_| Refusal::new(RefusalReason::Timeout, "the body did not arrive in time"))? {
        Ok(collected) => Some(collected.to_bytes())
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| malformed("the body is empty".to_owned())),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(malformed(format!("the body ended early: {error}"))),
    }
}

/// Reads the rest of a body that is too large. Otherwise the client would see a closed connection instead of the answer.
pub(super) async fn discard(body: &mut Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // A client that is slower than the timeout does not get the answer.
    let _ = tokio::time::timeout(BODY_TIMEOUT, rest).await;
}

fn too_large() -> Refusal {
    Refusal::new(RefusalReason::TooLarge, format!("the body is over {MAX_BODY} bytes"))
}
