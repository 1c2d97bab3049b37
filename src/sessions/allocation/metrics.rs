//! The family that shows the devices of each session.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::Registry;

use super::store::{AllocationInfo, AllocationStore};
use crate::{
    runtime::catalogue::{Catalogue, MetricType, Row, Series, Source},
    sessions::shared::SharedLedger,
};

/// The metric of the devices. The labels name the pod of the session and not the replica, so the monitor needs `honorLabels`.
pub const ROWS: &[Row<[AllocationInfo]>] = &[Row {
    name: "vdi_session_gpu_allocation_info",
    help: "1 for each GPU of a session whose UUID is known without its sidecar, by the source of the UUID. share is the ID of the share if several claims can have the GPU.",
    kind: MetricType::GAUGE,
    labels: &["namespace", "pod", "gpu", "source", "share"],
    series: |devices| devices.iter().map(series).collect(),
}];

fn series(info: &AllocationInfo) -> Series<'_> {
    let AllocationInfo { namespace, pod, gpu, source, share } = info;
    Series::number([namespace, pod, gpu, source.as_str(), share], 1.0)
}

/// The devices of the sessions. Clones refer to the same objects.
#[derive(Clone, Debug)]
pub(in crate::sessions) struct ShownAllocations {
    store: Arc<Mutex<AllocationStore>>,
    ledger: SharedLedger,
}

// === impl ShownAllocations ===

impl ShownAllocations {
    pub(in crate::sessions) fn register(
        registry: &Registry,
        ledger: SharedLedger,
    ) -> prometheus::Result<Self> {
        let allocations = Self { store: Arc::default(), ledger };
        registry.register(Box::new(Catalogue::new(ROWS, allocations.clone())?))?;
        Ok(allocations)
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut AllocationStore) -> R) -> R {
        change(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn clear(&self) {
        self.change(|store| *store = AllocationStore::default());
    }
}

impl Source for ShownAllocations {
    type Values = [AllocationInfo];

    fn with<R>(&self, read: impl FnOnce(&[AllocationInfo]) -> R) -> R {
        let mut devices = self.ledger.with(|ledger| {
            let of_store = |store: &mut AllocationStore| {
                ledger.devices().flat_map(|(key, device)| store.resolve(key, device)).collect::<Vec<_>>()
            };
            self.change(of_store)
        });
        // Two sources of a session can name the same device.
        devices.sort();
        devices.dedup();
        read(&devices)
    }
}
