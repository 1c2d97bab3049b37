use std::{fs, os::unix::fs::symlink, time::Duration};

use super::*;
use crate::{
    contract::termination::SESSION_SCOPE,
    presence::track::snapshot::StreamBytes,
    sampling::scope::ByScope,
    sidecar::{attribution::UnavailableReason, config::SessionNames},
};

fn snapshot(gpus: usize) -> Snapshot {
    let account = |number| {
        let mut account = Account::default();
        account.gpu = format!("GPU-{number:08}-0c3a-4f6e-9b7d-21a4c8e6f035");
        account.allocated = Some(28_800.4 + number as f64);
        account.attributed = Some(1_234_567.8);
        account
    };
    Snapshot {
        accounts: (0..gpus).map(account).collect(),
        ..Snapshot::before_the_first_poll(SessionNames::default(), at(0), at(0))
    }
}

/// Presence with times and bytes as long as in a large session.
fn presence() -> PresenceSnapshot {
    let bytes = StreamBytes { transmitted: 123_456_789_012, received: 1_234_567_890, retransmitted: 0 };
    PresenceSnapshot {
        connected: Some(Duration::from_millis(28_799_600)),
        first_connected: Some(at(1_800_000_000)),
        last_connected: Some(at(1_800_028_800)),
        bytes: Some(bytes),
        ..PresenceSnapshot::default()
    }
}

/// The message of a session of these devices with at most this number of bytes.
fn parsed(gpus: usize, presence: &PresenceSnapshot, limit: usize) -> serde_json::Value {
    let text = message(&snapshot(gpus), presence, at(1_800_000_000), limit);
    assert!(text.len() <= limit, "{} of {limit}", text.len());
    serde_json::from_slice(&text).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_message_fits_into_the_containers_part_and_counts_left_out_devices() {
    for (containers, gpus) in [(1, 1), (2, 8), (20, 8), (100, 16), (8, 16)] {
        let text = message(&snapshot(gpus), &presence(), at(9), limit(containers));
        assert!(text.len() <= limit(containers), "{containers}: {}", text.len());
        assert!(limit(containers) <= 1024 && limit(containers) * (containers + 4) <= 12_288);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let counted = value["gpus"].as_array().unwrap().len() + value["more"].as_u64().unwrap_or(0) as usize;
        assert_eq!((counted, &value["v"], &value["end"]), (gpus, &2.into(), &9.into()));
    }
}

#[test]
fn a_message_has_the_totals_of_the_connections() {
    let totals = serde_json::json!({
        "connected": 28_800, "first": 1_800_000_000, "last": 1_800_028_800, "transmitted": 123_456_789_012_u64,
        "received": 1_234_567_890
    });
    assert_eq!(parsed(1, &presence(), MAX_BYTES)["presence"], totals);
    let nobody = PresenceSnapshot { connected: Some(Duration::ZERO), ..PresenceSnapshot::default() };
    assert_eq!(parsed(1, &nobody, MAX_BYTES)["presence"], serde_json::json!({ "connected": 0 }));
    assert_eq!(parsed(1, &PresenceSnapshot::off(), MAX_BYTES).get("presence"), None);
}

/// The devices except the first one, the bytes, the first device, the times.
#[test]
fn the_least_important_parts_are_left_out_first() {
    let mut seen = vec![];
    for limit in (100..MAX_BYTES).rev() {
        let text = message(&snapshot(3), &presence(), at(1_800_000_000), limit);
        let message: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let has = |field: &str| message["presence"].get(field).is_some();
        let parts = (message["gpus"].as_array().unwrap().len(), has("transmitted"), has("connected"));
        if seen.last() != Some(&parts) {
            seen.push(parts);
        }
    }
    let expected = [
        (3, true, true),
        (2, true, true),
        (1, true, true),
        (1, false, true),
        (0, false, true),
        (0, false, false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_message_has_the_totals_of_a_device() {
    let mut snapshot = snapshot(1);
    let account = &mut snapshot.accounts[0];
    account.scope = Some(Scope::Session);
    account.busy = ByScope::of(&[(Scope::Session, 12.34), (Scope::Device, 99.0)]);
    account.unsampled = 14.6;
    let text = message(&snapshot, &PresenceSnapshot::off(), at(9), MAX_BYTES);
    let message = TerminationMessage::parse(std::str::from_utf8(&text).unwrap()).unwrap();
    let total = &message.gpus[0];
    assert_eq!((total.scope.as_ref(), total.busy), (SESSION_SCOPE, Some(12.3)));
    assert_eq!((total.allocated, total.unsampled, total.idle), (28_800, 15, None));
}

#[test]
fn a_truncated_message_is_not_valid_json() {
    let text = message(&snapshot(1), &presence(), at(9), 1024);
    for length in 0..text.len() {
        assert!(serde_json::from_slice::<serde_json::Value>(&text[..length]).is_err(), "{length}");
    }
}

/// `/dev/full` is a file on a full disk.
#[test]
fn a_message_that_cannot_be_written_is_written_again_at_the_next_poll() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("termination-log");
    symlink("/dev/full", &path).unwrap();
    let mut log = TerminationLog::new(path.clone(), 2);
    log.write(&snapshot(3), &presence(), at(1));
    assert_eq!(log.failure, Some(io::ErrorKind::StorageFull));
    fs::remove_file(&path).unwrap();
    // A part of the failed message, longer than the next message.
    fs::write(&path, &message(&snapshot(3), &presence(), at(1), 1024)[..300]).unwrap();
    log.write(&snapshot(0), &presence(), at(2));
    let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&value["end"], log.failure), (&2.into(), None));
}

#[test]
fn a_shorter_message_replaces_a_longer_one_completely() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("termination-log");
    let mut log = TerminationLog::new(path.clone(), 2);
    log.write(&snapshot(1), &presence(), at(1));
    assert!(!path.exists(), "the kubelet creates the file, the sidecar never does");
    fs::write(&path, "").unwrap();
    log.write(&snapshot(3), &presence(), at(1));
    log.write(&Snapshot { ended: true, ..snapshot(0) }, &presence(), at(2));
    let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&value["end"], &value["ended"], value["gpus"].as_array().unwrap().len()),
        (&2.into(), &true.into(), 0)
    );
    assert_eq!(value["by"], serde_json::json!(["none", UnavailableReason::Starting.as_str()]));
}
