//! The evidence of this poll. If this poll cannot read a part of it, the evidence of earlier polls replaces that part. Pure.

use crate::{
    contract::GpuRequest,
    gpu::{
        Device,
        id::{self, Id},
    },
    sidecar::{
        attribution::{
            Annotations, ClaimKind, EnvironmentDevices, Evidence, NotApplicable, ProcessEvidence, Processes,
            UnavailableReason,
        },
        observation::ExpectedDevices,
    },
};

/// Facts about the pod from the webhook and the configuration. They do not change while the pod runs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sidecar) struct PodFacts {
    /// The GPU request of the pod; none if it is unknown to the sidecar.
    pub(in crate::sidecar) request: Option<GpuRequest>,
    /// Kind of the desktop's resource claims; none if the sidecar does not share them.
    pub(in crate::sidecar) claim: Option<ClaimKind>,
    /// Whether the sidecar exposes all devices of the node if no other strategy applies.
    pub(in crate::sidecar) node_totals: bool,
}

/// The evidence of the pod, at this poll and at earlier ones.
#[derive(Debug, Default)]
pub(in crate::sidecar) struct EvidenceMemory {
    facts: PodFacts,
    annotations: LastReadable<Annotations>,
    /// UUIDs of the GPUs in the claims' metadata files.
    metadata: LastReadable<Vec<Id>>,
    /// The devices that the pod should have: the IDs in the claims' metadata or, without a claim, in the annotation.
    named: Vec<Id>,
    /// UUIDs of the devices that had processes of the pod at this or an earlier poll.
    with_processes: Vec<String>,
    /// The devices in the environments of the pod's processes, at the last poll at which a process named a device. Empty if no
    /// process has named one.
    in_environments: Vec<Id>,
}

/// Evidence of one poll from the pod's processes. Each field contains a reason if there is no evidence.
#[derive(Clone, Debug)]
pub(in crate::sidecar) struct ProcessReading {
    /// UUIDs of the devices that have processes of the pod.
    pub(in crate::sidecar) with_processes: Result<Vec<String>, NotApplicable>,
    /// Devices in the environments of the processes.
    pub(in crate::sidecar) in_environments: Result<Vec<Id>, NotApplicable>,
}

/// Maximum number of devices with processes. With more, the devices that are not visible are forgotten. The driver may give other
/// UUIDs at each opening, and these must not fill the memory.
const MAX_WITH_PROCESSES: usize = 128;

/// A value that each poll reads again. While it cannot be read, the last readable value is used.
#[derive(Debug)]
struct LastReadable<T> {
    /// The value at the last poll that could read it. None if no poll has read it yet.
    value: Option<T>,
    /// Whether the value is from an earlier poll, because this poll could not read it.
    is_stale: bool,
}

// === impl LastReadable ===

impl<T> Default for LastReadable<T> {
    fn default() -> Self {
        Self { value: None, is_stale: false }
    }
}

impl<T> LastReadable<T> {
    /// Records the reading of this poll. `reading` is none if the value cannot be read.
    fn record(&mut self, reading: Option<T>) {
        self.is_stale = reading.is_none();
        self.value = reading.or_else(|| self.value.take());
    }
}

// === impl EvidenceMemory ===

impl EvidenceMemory {
    /// A memory without evidence.
    pub(in crate::sidecar) fn new(facts: PodFacts) -> Self {
        Self { facts, ..Self::default() }
    }

    /// Records the files of this poll. A file that cannot be read is none. The metadata is not needed without a claim.
    pub(in crate::sidecar) fn record_files(
        &mut self,
        annotations: Option<Annotations>,
        metadata: Option<Vec<Id>>,
    ) {
        self.annotations.record(annotations);
        self.metadata.record(metadata);
        self.named = match self.facts.claim {
            Some(_) => self.metadata.value.clone().unwrap_or_default(),
            None => self.annotation().and_then(|gpu| id::list(gpu).ok()).unwrap_or_default(),
        };
        if self.reason_without_driver() == Some(UnavailableReason::NotRequested) {
            // The session has no device any more. If it gets a device later, the earlier evidence of its processes must not
            // count.
            self.with_processes.clear();
            self.in_environments.clear();
        }
    }

    /// Why the driver is not needed at this poll; none if it is needed.
    pub(in crate::sidecar) fn reason_without_driver(&self) -> Option<UnavailableReason> {
        let PodFacts { request, claim, .. } = self.facts;
        match &self.annotations.value {
            _ if claim.is_some() && self.metadata.value.is_none() => Some(UnavailableReason::Unreadable),
            None => Some(UnavailableReason::Unreadable),
            Some(annotations) => {
                let is_requested = request != Some(GpuRequest::None) || claim.is_some();
                (!is_requested && !annotations.are_given()).then_some(UnavailableReason::NotRequested)
            }
        }
    }

    /// The evidence of this poll that needs no process lists. `without_uuid` is the number of devices without a UUID.
    pub(in crate::sidecar) fn evidence<'e>(
        &'e self,
        visible: &'e [Device],
        without_uuid: usize,
    ) -> Evidence<'e> {
        let is_visible = |uuid: &&String| visible.iter().any(|device| device.uuid == **uuid);
        let not_visible = self.with_processes.iter().filter(|uuid| !is_visible(uuid)).count();
        let PodFacts { request, claim, node_totals } = self.facts;
        Evidence {
            visible,
            unidentified: without_uuid + not_visible,
            request,
            claim,
            metadata: self.metadata.value.as_deref().unwrap_or_default(),
            is_metadata_stale: self.metadata.is_stale,
            annotation: self.annotation(),
            sharing: self.annotations.value.as_ref().and_then(|annotations| annotations.sharing),
            are_annotations_stale: self.annotations.is_stale,
            node_totals,
        }
    }

    /// Records the evidence of this poll from the processes. Returns the evidence for the visible devices.
    pub(in crate::sidecar) fn record_processes(
        &mut self,
        reading: ProcessReading,
        visible: &[Device],
    ) -> ProcessEvidence {
        ProcessEvidence {
            processes: self.processes(reading.with_processes, visible),
            environment: self.environment(reading.in_environments),
        }
    }

    /// UUIDs of the devices that had processes of the pod at this or an earlier poll.
    pub(in crate::sidecar) fn with_processes(&self) -> &[String] {
        &self.with_processes
    }

    /// Evidence of the devices that the pod should have, visible or not.
    pub(in crate::sidecar) fn expected(&self) -> ExpectedDevices<'_> {
        ExpectedDevices {
            has_claim: self.has_claim(),
            named: &self.named,
            with_processes: &self.with_processes,
            in_environments: &self.in_environments,
        }
    }

    /// Whether the sidecar shares a claim of the desktop.
    pub(in crate::sidecar) fn has_claim(&self) -> bool {
        self.facts.claim.is_some()
    }

    fn annotation(&self) -> Option<&str> {
        self.annotations.value.as_ref()?.gpu.as_deref()
    }

    fn processes(&mut self, seen: Result<Vec<String>, NotApplicable>, visible: &[Device]) -> Processes {
        let now = match seen {
            Ok(uuids) => {
                let is_seen = !uuids.is_empty();
                self.with_processes.extend(uuids);
                self.with_processes.sort_unstable();
                self.with_processes.dedup();
                if self.with_processes.len() > MAX_WITH_PROCESSES {
                    self.with_processes.retain(|uuid| visible.iter().any(|device| device.uuid == *uuid));
                }
                is_seen
            }
            // The devices of earlier polls count: an idle session keeps its device.
            Err(NotApplicable::Unreadable | NotApplicable::Implausible)
                if !self.with_processes.is_empty() =>
            {
                false
            }
            Err(reason) => return Processes::Unknown(reason),
        };
        let has_processes = |index: &usize| self.with_processes.contains(&visible[*index].uuid);
        Processes::Seen { indices: (0..visible.len()).filter(has_processes).collect(), now }
    }

    fn environment(
        &mut self,
        seen: Result<Vec<Id>, NotApplicable>,
    ) -> Result<EnvironmentDevices, NotApplicable> {
        let now = seen.is_ok();
        match seen {
            Ok(ids) => self.in_environments = ids,
            Err(reason) if self.in_environments.is_empty() => return Err(reason),
            // The process that named the devices has ended, or its environment cannot be read.
            Err(_) => {}
        }
        Ok(EnvironmentDevices { ids: self.in_environments.clone(), now })
    }
}

#[cfg(test)]
mod tests;
