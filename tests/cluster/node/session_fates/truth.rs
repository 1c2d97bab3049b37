//! What happened to a session, from the events of its pod and from the test's own clock.

use anyhow::{Context, Result, ensure};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::Value;
use vdi_metrics::contract::CONTAINER;

use super::{
    events::PodEvent,
    fates::{Fate, Gpu, LastsUntil},
};
use crate::support::processes::DESKTOP;

/// Tolerances in seconds. Times of the API are in whole seconds.
const SECOND: f64 = 1.0;
const TWO_SECONDS: f64 = 2.0;

/// Maximum time from the start of the sidecar to the end of its first poll.
const FIRST_POLL: f64 = 5.0;

/// The truth about a session.
pub(super) struct Truth {
    /// Seconds from the start of the pod to the end; `None` if no desktop ran, or if it is not known to the second.
    pub(super) duration: Option<f64>,
    /// Device-seconds; `None` if they are not known.
    pub(super) allocated: Option<f64>,
}

// === impl Truth ===

impl Truth {
    /// The truth of the session that a client ended at `requested`, in seconds since 1970.
    pub(super) fn of(fate: &Fate, requested: f64, events: &[PodEvent]) -> Result<Self> {
        let pods: Vec<_> = events.iter().map(|event| &event.pod).collect();
        let pods: Vec<_> = pods.into_iter().filter(|pod| pod["metadata"]["name"] == fate.name).collect();
        let last = pods.last().context("no event")?;
        let starts = pods.iter().find_map(|pod| pod["status"]["startTime"].as_str());
        let start = seconds(starts.context("no start")?)?;
        let end = match fate.lasts_until {
            LastsUntil::End => Some(desktop_end(last)?),
            LastsUntil::Request => Some(requested.floor()),
            LastsUntil::Never | LastsUntil::Unknown => None,
        };
        let duration = end.map(|end| end - start);
        let allocated = match fate.gpu {
            // Without the message of the sidecar nothing shows its GPU.
            Gpu::SidecarImage if fate.missing > 0 => Some(0.0),
            Gpu::SidecarImage | Gpu::Claim => Some(run_of_sidecar(last)?),
            Gpu::DevicePlugin => duration,
        };
        Ok(Self { duration, allocated })
    }

    /// Checks the sum of the durations of the sessions with the fate's template.
    pub(super) fn check_duration(&self, shown: f64) -> Result<()> {
        let expected = self.duration.unwrap_or(shown);
        ensure!((shown - expected).abs() <= SECOND, "lasted {shown} s, expected {expected}");
        Ok(())
    }

    /// Checks the allocated seconds.
    pub(super) fn check_allocated(&self, shown: f64) -> Result<()> {
        let expected = self.allocated.unwrap_or(shown);
        ensure!((shown - expected).abs() <= TWO_SECONDS, "allocated for {shown} s, expected {expected}");
        Ok(())
    }
}

/// The end of the desktop: the time that it wrote itself, else the kubelet's.
fn desktop_end(pod: &Value) -> Result<f64> {
    let end = terminated(pod, "containerStatuses").context("the desktop has not ended")?;
    let finished = time_of(end, "finishedAt")?;
    let own = end["message"].as_str().and_then(|message| message.parse::<f64>().ok()).map(f64::floor);
    ensure!((own.unwrap_or(finished) - finished).abs() <= SECOND, "the desktop ended at {own:?}: {end}");
    Ok(own.unwrap_or(finished))
}

/// Device-seconds from the first to the last poll of the sidecar; 0 if an init container before it has failed. The kubelet's times also have
/// the start and the end of the container, which take seconds on a busy machine, as the first poll does.
fn run_of_sidecar(pod: &Value) -> Result<f64> {
    let statuses = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let mut sidecar = statuses.filter(|status| status["name"] == CONTAINER);
    let has_started =
        |status: &Value| ["running", "terminated"].iter().any(|it| status["state"][it].is_object());
    if !sidecar.any(has_started) {
        return Ok(0.0);
    }
    let end = terminated(pod, "initContainerStatuses").context("the sidecar has not ended")?;
    let message: Value = serde_json::from_str(end["message"].as_str().context("no message")?)?;
    let time = |field: &str| message[field].as_f64().context("no time");
    let (own, kubelets) =
        (time("end")? - time("start")?, time_of(end, "finishedAt")? - time_of(end, "startedAt")?);
    ensure!(own <= kubelets + TWO_SECONDS, "the sidecar ran for {own} s: {end}");
    let devices = message["gpus"].as_array().into_iter().flatten();
    let polled: f64 = devices.filter_map(|device| device["allocated"].as_f64()).sum();
    ensure!((own - FIRST_POLL..=own + SECOND).contains(&polled), "{polled} device-seconds: {end}");
    Ok(polled)
}

fn time_of(end: &Value, field: &str) -> Result<f64> {
    seconds(end[field].as_str().context("no time")?)
}

/// The end of the sidecar or of the desktop.
fn terminated<'p>(pod: &'p Value, list: &str) -> Option<&'p Value> {
    let mut statuses = pod["status"][list].as_array()?.iter();
    let status =
        statuses.find(|status| [CONTAINER, DESKTOP].contains(&status["name"].as_str().unwrap_or("")))?;
    status["state"].get("terminated")
}

/// A time of the API in seconds since 1970.
fn seconds(time: &str) -> Result<f64> {
    let time: Time = serde_json::from_value(time.into())?;
    Ok(time.0.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64())
}
