//! The page for the person at the desktop: GPU, connection and age of the session as text (`curl localhost:9478/`). Pure.

use std::time::{Duration, SystemTime};

use super::{
    attribution::UnavailableReason,
    snapshot::{Gpu, Snapshot},
};
use crate::{
    contract::METRICS_PATH,
    presence::{
        track::snapshot::{Method, PresenceSnapshot},
        vocabulary::{PresenceSource, Transport},
    },
    sampling::scope::{ByScope, Scope},
};

/// Lines of the page: a label and a text. A line without a label separates two parts.
type Lines = Vec<(&'static str, String)>;

/// Width of the labels in characters.
const WIDTH: usize = 16;

/// The page at `now`, one line for each value. A value that is not known has no line, or a line with the reason.
pub(super) fn text(gpu: &Snapshot, presence: &PresenceSnapshot, now: SystemTime) -> String {
    let mut lines = session(gpu, now);
    lines.extend(gpus(gpu, now));
    lines.extend(connection(presence, now));
    lines.push(("", String::new()));
    lines.push(("All metrics", METRICS_PATH.to_owned()));
    let mut page = String::new();
    for (label, text) in lines {
        let line = format!("{label:WIDTH$}{text}");
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page
}

fn session(snapshot: &Snapshot, now: SystemTime) -> Lines {
    let names = &snapshot.session;
    let names = [
        ("Session", &names.name),
        ("Template", &names.template),
        ("Pool", &names.pool),
        ("User", &names.user),
    ];
    let mut lines: Lines = names
        .into_iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(label, name)| (label, name.clone()))
        .collect();
    lines.push(("Age", since(snapshot.started, now)));
    lines
}

fn gpus(snapshot: &Snapshot, now: SystemTime) -> Lines {
    let mut lines: Lines = snapshot.gpus.iter().flat_map(device).collect();
    let reason = snapshot.attribution.err();
    let reasons = snapshot.lost.iter().map(|(_, reason)| *reason).chain(reason);
    lines.extend(reasons.flat_map(|reason| [("", String::new()), ("GPU", without_device(reason))]));
    if let Some(collection) = snapshot.collection {
        lines.push(("  last poll", format!("{} ago", since(collection.at, now))));
    }
    lines
}

/// The text for a device that cannot be read.
fn without_device(reason: UnavailableReason) -> String {
    let is_none = matches!(reason, UnavailableReason::NotRequested | UnavailableReason::NotAllocated);
    format!("{}: {}", if is_none { "none" } else { "unknown" }, words(reason.as_str()))
}

fn device(gpu: &Gpu) -> Lines {
    let (model, profile) = gpu.device.model_and_profile();
    let model = if model.is_empty() { gpu.device.uuid.as_str() } else { model };
    let used = by_scope(&gpu.values.memory, bytes);
    let total = gpu.reading.memory.map(|memory| format!("{} in total", bytes(memory.total)));
    let memory: Vec<String> = used.into_iter().chain(total).collect();
    let lines = [
        ("GPU", format!("{model} {profile}").trim_end().to_owned()),
        ("  sharing", words(gpu.sharing.as_str())),
        ("  utilization", by_scope(&gpu.values.utilization, percent).unwrap_or_default()),
        ("  memory", memory.join(", ")),
    ];
    let known = lines.into_iter().filter(|(_, text)| !text.is_empty());
    std::iter::once(("", String::new())).chain(known).collect()
}

/// A value in each of its scopes; none if it is not known.
fn by_scope<T: Copy>(values: &ByScope<T>, text: impl Fn(T) -> String) -> Option<String> {
    let of = |scope| match scope {
        Scope::Session => "by this desktop",
        Scope::Device | Scope::Node => "by all pods",
    };
    let texts: Vec<String> =
        values.iter().map(|(scope, value)| format!("{} {}", text(value), of(scope))).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn connection(presence: &PresenceSnapshot, now: SystemTime) -> Lines {
    let rtt = presence.quality.and_then(|quality| quality.rtt);
    let connected = presence.connected.filter(|connected| !connected.is_zero());
    let lines = [
        ("Viewers", Some(viewers(presence, now))),
        ("  round trip", rtt.map(|rtt| format!("{:.1} ms", rtt.as_secs_f64() * 1e3))),
        ("  in total", connected.map(|connected| format!("connected for {}", duration(connected)))),
    ];
    let known = lines.into_iter().filter_map(|(label, text)| Some((label, text?)));
    std::iter::once(("", String::new())).chain(known).collect()
}

fn viewers(presence: &PresenceSnapshot, now: SystemTime) -> String {
    match (presence.connections, presence.connected_since, presence.last_connected) {
        (None, ..) => format!("unknown: {}", why_unknown(presence.method.as_ref())),
        (Some(0), _, Some(last)) => format!("none, the last one {} ago", since(last, now)),
        (Some(0), _, None) => "none since the sidecar started".to_owned(),
        (Some(count), Some(start), _) => format!("{count}, connected for {}", since(start, now)),
        (Some(count), None, _) => count.to_string(),
    }
}

/// Why the number of viewers is not known.
fn why_unknown(method: Option<&Method>) -> String {
    let Some(method) = method else { return "nothing was read yet".to_owned() };
    match method.source {
        PresenceSource::Off => "presence is switched off".to_owned(),
        PresenceSource::SockDiag | PresenceSource::Proc if method.transport == Some(Transport::Udp) => {
            "the desktop seems to stream over UDP".to_owned()
        }
        PresenceSource::SockDiag | PresenceSource::Proc => {
            "the connections could not be read completely".to_owned()
        }
        PresenceSource::None => {
            let passed = method.passed.iter();
            let reasons =
                passed.map(|(source, reason)| format!("{} {}", source.as_str(), words(reason.as_str())));
            format!("the connections cannot be read ({})", reasons.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A label value as words.
fn words(value: &str) -> String {
    value.replace('_', " ")
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

fn bytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

/// The time from `start` to `now`; 0 s if the clock was set back.
fn since(start: SystemTime, now: SystemTime) -> String {
    duration(now.duration_since(start).unwrap_or_default())
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
