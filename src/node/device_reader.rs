//! Reads every device of the node, and finds the pods of the processes on it.

use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    io,
    time::Duration,
};

use super::{
    attribution::Owner,
    config::NodeOptions,
    kept_samples::{self, KeptSamples},
    process_table::{ProcessOwner, ProcessTable},
    selection::DeviceSelection,
    snapshot::{MappingFailure, PollSummary},
};
use crate::{
    gpu::{Device, DeviceStreams, Driver, Fault, Process, ProcessUtilization, Reading, Sample, Stream},
    runtime::libc,
    sampling::{
        driver_clock,
        observation::DeviceValues,
        processes::{self, OwnUsage, SampleWindow},
        streams::OwnStreams,
    },
};

/// Reads the devices. Remembers between two polls what the next one needs.
#[derive(Debug)]
pub(super) struct DeviceReader {
    interval: Duration,
    selection: DeviceSelection,
    /// Number of selected IDs without a device at the last poll.
    without_device: usize,
    processes: ProcessTable,
    /// Time of the newest sample of each device or of its processes, by UUID, in microseconds of the driver's clock.
    newest_samples: HashMap<String, u64>,
    kept_samples: KeptSamples,
    /// The devices of the last poll.
    known: Vec<Device>,
}

/// Maximum number of devices with those that the driver cannot identify any more, so that a driver with other UUIDs at each opening
/// cannot fill the memory.
const MAX_DEVICES: usize = 128;

/// What one poll has read from the driver.
pub(super) struct PolledDevices {
    /// Time of the readings since the start of the node.
    pub(super) at: Duration,
    /// The selected devices, in the driver's order. After them the devices that the driver does not identify any more: a session can
    /// still have them.
    pub(super) devices: Vec<Device>,
    /// The readings, in the order of `devices`. The reading of a device that is not identified is a fault.
    pub(super) readings: Vec<NodeReading>,
}

/// What one poll has read from one device.
pub(super) struct NodeReading {
    values: Result<(Reading, bool), Fault>,
    /// The samples that were read since the last poll and that the driver may have discarded.
    kept_samples: Vec<Sample>,
    /// None if the driver gives no complete list.
    processes: Option<Vec<Owned<Process>>>,
    /// Encoder sessions; none as for `processes`.
    encoding: Option<Vec<Owned<Stream>>>,
    /// Frame-buffer captures; none as for `processes`.
    capturing: Option<Vec<Owned<Stream>>>,
    utilization: Option<Vec<ProcessUtilization>>,
    window: SampleWindow,
}

/// An entry of a list of the driver, with the owner of its process: the UID of a pod, or none for a process outside of all pods.
type Owned<T> = (T, Option<String>);

/// The owners of processes by PID.
type Owners = HashMap<u32, ProcessOwner>;

// === impl DeviceReader ===

impl DeviceReader {
    /// A reader of the selected devices.
    ///
    /// # Errors
    /// Fails if `proc` cannot be read, or if the ID of a device has no known form.
    pub(super) fn new(interval: Duration, options: &NodeOptions) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            interval,
            selection: options.devices()?,
            without_device: 0,
            processes: ProcessTable::new(&options.proc).map_err(|error| format!("{error}; check --proc"))?,
            newest_samples: HashMap::new(),
            kept_samples: KeptSamples::default(),
            known: vec![],
        })
    }

    /// Reads the selected devices.
    pub(super) fn read_all(&mut self, driver: &mut Driver<'_>, summary: &mut PollSummary) -> PolledDevices {
        let at = libc::since_boot();
        self.warn_of_absent_devices(driver.devices());
        let indices = self.selection.indices(driver.devices());
        let mut readings: Vec<_> = indices.iter().map(|index| self.read(driver, *index, summary)).collect();
        self.processes.end_poll();
        self.newest_samples.retain(|uuid, _| driver.devices().iter().any(|device| device.uuid == *uuid));
        self.kept_samples.clear();
        let mut devices: Vec<_> = indices.into_iter().map(|index| driver.devices()[index].clone()).collect();
        summary.devices = devices.len();
        for (device, fault) in self.lost(driver) {
            devices.push(device);
            readings.push(NodeReading::of_lost(fault));
        }
        self.known.clone_from(&devices);
        self.known.truncate(MAX_DEVICES);
        PolledDevices { at, devices, readings }
    }

    /// The known devices that the driver does not list, if it has a device without a UUID.
    fn lost(&self, driver: &Driver<'_>) -> Vec<(Device, Fault)> {
        let Some(fault) = driver.without_uuid().first() else { return vec![] };
        let is_listed = |device: &Device| driver.devices().iter().any(|listed| listed.uuid == device.uuid);
        self.known.iter().filter(|device| !is_listed(device)).map(|device| (device.clone(), *fault)).collect()
    }

    fn warn_of_absent_devices(&mut self, devices: &[Device]) {
        let absent = self.selection.without_device(devices);
        if absent.len() > self.without_device {
            tracing::warn!(
                ids = absent.join(","),
                "The driver does not list these devices of --devices; correct the IDs, or search the kernel log for a lost card"
            );
        }
        self.without_device = absent.len();
    }

    /// Whether `proc` has the processes of the node.
    ///
    /// # Errors
    /// Fails if `proc` cannot be read.
    pub(super) fn sees_node_processes(&self) -> io::Result<bool> {
        self.processes.is_of_node()
    }

    /// Keeps samples of this device that were read between two polls, for the next reading.
    pub(super) fn keep_samples(&mut self, uuid: &str, samples: &[Sample]) {
        self.kept_samples.add(uuid, samples);
    }

    fn read(&mut self, driver: &mut Driver<'_>, index: usize, summary: &mut PollSummary) -> NodeReading {
        let uuid = driver.devices()[index].uuid.clone();
        let earlier_faults = driver.faults().len();
        let values = driver.read(index);
        let reading = values.as_ref().ok();
        let listed = driver.processes(index).ok().flatten();
        let window = self.window(&uuid, reading);
        let utilization = driver.process_utilization(index, window.since).ok().flatten();
        let streams = reading.and_then(|reading| driver.streams(index, reading).ok()).unwrap_or_default();
        let is_incomplete = driver.has_failed_since(earlier_faults);
        let owners = self.owners(listed.as_deref().unwrap_or_default(), &streams, summary);
        let times = utilization.iter().flatten().map(|sample| sample.at);
        let newest = times.filter(|at| window.contains(*at)).max();
        // Processes that do not work have no samples, and the driver returns the mean of the time since the given one.
        let newest = newest.max(reading.and_then(Reading::newest_sample));
        let kept_samples = self.kept_samples.take(&uuid);
        self.newest_samples.extend(newest.map(|at| (uuid, at)));
        NodeReading {
            values: values.map(|reading| (reading, is_incomplete)),
            kept_samples,
            processes: listed.and_then(|listed| owned_processes(listed, &owners)),
            encoding: streams.encoding.and_then(|sessions| owned_streams(sessions, &owners)),
            capturing: streams.capturing.and_then(|captures| owned_streams(captures, &owners)),
            utilization,
            window,
        }
    }

    /// The time for which process samples of the device are requested.
    fn window(&self, uuid: &str, reading: Option<&Reading>) -> SampleWindow {
        let last = self.newest_samples.get(uuid).copied().unwrap_or_default();
        SampleWindow::new(last, driver_clock::clocks(reading.and_then(Reading::newest_sample)), self.interval)
    }

    /// The owners of all these processes. Counts those that have ended, and those whose pod cannot be read.
    fn owners(&mut self, listed: &[Process], streams: &DeviceStreams, summary: &mut PollSummary) -> Owners {
        let seen_at = libc::since_boot();
        let streams = [&streams.encoding, &streams.capturing].into_iter().flatten().flatten();
        let pids = listed.iter().map(|process| process.pid).chain(streams.filter_map(|stream| stream.pid));
        let mut owners = Owners::new();
        for pid in pids {
            owners.entry(pid).or_insert_with(|| self.owner(pid, seen_at, summary));
        }
        owners
    }

    fn owner(&mut self, pid: u32, seen_at: Duration, summary: &mut PollSummary) -> ProcessOwner {
        let owner = self.processes.owner(pid, seen_at);
        match &owner {
            ProcessOwner::Pod(_) | ProcessOwner::NoPod => {}
            ProcessOwner::Ended => summary.fail(MappingFailure::ProcessEnded),
            ProcessOwner::Unreadable(error) => {
                tracing::debug!(%error, "Cannot read the pod of a process");
                summary.fail(MappingFailure::ProcessUnreadable);
            }
        }
        owner
    }
}

/// The processes that still exist, with their owners. A process whose owner cannot be read is left out.
fn owned_processes(listed: Vec<Process>, owners: &Owners) -> Option<Vec<Owned<Process>>> {
    with_owners(listed, |process| owners.get(&process.pid)?.pod())
}

/// The sessions or captures of processes that still exist, with their owners. None if the owner of one cannot be read, because any
/// pod may be the owner.
fn owned_streams(listed: Vec<Stream>, owners: &Owners) -> Option<Vec<Owned<Stream>>> {
    let owner = |stream: &Stream| stream.pid.and_then(|pid| owners.get(&pid));
    if listed.iter().any(|stream| matches!(owner(stream), Some(ProcessOwner::Unreadable(_)))) {
        return None;
    }
    with_owners(listed, |stream| if stream.pid.is_none() { Some(None) } else { owner(stream)?.pod() })
}

/// The entries with an owner. None if the list has entries and none of their processes exists here: then the PIDs are of another PID
/// namespace.
fn with_owners<T>(listed: Vec<T>, owner: impl Fn(&T) -> Option<Option<String>>) -> Option<Vec<Owned<T>>> {
    let is_empty = listed.is_empty();
    let owned: Vec<Owned<T>> =
        listed.into_iter().filter_map(|entry| owner(&entry).map(|owner| (entry, owner))).collect();
    (is_empty || !owned.is_empty()).then_some(owned)
}

/// The entries of this owner.
fn entries_of<T: Copy>(entries: &[Owned<T>], owner: Owner<'_>) -> Vec<T> {
    entries.iter().filter(|(_, other)| other.as_deref() == owner).map(|(entry, _)| *entry).collect()
}

// === impl NodeReading ===

impl NodeReading {
    /// A device that cannot be read because of this fault.
    fn of_lost(fault: Fault) -> Self {
        Self {
            values: Err(fault),
            kept_samples: vec![],
            processes: None,
            encoding: None,
            capturing: None,
            utilization: None,
            window: SampleWindow::new(0, [0; 2], Duration::ZERO),
        }
    }

    /// The owners of all processes that use the device.
    pub(super) fn owners(&self) -> Vec<Owner<'_>> {
        let processes = self.processes.iter().flatten().map(|(_, owner)| owner);
        let streams = [&self.encoding, &self.capturing].into_iter().flatten().flatten();
        processes.chain(streams.map(|(_, owner)| owner)).map(Option::as_deref).collect()
    }

    /// The values of the device; none if it could not be read.
    pub(super) fn reading(&self) -> Option<&Reading> {
        self.values.as_ref().ok().map(|(reading, _)| reading)
    }

    /// The use of the device by each of its owners.
    pub(super) fn usages(&self) -> Vec<(Owner<'_>, OwnUsage)> {
        let owners: BTreeSet<Owner<'_>> = self.owners().into_iter().collect();
        let usage = |owner| Some((owner, self.usage_of(owner)?));
        owners.into_iter().filter_map(usage).collect()
    }

    /// The values of the device for the pod with this UID, with the samples since the last poll.
    pub(super) fn values_of(&self, uid: &str) -> Result<DeviceValues, Fault> {
        let (mut reading, is_incomplete) = self.values.clone()?;
        if let Some(samples) = &mut reading.samples {
            kept_samples::merge(samples, &self.kept_samples);
        }
        Ok(DeviceValues { reading, own: self.usage_of(Some(uid)), is_incomplete })
    }

    /// Use of the device by all processes of this owner. None if the driver gives no complete list of processes.
    fn usage_of(&self, owner: Owner<'_>) -> Option<OwnUsage> {
        let listed = entries_of(self.processes.as_ref()?, owner);
        let usage = processes::own_usage(&listed, self.utilization.as_deref(), self.window);
        let own = |streams: &Option<Vec<Owned<Stream>>>| Some(entries_of(streams.as_ref()?, owner));
        let streams = DeviceStreams { encoding: own(&self.encoding), capturing: own(&self.capturing) };
        Some(OwnUsage {
            newest_sample: usage.newest_sample.max(self.window.since),
            streams: OwnStreams::of(&streams),
            ..usage
        })
    }
}
