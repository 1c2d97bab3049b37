//! The termination messages of the sidecars, and what they say.

use serde_json::json;

use super::random::SeededRandom;

/// The usage of a session that has ended, as the ledger must count it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) allocated: u64,
    pub(super) busy_tenths: u64,
    pub(super) unsampled: u64,
    pub(super) idle: [u64; 2],
    pub(super) joules: u64,
    pub(super) connected: u64,
    pub(super) transmitted: u64,
    pub(super) received: u64,
    /// Why the totals of the sidecar are not known.
    pub(super) missing: Option<&'static str>,
}

/// A termination message.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    said: Used,
}

/// The device of a session that has one.
pub(super) const DEVICE: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";

// === impl Word ===

impl Word {
    /// A message of a run of this length. Three of four are valid.
    pub(super) fn of(seconds: u64, devices: u64, random: &mut SeededRandom) -> Self {
        let part = |random: &mut SeededRandom, most: u64| random.below(most + 1);
        let mut said = Used { connected: part(random, seconds), ..Used::default() };
        (said.transmitted, said.received) = (random.below(1 << 30), random.below(1 << 20));
        if devices > 0 {
            said.allocated = seconds;
            said.busy_tenths = part(random, seconds * 10);
            said.unsampled = part(random, seconds.min(15));
            said.idle = [part(random, seconds / 2), part(random, seconds / 2)];
            said.joules = part(random, seconds * 300);
        }
        let text = said.text(seconds, devices);
        match random.below(12) {
            0 => Self::missing(text.split_at(text.len() / 2).0.to_owned(), "malformed"),
            1 => Self::missing(String::new(), "absent"),
            2 => Self::missing(said.text(seconds, devices + 1), "impossible"),
            _ => Self { text, said },
        }
    }

    fn missing(text: String, reason: &'static str) -> Self {
        Self { text, said: Used { missing: Some(reason), ..Used::default() } }
    }
}

// === impl Used ===

impl Used {
    /// The usage of a session of this length. Without a valid message, the time of the devices is allocated and not sampled.
    pub(super) fn of(word: Option<&Word>, seconds: u64, devices: u64) -> Self {
        match word.map_or(Some("absent"), |word| word.said.missing) {
            None => word.map(|word| word.said).unwrap_or_default(),
            missing => {
                let held = seconds * devices;
                Self { allocated: held, unsampled: held, missing, ..Self::default() }
            }
        }
    }

    fn text(&self, seconds: u64, devices: u64) -> String {
        let device = |number: u64| {
            let name = if number == 0 { DEVICE.to_owned() } else { format!("GPU-{number}") };
            json!({"gpu": name, "scope": "session", "allocated": self.allocated, "busy": self.busy_tenths as f64 / 10.0,
                "unsampled": self.unsampled, "idle": self.idle, "joules": self.joules})
        };
        let presence =
            json!({"connected": self.connected, "transmitted": self.transmitted, "received": self.received});
        json!({"v": 2, "session": 1, "start": 1, "end": 1 + seconds, "ended": true, "by": ["device_plugin", "exact"],
            "presence": presence, "gpus": (0..devices).map(device).collect::<Vec<_>>()})
        .to_string()
    }

    /// The name of each counter, and its number. Counters by reason have it in the second place.
    pub(super) fn numbers(&self) -> [(&'static str, Option<&'static str>, f64); 9] {
        let number = |name, number: u64| (name, None, number as f64);
        let idle = |reason, number: u64| {
            ("vdi_sessions_gpu_idle_allocated_seconds_total", Some(reason), number as f64)
        };
        [
            number("vdi_sessions_gpu_allocated_seconds_total", self.allocated),
            ("vdi_sessions_gpu_busy_seconds_total", None, self.busy_tenths as f64 / 10.0),
            number("vdi_sessions_gpu_unsampled_seconds_total", self.unsampled),
            idle("nobody_connected", self.idle[0]),
            idle("connected_unused", self.idle[1]),
            number("vdi_sessions_gpu_energy_joules_total", self.joules),
            number("vdi_sessions_connected_seconds_total", self.connected),
            number("vdi_sessions_stream_transmit_bytes_total", self.transmitted),
            number("vdi_sessions_stream_receive_bytes_total", self.received),
        ]
    }
}
