//! The one thread that calls NVML. It may hang in the driver for ever: then the snapshot grows old, and nothing else.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    attribution::{self, Reason},
    config::Config,
    counters::Counters,
    snapshot::{Collection, Gpu, Snapshot},
};
use crate::gpu::{Code, Library, Sample};

struct Poller {
    library: Library,
    counters: Counters,
    snapshot: Snapshot,
}

/// Reads at once and then at every interval, until the process ends.
///
/// # Errors
/// Fails where the thread cannot be started.
pub(super) fn spawn(config: Config) -> io::Result<watch::Receiver<Arc<Snapshot>>> {
    let interval = config.interval;
    let mut poller = Poller::new(config);
    let (publish, snapshots) = watch::channel(Arc::new(poller.snapshot.clone()));
    thread::Builder::new().name("nvml-poller".to_owned()).spawn(move || {
        loop {
            poller.poll_contained();
            publish.send_replace(Arc::new(poller.snapshot.clone()));
            thread::sleep(jittered(interval));
        }
    })?;
    Ok(snapshots)
}

/// 90 to 110 % of the interval, so that the sidecars of one card drift apart. The driver serialises their calls.
fn jittered(interval: Duration) -> Duration {
    // The standard library's only source of randomness; a fresh one at each call.
    let random = RandomState::new().hash_one(()) % 1000;
    interval.mul_f64(0.9 + 0.2 * (random as f64 / 1000.0))
}

// === impl Poller ===

impl Poller {
    fn new(config: Config) -> Self {
        Self {
            library: Library::new(config.nvml_library),
            counters: Counters::new(config.interval),
            snapshot: Snapshot {
                session: config.session,
                started: SystemTime::now(),
                gpu: Err(Reason::Starting),
                busy: Vec::new(),
                collection: None,
                faults: Vec::new(),
                nvml_version: None,
            },
        }
    }

    /// nvml-wrapper panics where a library lacks `nvmlShutdown`. Neither that nor anything else may end the polling.
    fn poll_contained(&mut self) {
        let begun = Instant::now();
        let (gpu, success) = catch_unwind(AssertUnwindSafe(|| self.poll())).unwrap_or_else(|_| {
            tracing::error!("Reading the GPU panicked");
            (Err(Reason::DriverError), false)
        });
        log_change(&self.snapshot.gpu, &gpu);
        self.snapshot.gpu = gpu;
        self.snapshot.busy = self.counters.busy();
        self.snapshot.faults = self.counters.faults();
        self.snapshot.collection =
            Some(Collection { at: SystemTime::now(), duration: begun.elapsed(), success });
    }

    fn poll(&mut self) -> (Result<Gpu, Reason>, bool) {
        let gpu = self.read();
        let faults = self.library.settle();
        for fault in &faults {
            self.counters.failed(*fault);
        }
        if let Ok(Gpu { uuid, attribution, sample: Sample { utilization: Some(ratio), .. }, .. }) = &gpu {
            self.counters.worked(uuid, attribution.scope, *ratio, Instant::now());
        }
        let success = gpu.is_ok()
            && faults.iter().all(|fault| matches!(fault.code, Code::NotSupported | Code::SymbolMissing));
        (gpu, success)
    }

    fn read(&mut self) -> Result<Gpu, Reason> {
        let mut driver = self.library.driver()?;
        self.snapshot.nvml_version.clone_from(&driver.versions().nvml);
        let mut visible = driver.visible()?;
        let (index, attribution) = attribution::decide(&visible)?;
        Ok(Gpu {
            uuid: visible.swap_remove(index).uuid,
            attribution,
            driver_version: driver.versions().driver.clone(),
            sample: driver.sample(index)?,
        })
    }
}

fn log_change(before: &Result<Gpu, Reason>, after: &Result<Gpu, Reason>) {
    match (before, after) {
        (Ok(before), Ok(after)) if before.uuid == after.uuid => {}
        (Err(before), Err(after)) if before == after => {}
        (_, Ok(gpu)) => tracing::info!(gpu = gpu.uuid, "The session has a GPU"),
        (_, Err(reason)) => {
            tracing::warn!(reason = reason.as_str(), "The session has no GPU that we can read")
        }
    }
}
