//! Whatever the driver answers, only the session's own device is counted.

use std::collections::BTreeMap;

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol, Utilization};
use kit::exposition::Exposition;
use proptest::prelude::*;

use super::{driver_scenarios::*, running_sidecar::*};

/// The changes of one step.
#[derive(Clone, Debug)]
struct Step {
    /// Whether the two devices have each other's handles.
    is_swapped: bool,
    /// Which of the two devices has the other changes.
    changed: usize,
    gone: Option<u32>,
    lost: bool,
    calls: Vec<(Symbol, Behaviour)>,
}

const SYMBOLS: [Symbol; 12] = [
    Symbol::nvmlDeviceGetCount_v2,
    Symbol::nvmlDeviceGetHandleByIndex_v2,
    Symbol::nvmlDeviceGetUUID,
    Symbol::nvmlDeviceGetMigMode,
    Symbol::nvmlDeviceGetMigDeviceHandleByIndex,
    Symbol::nvmlDeviceGetName,
    Symbol::nvmlDeviceGetUtilizationRates,
    Symbol::nvmlDeviceGetMemoryInfo_v2,
    Symbol::nvmlDeviceGetTotalEnergyConsumption,
    Symbol::nvmlDeviceGetComputeRunningProcesses_v3,
    Symbol::nvmlDeviceRegisterEvents,
    Symbol::nvmlInit_v2,
];

/// Uninitialised, invalid argument, not supported, no permission, not found, timeout, lost, version mismatch, unknown.
const CODES: [u32; 9] = [1, 2, 3, 4, 6, 10, 15, 18, 999];

fn code() -> impl Strategy<Value = u32> {
    prop::sample::select(&CODES[..])
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let answer = prop_oneof![
        code().prop_map(Behaviour::failing),
        prop::sample::select(&[0, 255][..])
            .prop_map(|fill| Behaviour { fill: Some(fill), ..Behaviour::default() }),
    ];
    let times = prop::option::of(1..4_u64);
    (answer, 0..3_u64, times).prop_map(|(answer, after, times)| Behaviour { after, times, ..answer })
}

fn step() -> impl Strategy<Value = Step> {
    let calls = prop::collection::vec((prop::sample::select(&SYMBOLS[..]), behaviour()), 0..3);
    let gone = prop::option::weighted(0.2, code());
    (any::<bool>(), 0..2_usize, gone, prop::bool::weighted(0.1), calls)
        .prop_map(|(is_swapped, changed, gone, lost, calls)| Step { is_swapped, changed, gone, lost, calls })
}

/// The session's device and another one, by the prefix of their UUIDs: two cards, or two slices of a card.
#[derive(Clone, Copy, Debug)]
struct Pair(&'static str);

const CARDS: Pair = Pair("GPU");
const SLICES: Pair = Pair("MIG");

impl Pair {
    fn uuids(self) -> [String; 2] {
        [UUID, OTHER_UUID].map(|uuid| uuid.replacen("GPU", self.0, 1))
    }

    /// The session's device is idle and uses 1 J between two steps. The other device is busy, has more memory in use and uses
    /// 1,000 J.
    fn devices(self, number: u64) -> [Device; 2] {
        let device = |uuid: String, percent, used, joules: u64| Device {
            uuid: Some(uuid),
            utilization: Some(Utilization { gpu: percent, memory: 0 }),
            memory: Some(Memory { total: 48 << 30, reserved: 0, used }),
            compute: Some(vec![]),
            energy_millijoules: Some(1_000_000_000 + number * joules * 1000),
            xids: Some(vec![]),
            ..Device::default()
        };
        let [own, other] = self.uuids();
        [device(own, 0, 1 << 30, 1), device(other, 100, 40 << 30, 1000)]
    }

    fn scenario(self, number: u64, step: Option<&Step>) -> Scenario {
        let mut devices = self.devices(number);
        let mut calls = BTreeMap::new();
        if let Some(step) = step {
            let changed = &mut devices[step.changed];
            (changed.gone, changed.lost) = (step.gone, step.lost);
            changed.calls = step.calls.iter().copied().collect();
            // These calls have no device.
            for symbol in [Symbol::nvmlDeviceGetCount_v2, Symbol::nvmlInit_v2] {
                calls.extend(changed.calls.remove_entry(&symbol));
            }
            if step.is_swapped {
                devices.reverse();
            }
        }
        let card = |slices: [Device; 2]| Device {
            uuid: Some("GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035".into()),
            mig: Some(true),
            slices: slices.into(),
            xids: Some(vec![]),
            ..Device::default()
        };
        let devices = if self.0 == SLICES.0 { vec![card(devices)] } else { devices.into() };
        Scenario { devices, calls, ..busy_gpu() }
    }
}

/// Checks the values of the session after `number` steps.
fn check(seen: &Exposition, earlier: &Exposition, pair: Pair, number: u64) {
    let [own, other] = &pair.uuids();
    let of = |seen: &Exposition, name: &str| seen.value(name, &[("gpu", own)]).unwrap_or_default();
    let joules = of(seen, "vdi_session_gpu_energy_joules_total");
    assert!(joules <= number as f64, "{joules} J in {number} steps");
    assert_eq!(total(seen, "busy", own), 0.0);
    assert!(of(seen, "vdi_session_gpu_memory_peak_bytes") <= f64::from(1 << 30));
    for counter in ["energy_joules", "allocated_seconds", "unsampled_seconds"] {
        let name = format!("vdi_session_gpu_{counter}_total");
        assert!(of(seen, &name) >= of(earlier, &name), "{name} fell");
        assert_eq!(seen.value(&name, &[("gpu", other)]), None, "{name} of the other device");
    }
}

fn try_steps(pair: Pair, steps: &[Step]) {
    let sidecar = RunningSidecar::start(&pair.scenario(0, None), &[FAST]);
    let [own, _] = &pair.uuids();
    sidecar.annotate(own);
    let mut earlier = sidecar.scrape_until("the device", |seen| total(seen, "allocated", own) > 0.0);
    let later = |earlier: &Exposition| {
        let last = earlier.value(LAST_COLLECT, &[]);
        sidecar.scrape_until("three polls", |seen| seen.value(LAST_COLLECT, &[]) > last.map(|at| at + 0.07))
    };
    for (number, step) in (1..).zip(steps) {
        sidecar.play(&pair.scenario(number, Some(step)));
        let seen = later(&earlier);
        check(&seen, &earlier, pair, number);
        earlier = seen;
    }
    let number = steps.len() as u64;
    sidecar.play(&pair.scenario(number, None));
    let back = sidecar.scrape_until("the device again", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
    check(&back, &earlier, pair, number);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_of_the_driver_bills_another_card(steps in prop::collection::vec(step(), 12)) {
        try_steps(CARDS, &steps);
    }

    #[test]
    fn no_answer_of_the_driver_bills_another_slice(steps in prop::collection::vec(step(), 12)) {
        try_steps(SLICES, &steps);
    }
}
