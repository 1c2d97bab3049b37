use super::*;

const HOUR: u64 = 3600;
const LIMITS: RunLimits = RunLimits { seconds: HOUR, devices: 2 };

fn device(name: &'static str) -> DeviceTotal<'static> {
    DeviceTotal {
        gpu: name.into(),
        scope: "session".into(),
        allocated: HOUR,
        busy: Some(1800.4),
        unsampled: 15,
        idle: Some([600, 60]),
        joules: Some(360_000),
        peak: Some(8 << 30),
    }
}

fn message(gpus: Vec<DeviceTotal<'static>>) -> TerminationMessage<'static> {
    let presence = PresenceTotals {
        connected: 3000,
        first: Some(1),
        last: Some(2),
        transmitted: Some(9_000_000_000),
        received: Some(1_000_000),
    };
    TerminationMessage {
        v: 2,
        session: 1_800_000_000,
        start: 1_800_000_000,
        end: 1_800_003_600,
        ended: true,
        by: ["claim".into(), "exact".into()],
        presence: Some(presence),
        gpus,
        more: 0,
    }
}

fn text(message: &TerminationMessage<'_>) -> String {
    serde_json::to_string(message).unwrap()
}

#[test]
fn a_message_has_the_usage_of_all_devices() {
    let usage = of_run(Some(&text(&message(vec![device("GPU-1"), device("GPU-2")]))), LIMITS).unwrap();
    let expected = Usage {
        allocated: 2 * HOUR,
        busy_tenths: 36_008,
        unsampled: 30,
        idle: [1200, 120],
        joules: 720_000,
        peak: Some(16 << 30),
        connected: 3000,
        transmitted: 9_000_000_000,
        received: 1_000_000,
    };
    assert_eq!(usage, expected);
}

/// The busy time of a shared device is that of all pods, and each of its sessions would count it.
#[test]
fn the_busy_time_of_other_pods_does_not_count() {
    for scope in ["device", "node", "new"] {
        let shared = DeviceTotal { scope: scope.into(), ..device("GPU-1") };
        let usage = of_run(Some(&text(&message(vec![shared]))), LIMITS).unwrap();
        assert_eq!((usage.allocated, usage.busy_tenths, usage.peak), (HOUR, 0, None), "{scope}");
    }
}

#[test]
fn a_run_without_a_valid_message_has_a_reason() {
    let valid = text(&message(vec![device("GPU-1")]));
    let newer = valid.replacen("\"v\":2", "\"v\":3", 1);
    let padded = format!("{valid}{}", " ".repeat(MAX_MESSAGE_BYTES));
    let cases = [
        (None, MissingReason::Absent),
        (Some("  \n"), MissingReason::Absent),
        (Some(&valid[..valid.len() - 1]), MissingReason::Malformed),
        (Some("[]"), MissingReason::Malformed),
        (Some(newer.as_str()), MissingReason::Version),
        (Some(padded.as_str()), MissingReason::TooLong),
    ];
    for (text, reason) in cases {
        assert_eq!(of_run(text, LIMITS), Err(reason), "{text:?}");
    }
}

/// Messages that a tenant can write into the message of a container that it controls.
#[test]
fn a_message_with_more_than_the_pod_can_have_used_is_rejected() {
    type Change = fn(&mut TerminationMessage<'static>);
    let changes: [(&str, Change); 14] = [
        ("a device more", |it| it.gpus.push(device("GPU-3"))),
        ("devices that do not fit", |it| it.more = 1),
        ("very many devices", |it| it.more = usize::MAX),
        ("the same device twice", |it| it.gpus[1] = device("GPU-1")),
        ("allocated for longer than the run", |it| it.gpus[0].allocated = HOUR + 3),
        ("allocated without an end", |it| it.gpus[0].allocated = u64::MAX),
        ("busy for longer than allocated", |it| it.gpus[0].busy = Some(3602.1)),
        ("busy for a negative time", |it| it.gpus[0].busy = Some(-0.1)),
        ("unsampled for longer than allocated", |it| it.gpus[0].unsampled = HOUR + 3),
        ("idle for longer than allocated", |it| it.gpus[0].idle = Some([u64::MAX, u64::MAX])),
        ("too much energy", |it| it.gpus[0].joules = Some(3602 * 2000 + 1)),
        ("too much memory", |it| it.gpus[0].peak = Some((1 << 40) + 1)),
        ("connected for longer than the run", |it| it.presence.as_mut().unwrap().connected = HOUR + 3),
        ("too many bytes", |it| it.presence.as_mut().unwrap().received = Some(u64::MAX)),
    ];
    let valid = message(vec![device("GPU-1"), device("GPU-2")]);
    assert!(of_run(Some(&text(&valid)), LIMITS).is_ok());
    for (name, change) in changes {
        let mut hostile = valid.clone();
        change(&mut hostile);
        assert_eq!(of_run(Some(&text(&hostile)), LIMITS), Err(MissingReason::Impossible), "{name}");
    }
}

#[test]
fn the_runs_of_a_session_add_up() {
    let mut session = SessionUsage::default();
    let run = text(&message(vec![device("GPU-1")]));
    assert_eq!([session.add(Some(&run), LIMITS, 1), session.add(Some(&run), LIMITS, 1)], [None, None]);
    let usage = session.at_end(RunLimits { seconds: 2 * HOUR + 2, devices: 1 }, 1);
    assert_eq!((usage.allocated, usage.unsampled, usage.peak), (2 * HOUR, 30, Some(8 << 30)));
    assert_eq!((usage.connected, usage.joules), (6000, 720_000));
}

#[test]
fn time_that_no_message_shows_is_allocated_and_unsampled() {
    let run = text(&message(vec![device("GPU-1")]));
    let no_device = text(&message(vec![]));
    type Runs<'r> = &'r [Option<&'r str>];
    let cases: [(&str, Runs<'_>, u32, [u64; 2]); 6] = [
        ("no run", &[None], 1, [7200, 7200]),
        ("no run and no device", &[None], 0, [0, 0]),
        ("one of two runs", &[Some(&run), None], 1, [7200, 3615]),
        ("a message without devices", &[Some(&no_device)], 1, [7200, 7200]),
        ("a message with one of two devices", &[Some(&run)], 2, [14_400, 10_815]),
        (
            "a message for more time than the session",
            &[Some(&run), Some(&run), Some(&run), None],
            1,
            [7202, 45],
        ),
    ];
    for (name, runs, devices, expected) in cases {
        let mut session = SessionUsage::default();
        for run in runs {
            session.add(*run, LIMITS, devices);
        }
        let usage = session.at_end(RunLimits { seconds: 2 * HOUR, devices: devices.max(1) }, devices);
        assert_eq!([usage.allocated, usage.unsampled], expected, "{name}");
    }
}

/// The ledger keeps the state of the sessions that have not ended.
#[test]
fn the_state_of_a_session_can_be_stored() {
    let mut session = SessionUsage::default();
    session.add(Some(&text(&message(vec![device("GPU-1")]))), LIMITS, 2);
    let stored = serde_json::to_string(&session).unwrap();
    assert_eq!(serde_json::from_str::<SessionUsage>(&stored).unwrap(), session);
}
