//! A simulated hour of a shared card: what the sidecars show, what the agent shows, and what they add up to.

use fake_nvml::{Device, Memory, ProcessUtilization, Samples, Scenario, Utilization};
use kit::exposition::Exposition;

use super::node_fixture::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const TRAINING: &str = "cccccccc-0000-4000-8000-000000000003";

/// The PIDs of Alice's graphics process, Bob's compute process, the training in a pod without sidecar, and the display server.
const PIDS: [u32; 4] = [101, 202, 303, 404];

/// Used memory of the processes in GiB; the card uses another one for itself.
const GIBIBYTES: [u64; 4] = [1, 2, 8, 1];

/// The values of `owner` for energy. Only energy has the last one.
const OWNERS: [&str; 5] = ["session", "other_pod", "no_pod", "unsampled", "idle"];

/// Twenty minutes of the hour.
#[derive(Clone, Copy)]
struct Phase {
    /// Percent of the time in which each process works.
    sm: [u32; 4],
    /// Percent of the time in which the card works. The rest is work of no listed process.
    card: u32,
    joules: u64,
}

const HOUR: [Phase; 3] = [
    Phase { sm: [30, 20, 10, 5], card: 80, joules: 900 },
    Phase { sm: [0, 0, 40, 0], card: 50, joules: 700 },
    Phase { sm: [10, 60, 0, 5], card: 75, joules: 800 },
];

/// Seconds of a phase: the hour passes 300 times as fast.
const SECONDS: f64 = 4.0;

fn scenario(phase: Phase, joules: u64) -> Scenario {
    let process = |index: usize| fake_nvml::Process {
        pid: PIDS[index],
        memory: Some(GIBIBYTES[index] << 30),
        ends_after_lists: None,
    };
    let sample = |index: usize| ProcessUtilization {
        pid: PIDS[index],
        sm: phase.sm[index],
        ..ProcessUtilization::default()
    };
    let card = Device {
        uuid: Some(CARD.into()),
        utilization: Some(Utilization { gpu: phase.card, memory: 10 }),
        samples: Some(Samples { period_us: 10_000, length: 500, ..Samples::default() }),
        memory: Some(Memory {
            total: 48 << 30,
            reserved: 0,
            used: (GIBIBYTES.iter().sum::<u64>() + 1) << 30,
        }),
        graphics: Some(vec![process(0), process(3)]),
        compute: Some(vec![process(1), process(2)]),
        process_utilization: Some((0..4).map(sample).collect()),
        energy_millijoules: Some(joules * 1000),
        ..Device::default()
    };
    driver_with(vec![card])
}

fn node() -> Node {
    let node = Node::new(&scenario(HOUR[0], 0));
    node.add_session(ALICE, PIDS[0]);
    node.add_session(BOB, PIDS[1]);
    node.add_process_of_pod(TRAINING, PIDS[2]);
    node.add_process(PIDS[3], "/user.slice/display.service");
    node
}

fn of_session(seen: &Exposition, metric: &str, labels: &[(&str, &str)]) -> f64 {
    seen.value(&format!("vdi_session_gpu_{metric}"), labels).unwrap_or_default()
}

fn busy(seen: &Exposition) -> f64 {
    of_session(seen, "busy_seconds_total", &[("scope", "session")])
}

fn allocated(seen: &Exposition) -> f64 {
    of_session(seen, "allocated_seconds_total", &[])
}

/// The values of the agent in the order of [`OWNERS`].
fn by_owner(seen: &Exposition, metric: &str) -> [f64; 5] {
    OWNERS.map(|owner| seen.value(&format!("vdi_gpu_{metric}"), &[("owner", owner)]).unwrap_or_default())
}

fn observed(seen: &Exposition) -> f64 {
    seen.value("vdi_gpu_observed_seconds_total", &[]).unwrap_or_default()
}

fn assert_close(value: f64, expected: f64, part: f64, what: &str) {
    assert!(
        (value - expected).abs() <= part * expected.abs() + 1e-6,
        "{what}: {value} instead of {expected}"
    );
}

/// Both desktops, the agent, and what they have shown at the start of a phase.
struct Watched {
    agent: Agent,
    sidecars: [Sidecar; 2],
}

impl Watched {
    /// Waits until the agent and the sidecars show this energy of the card.
    fn wait_for_energy(&self, joules: f64) -> (Exposition, [Exposition; 2]) {
        let is_reached = |sum: f64| (sum - joules).abs() < 1e-6;
        let agent = self.agent.scrape_until("the energy", |seen| {
            observed(seen) > 0.0 && is_reached(by_owner(seen, "energy_joules_total").iter().sum())
        });
        let sidecars = self.sidecars.each_ref().map(|sidecar| {
            sidecar.scrape_until("the energy", |seen| {
                allocated(seen) > 0.0
                    && is_reached(of_session(seen, "energy_joules_total", &[("scope", "device")]))
            })
        });
        (agent, sidecars)
    }

    /// Lets a phase pass. Checks the busy seconds of all.
    fn pass(&self, phase: Phase, joules: f64) {
        let (agent, sidecars) = self.wait_for_energy(joules);
        for (index, (sidecar, start)) in self.sidecars.iter().zip(&sidecars).enumerate() {
            let end = sidecar.scrape_until("a phase", |seen| allocated(seen) > allocated(start) + SECONDS);
            let expected = f64::from(phase.sm[index]) / 100.0 * (allocated(&end) - allocated(start));
            assert_close(busy(&end) - busy(start), expected, 0.01, "busy seconds of a session");
            assert_eq!(
                of_session(&end, "memory_used_bytes", &[("scope", "session")]),
                (GIBIBYTES[index] << 30) as f64
            );
        }
        let end = self.agent.scrape_until("a phase", |seen| observed(seen) > observed(&agent) + SECONDS);
        let seconds = observed(&end) - observed(&agent);
        let [earlier, later] = [&agent, &end].map(|seen| by_owner(seen, "busy_seconds_total"));
        let total: f64 = later.iter().sum::<f64>() - earlier.iter().sum::<f64>();
        // A sample of 10 ms at each end of the phase.
        assert_close(total, f64::from(phase.card) / 100.0 * seconds, 0.01, "busy seconds of the card");
        let [alice, bob, training, display] = phase.sm.map(f64::from);
        for (index, percent) in [alice + bob, training, display].into_iter().enumerate() {
            let expected = total * percent / f64::from(phase.card);
            assert_close(later[index] - earlier[index], expected, 0.001, OWNERS[index]);
        }
        let memory = by_owner(&end, "memory_used_bytes").map(|bytes| bytes as u64 >> 30);
        assert_eq!(memory, [3, 8, 1, 1, 0]);
    }
}

#[test]
fn an_hour_of_a_shared_card_adds_up() {
    let node = node();
    let agent = node.start_agent();
    let sidecars = [ALICE, BOB].map(|uid| node.start_sidecar(uid));
    let watched = Watched { agent, sidecars };
    watched.wait_for_energy(0.0);
    let mut joules = 0;
    for phase in HOUR {
        joules += phase.joules;
        node.play(&scenario(phase, joules));
        watched.pass(phase, joules as f64);
    }
    let (agent, seen) = watched.wait_for_energy(joules as f64);
    let energy = |part: &dyn Fn(&Phase) -> u32| -> f64 {
        HOUR.iter().map(|phase| phase.joules as f64 * f64::from(part(phase)) / 100.0).sum()
    };
    let parts = by_owner(&agent, "energy_joules_total");
    let expected: [&dyn Fn(&Phase) -> u32; 5] = [
        &|phase| phase.sm[0] + phase.sm[1],
        &|phase| phase.sm[2],
        &|phase| phase.sm[3],
        &|phase| phase.card - phase.sm.iter().sum::<u32>(),
        &|phase| 100 - phase.card,
    ];
    for (index, part) in expected.into_iter().enumerate() {
        assert_close(parts[index], energy(part), 0.01, OWNERS[index]);
    }
    let attributed = seen.each_ref().map(|seen| of_session(seen, "energy_attributed_joules_total", &[]));
    assert_close(attributed.iter().sum(), parts[0], 0.01, "energy of the sessions");
    let sessions: f64 = seen.iter().map(busy).sum();
    assert_close(sessions, by_owner(&agent, "busy_seconds_total")[0], 0.01, "busy seconds of the sessions");
    for ((sidecar, seen), joules) in watched.sidecars.into_iter().zip(&seen).zip(attributed) {
        let total = sidecar.end()["gpus"][0].take();
        assert_eq!((&total["gpu"], &total["scope"]), (&CARD.into(), &"session".into()));
        // The message has the work since the scrape too. It is rounded to tenths of a second, and to joules.
        let last = total["busy"].as_f64().unwrap();
        assert!((busy(seen) - 0.05..busy(seen) + 1.0).contains(&last), "{last} and {}", busy(seen));
        assert_close(total["joules"].as_f64().unwrap(), joules, 0.01, "energy in the last words");
    }
}
