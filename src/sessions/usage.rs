//! Usage of a session, from the termination messages of its sidecar. Pure.
//!
//! A tenant can write any message, for example with a pod whose container has the name of the sidecar. So a message counts only if the
//! pod can have used what it says. Without such a message the allocated time still follows from the pod's own times and devices. Busy
//! time and energy are not guessed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    contract::termination::{
        DeviceTotal, PresenceTotals, SESSION_SCOPE, TerminationMessage, UnreadableMessage,
    },
    runtime::vocabulary::vocabulary,
};

vocabulary! {
    /// Why the totals of a run of the sidecar are not known; values of the label `reason`.
    pub enum MissingReason {
        /// The run has no message: the sidecar was killed before its first poll, or the pod was removed without a grace period.
        Absent = "absent",
        /// The message is no JSON of the format. It may be truncated.
        Malformed = "malformed",
        /// A newer version of the sidecar wrote the message.
        Version = "version",
        /// The message is longer than the kubelet keeps.
        TooLong = "too_long",
        /// The pod cannot have used what the message says.
        Impossible = "impossible",
    }
}

/// Totals of one or several runs. They are integers, so that a replay of the same runs in another order has the same sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Usage {
    /// Device-seconds for which devices were allocated.
    pub allocated: u64,
    /// Tenths of device-seconds in which the devices were busy for the session.
    pub busy_tenths: u64,
    /// Device-seconds of which it is unknown whether the devices were busy.
    pub unsampled: u64,
    /// Device-seconds without a viewer, and with a viewer who did not use the device.
    pub idle: [u64; 2],
    /// Joules that are attributed to the session.
    pub joules: u64,
    /// Maximum bytes of the frame buffers of one run, over all devices together; none if it is not known.
    pub peak: Option<u64>,
    /// Seconds with at least one viewer.
    pub connected: u64,
    /// Bytes to the viewers.
    pub transmitted: u64,
    /// Bytes from the viewers.
    pub received: u64,
}

/// Upper bounds of the usage of a run or of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Seconds from the start to the end of the sidecar's container or of the session, as the kubelet reports them.
    pub seconds: u64,
    /// Number of devices that the pod can have held.
    pub devices: u32,
}

/// The usage of a session so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SessionUsage {
    totals: Usage,
    /// Whether a run lacks a message, or a message lacks time of the pod's devices.
    is_incomplete: bool,
}

/// Maximum bytes of a message that the kubelet keeps (`MaxContainerTerminationMessageLength` in
/// `k8s.io/kubernetes: pkg/kubelet/container/runtime.go`).
const MAX_MESSAGE_BYTES: usize = 4096;

/// Tolerance in seconds: the kubelet's times and the totals are rounded to seconds.
const TOLERANCE: u64 = 2;

/// More than any device draws, in watts. NVIDIA's GB300 has a limit of 1,400 W.
const MAX_WATTS: u64 = 2000;

/// More than the memory of any device, in bytes. NVIDIA's GB300 has 288 GB.
const MAX_DEVICE_BYTES: u64 = 1 << 40;

/// More bytes per second than the network of a node carries: 800 Gbit/s.
const MAX_BYTES_PER_SECOND: u64 = 100_000_000_000;

/// Reads the message of a run.
///
/// # Errors
/// Fails if the run has no message, if the message is not valid, or if it says more than the limits allow.
pub fn of_run(message: Option<&str>, limits: RunLimits) -> Result<Usage, MissingReason> {
    let text = message.filter(|text| !text.trim().is_empty()).ok_or(MissingReason::Absent)?;
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(MissingReason::TooLong);
    }
    let message = TerminationMessage::parse(text).map_err(|error| match error {
        UnreadableMessage::Malformed(_) => MissingReason::Malformed,
        UnreadableMessage::Version(_) => MissingReason::Version,
    })?;
    if !is_possible(&message, limits) {
        return Err(MissingReason::Impossible);
    }
    let mut usage = message.presence.map(Usage::of_presence).unwrap_or_default();
    message.gpus.iter().map(Usage::of_device).for_each(|device| usage.add_device(&device));
    Ok(usage)
}

/// Whether a pod with these limits can have used what the message says.
fn is_possible(message: &TerminationMessage<'_>, limits: RunLimits) -> bool {
    let names: BTreeSet<&str> = message.gpus.iter().map(|device| device.gpu.as_ref()).collect();
    let devices = message.gpus.len().saturating_add(message.more);
    names.len() == message.gpus.len()
        && devices <= limits.devices as usize
        && message.gpus.iter().all(|device| is_possible_device(device, limits.seconds))
        && message.presence.is_none_or(|presence| is_possible_presence(&presence, limits.seconds))
}

fn is_possible_device(device: &DeviceTotal<'_>, seconds: u64) -> bool {
    let within = |part: u64, total: u64| part <= total.saturating_add(TOLERANCE);
    let joules = device.allocated.saturating_add(TOLERANCE).saturating_mul(MAX_WATTS);
    let busy = device.busy.unwrap_or(0.0);
    within(device.allocated, seconds)
        && (0.0..=(device.allocated + TOLERANCE) as f64).contains(&busy)
        && within(device.unsampled, device.allocated)
        && device.idle.is_none_or(|[nobody, unused]| within(nobody.saturating_add(unused), device.allocated))
        && device.joules.is_none_or(|it| it <= joules)
        && device.peak.is_none_or(|peak| peak <= MAX_DEVICE_BYTES)
}

fn is_possible_presence(presence: &PresenceTotals, seconds: u64) -> bool {
    let seconds = seconds.saturating_add(TOLERANCE);
    let bytes = seconds.saturating_mul(MAX_BYTES_PER_SECOND);
    presence.connected <= seconds
        && [presence.transmitted, presence.received].into_iter().flatten().all(|it| it <= bytes)
}

// === impl Usage ===

impl Usage {
    /// The busy time and the peak of a device count only if they are those of the session: on a shared device they are those of all pods.
    fn of_device(device: &DeviceTotal<'_>) -> Self {
        let is_own = device.scope == SESSION_SCOPE;
        let busy = device.busy.filter(|_| is_own).unwrap_or(0.0);
        Self {
            allocated: device.allocated,
            busy_tenths: (busy * 10.0).round() as u64,
            unsampled: device.unsampled,
            idle: device.idle.unwrap_or_default(),
            joules: device.joules.unwrap_or(0),
            peak: device.peak.filter(|_| is_own),
            ..Self::default()
        }
    }

    fn of_presence(presence: PresenceTotals) -> Self {
        Self {
            connected: presence.connected,
            transmitted: presence.transmitted.unwrap_or(0),
            received: presence.received.unwrap_or(0),
            ..Self::default()
        }
    }

    /// Adds a device of the same run: the session uses the memory of its devices at the same time.
    fn add_device(&mut self, device: &Self) {
        let peak = [self.peak, device.peak].into_iter().flatten().reduce(u64::saturating_add);
        self.add_sums(device);
        self.peak = peak;
    }

    /// Adds another run.
    pub fn add_run(&mut self, run: &Self) {
        self.add_sums(run);
        self.peak = self.peak.max(run.peak);
    }

    /// The part that a pod with these limits can have used.
    fn limited(self, limits: RunLimits) -> Self {
        let seconds = limits.seconds.saturating_add(TOLERANCE);
        let device_seconds = seconds.saturating_mul(limits.devices.into());
        Self {
            allocated: self.allocated.min(device_seconds),
            busy_tenths: self.busy_tenths.min(device_seconds.saturating_mul(10)),
            unsampled: self.unsampled.min(device_seconds),
            idle: self.idle.map(|idle| idle.min(device_seconds)),
            joules: self.joules.min(device_seconds.saturating_mul(MAX_WATTS)),
            connected: self.connected.min(seconds),
            transmitted: self.transmitted.min(seconds.saturating_mul(MAX_BYTES_PER_SECOND)),
            received: self.received.min(seconds.saturating_mul(MAX_BYTES_PER_SECOND)),
            peak: self.peak,
        }
    }

    fn add_sums(&mut self, other: &Self) {
        let add = |sum: &mut u64, other: u64| *sum = sum.saturating_add(other);
        add(&mut self.allocated, other.allocated);
        add(&mut self.busy_tenths, other.busy_tenths);
        add(&mut self.unsampled, other.unsampled);
        self.idle.iter_mut().zip(other.idle).for_each(|(sum, other)| add(sum, other));
        add(&mut self.joules, other.joules);
        add(&mut self.connected, other.connected);
        add(&mut self.transmitted, other.transmitted);
        add(&mut self.received, other.received);
    }
}

// === impl SessionUsage ===

impl SessionUsage {
    /// Adds a run of the sidecar in a pod that holds this number of devices. Returns why the totals of the run are not known.
    pub fn add(&mut self, message: Option<&str>, limits: RunLimits, devices: u32) -> Option<MissingReason> {
        match of_run(message, limits) {
            Ok(usage) => {
                self.totals.add_run(&usage);
                let held = limits.seconds.saturating_mul(devices.into());
                self.is_incomplete |= usage.allocated.saturating_add(TOLERANCE * u64::from(devices)) < held;
                None
            }
            Err(reason) => {
                self.is_incomplete = true;
                Some(reason)
            }
        }
    }

    /// Whether no run has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a run that no status of the pod has shown.
    pub fn lose_run(&mut self) {
        self.is_incomplete = true;
    }

    /// The usage of the session that has ended after `limits.seconds` and held this number of devices. Time of the devices that no message
    /// shows counts as allocated and unsampled. Nothing exceeds the limits, although the runs together can: each has a tolerance.
    #[must_use]
    pub fn at_end(&self, limits: RunLimits, devices: u32) -> Usage {
        let seconds = limits.seconds;
        let held = seconds.saturating_mul(devices.into());
        let unknown = if self.is_incomplete { held.saturating_sub(self.totals.allocated) } else { 0 };
        let unknown = Usage { allocated: unknown, unsampled: unknown, ..Usage::default() };
        let mut usage = self.totals;
        usage.add_run(&unknown);
        usage.limited(limits)
    }
}

#[cfg(test)]
mod tests;
