//! Receives request bodies within fixed memory and time.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{sync::oneshot, time::timeout};

use super::refusal::{Refusal, RefusalReason};
use crate::runtime::https::share::{FairShare, HoldingId, HoldingState};

/// Largest accepted body, in bytes. The API server accepts requests of up to 3 MiB.
const MAX_BODY: usize = 4 << 20;

/// Memory for the bodies that the server receives at the same time. The memory is limited because any client that reaches the
/// port can send a body slowly. Each body reserves memory in the first class that accepts its size. If the class has too
/// little memory left, the oldest unfinished bodies of the client with the most end. If there are none, the server rejects the
/// body at once. There are two classes so that large bodies cannot use the memory for the review of a pod, which is
/// small. While its chunks are joined, a body can take twice its size.
const CLASSES: [SizeClass; 2] =
    [SizeClass { max_body: 256 << 10, memory: 8 << 20 }, SizeClass { max_body: MAX_BODY, memory: 8 << 20 }];

/// Minimum number of bytes that each body reserves, so that the memory also limits the number of requests.
const MIN_RESERVATION: u64 = 1024;

/// Time to read the rest of a body that is too large.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A memory limit for bodies up to a size, both in bytes.
struct SizeClass {
    max_body: usize,
    memory: u64,
}

/// The memory of each [`SizeClass`].
#[derive(Debug)]
pub(super) struct Bodies([Mutex<BodyMemory>; CLASSES.len()]);

/// The reserved memory of a class. The value of a reservation ends the body while it is being received.
type BodyMemory = FairShare<oneshot::Sender<()>>;

/// Memory for one body, until the value is dropped.
#[derive(Debug)]
struct BodyReservation<'b> {
    memory: &'b Mutex<BodyMemory>,
    id: HoldingId,
}

/// A received body and the memory that is reserved for it until the value is dropped.
#[derive(Debug)]
pub(super) struct ReceivedBody<'b> {
    pub(super) bytes: Bytes,
    reservation: BodyReservation<'b>,
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new() -> Self {
        Self(CLASSES.map(|class| Mutex::new(FairShare::new(class.memory))))
    }

    /// Reserves memory for a client's body and receives it within `time`.
    pub(super) async fn receive(
        &self,
        client: IpAddr,
        body: &mut Body,
        time: Duration,
    ) -> Result<ReceivedBody<'_>, Refusal> {
        let (reservation, displaced) = self.reserve(client, body)?;
        let bytes = tokio::select! {
            received = receive(body, time) => received?,
            _ = displaced => return Err(busy()),
        };
        // The reservation stays until the answer.
        reservation.memory().set_state(reservation.id, HoldingState::Fixed);
        Ok(ReceivedBody { bytes, reservation })
    }

    fn reserve(
        &self,
        client: IpAddr,
        body: &Body,
    ) -> Result<(BodyReservation<'_>, oneshot::Receiver<()>), Refusal> {
        // A body that is sent in chunks has no length, so it may be as large as the limit.
        let size = body.size_hint().upper().unwrap_or(MAX_BODY as u64);
        let class = CLASSES.iter().position(|class| size <= class.max_body as u64).ok_or_else(too_large)?;
        let memory = &self.0[class];
        let (displace, displaced) = oneshot::channel();
        let grant = lock(memory).take(client, size.max(MIN_RESERVATION), displace).ok_or_else(busy)?;
        for displace in grant.displaced {
            // An error means that the body has just ended.
            let _ = displace.send(());
        }
        Ok((BodyReservation { memory, id: grant.id }, displaced))
    }
}

fn lock(memory: &Mutex<BodyMemory>) -> MutexGuard<'_, BodyMemory> {
    // A poisoned lock is usable: at worst a body is counted until it ends.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl BodyReservation ===

impl BodyReservation<'_> {
    fn memory(&self) -> MutexGuard<'_, BodyMemory> {
        lock(self.memory)
    }
}

impl Drop for BodyReservation<'_> {
    fn drop(&mut self) {
        self.memory().release(self.id);
    }
}

// === impl ReceivedBody ===

impl ReceivedBody<'_> {
    /// Records that the body was a review. Its client may then reserve more than others.
    pub(super) fn was_a_review(&self) {
        self.reservation.memory().prove(self.reservation.id);
    }
}

async fn receive(body: &mut Body, time: Duration) -> Result<Bytes, Refusal> {
    let malformed = |detail: String| Refusal::new(RefusalReason::Malformed, detail);
    let received = timeout(time, Limited::new(body, MAX_BODY).collect()).await;
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
    let _ = timeout(DISCARD_TIMEOUT, rest).await;
}

fn busy() -> Refusal {
    Refusal::new(RefusalReason::Busy, "the memory for request bodies is used up; try again")
}

fn too_large() -> Refusal {
    Refusal::new(RefusalReason::TooLarge, format!("the body is over {MAX_BODY} bytes"))
}
