//! Polls the sockets and publishes the results. A poll usually takes a few milliseconds and calls no driver, so the thread of the
//! HTTP server can poll.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    monitors::Monitors,
    socket_reader::SocketReader,
    track::{
        PresenceTrack,
        snapshot::{Method, PresenceSnapshot},
    },
    viewers::Ports,
    vocabulary::PresenceSource,
};

/// Polls for one session.
#[derive(Debug)]
pub struct Poller {
    /// None if presence is switched off.
    session: Option<(SocketReader, PresenceTrack)>,
    monitors: Monitors,
    /// Number of polls in a row without a result.
    failures: u32,
    snapshots: watch::Sender<Arc<PresenceSnapshot>>,
}

/// Number of polls in a row without a result after which the number of viewers is not known any more.
const MAX_FAILURES: u32 = 2;

// === impl Poller ===

impl Poller {
    /// Makes the first poll. `root` is the root folder of the files; `ports` says which connections count, none switches presence off.
    ///
    /// Call this before another thread loads a library. Otherwise this thread may wait for that thread when it uses a thread-local value
    /// for the first time (glibc's `dl_load_lock`).
    #[must_use]
    pub fn start(root: &Path, ports: Option<Ports>) -> Self {
        let session =
            ports.map(|ports| (SocketReader::new(root.join("proc/net")), PresenceTrack::new(ports)));
        let first = if session.is_some() { PresenceSnapshot::default() } else { PresenceSnapshot::off() };
        let snapshots = watch::channel(Arc::new(first)).0;
        let mut poller = Self { session, monitors: Monitors::default(), failures: 0, snapshots };
        poller.poll();
        poller
    }

    /// The list to which the HTTP server adds the peers that scrape the sidecar; none if presence is switched off.
    #[must_use]
    pub fn monitors(&self) -> Option<Monitors> {
        self.session.as_ref().map(|_| self.monitors.clone())
    }

    /// Receives the latest snapshot.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<PresenceSnapshot>> {
        self.snapshots.subscribe()
    }

    /// Polls at every interval. Does not return.
    pub async fn run(&mut self, interval: Duration) -> Infallible {
        loop {
            tokio::time::sleep(interval).await;
            self.poll();
        }
    }

    /// Polls once. At the end of the session this adds the time since the last poll.
    pub fn poll(&mut self) {
        let Some((reader, track)) = &mut self.session else { return };
        let poll = || {
            let read = reader.read(Instant::now())?;
            let at = Instant::now();
            track.observe(read, &self.monitors.addresses(at), at, SystemTime::now());
            Some(())
        };
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Some(())) => {
                self.failures = 0;
                log_change(self.snapshots.borrow().method.as_ref(), track.snapshot());
                self.snapshots.send_replace(Arc::new(track.snapshot().clone()));
                return;
            }
            Ok(None) => tracing::debug!("The connections cannot be read now; the next poll tries again"),
            Err(_) => tracing::error!("A poll of the connections panicked; polling continues"),
        }
        self.failures += 1;
        if self.failures == MAX_FAILURES {
            track.lose();
            self.snapshots.send_replace(Arc::new(track.snapshot().clone()));
        }
    }
}

/// Logs if the source has changed.
fn log_change(earlier: Option<&Method>, snapshot: &PresenceSnapshot) {
    let Some(method) = snapshot.method.as_ref() else { return };
    if earlier.is_some_and(|earlier| earlier.source == method.source) {
        return;
    }
    let failed =
        method.passed.iter().map(|(source, reason)| format!("{}={}", source.as_str(), reason.as_str()));
    let (source, failed) = (method.source.as_str(), failed.collect::<Vec<_>>().join(","));
    if method.source == PresenceSource::SockDiag {
        tracing::info!(source, "The connections of the desktop can be read");
    } else {
        tracing::warn!(
            source,
            failed,
            "The desktop's connections cannot be read from the best source; docs/presence.md has the remedies"
        );
    }
}
