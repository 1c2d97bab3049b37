//! Whatever the driver answers, only the session's own device is counted.

use std::collections::BTreeMap;

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol, Utilization};
use kit::exposition::Exposition;
use proptest::prelude::*;

use super::{driver_scenarios::*, running_sidecar::*};

/// The changes of one step.
#[derive(Clone, Debug)]
struct Step {
    /// Whether the two cards have each other's handles.
    is_swapped: bool,
    /// Which of the two cards has the other changes.
    card: usize,
    gone: Option<u32>,
    lost: bool,
    calls: Vec<(Symbol, Behaviour)>,
}

const SYMBOLS: [Symbol; 10] = [
    Symbol::nvmlDeviceGetCount_v2,
    Symbol::nvmlDeviceGetHandleByIndex_v2,
    Symbol::nvmlDeviceGetUUID,
    Symbol::nvmlDeviceGetMigMode,
    Symbol::nvmlDeviceGetName,
    Symbol::nvmlDeviceGetUtilizationRates,
    Symbol::nvmlDeviceGetMemoryInfo_v2,
    Symbol::nvmlDeviceGetTotalEnergyConsumption,
    Symbol::nvmlDeviceGetComputeRunningProcesses_v3,
    Symbol::nvmlDeviceRegisterEvents,
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
        .prop_map(|(is_swapped, card, gone, lost, calls)| Step { is_swapped, card, gone, lost, calls })
}

/// The session's card is idle and uses 1 J between two steps. The other card is busy, has more memory in use and uses 1,000 J.
fn cards(number: u64) -> [Device; 2] {
    let card = |uuid: &str, percent, used, joules: u64| Device {
        uuid: Some(uuid.into()),
        utilization: Some(Utilization { gpu: percent, memory: 0 }),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used }),
        compute: Some(vec![]),
        energy_millijoules: Some(1_000_000_000 + number * joules * 1000),
        xids: Some(vec![]),
        ..Device::default()
    };
    [card(UUID, 0, 1 << 30, 1), card(OTHER_UUID, 100, 40 << 30, 1000)]
}

fn scenario(number: u64, step: Option<&Step>) -> Scenario {
    let mut devices = cards(number);
    let mut calls = BTreeMap::new();
    if let Some(step) = step {
        let changed = &mut devices[step.card];
        (changed.gone, changed.lost) = (step.gone, step.lost);
        changed.calls = step.calls.iter().copied().collect();
        // This call has no device.
        calls.extend(changed.calls.remove_entry(&Symbol::nvmlDeviceGetCount_v2));
        if step.is_swapped {
            devices.reverse();
        }
    }
    Scenario { devices: devices.into(), calls, ..busy_gpu() }
}

/// Checks the values of the session after `number` steps.
fn check(seen: &Exposition, earlier: &Exposition, number: u64) {
    let of = |seen: &Exposition, name: &str| seen.value(name, &[("gpu", UUID)]).unwrap_or_default();
    let joules = of(seen, "vdi_session_gpu_energy_joules_total");
    assert!(joules <= number as f64, "{joules} J in {number} steps");
    assert_eq!(total(seen, "busy", UUID), 0.0);
    assert!(of(seen, "vdi_session_gpu_memory_peak_bytes") <= f64::from(1 << 30));
    for counter in ["energy_joules", "allocated_seconds", "unsampled_seconds"] {
        let name = format!("vdi_session_gpu_{counter}_total");
        assert!(of(seen, &name) >= of(earlier, &name), "{name} fell");
        assert_eq!(seen.value(&name, &[("gpu", OTHER_UUID)]), None, "{name} of the other card");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_of_the_driver_bills_another_device(steps in prop::collection::vec(step(), 12)) {
        let sidecar = RunningSidecar::start(&scenario(0, None), &[FAST]);
        sidecar.annotate(UUID);
        let mut earlier = sidecar.scrape_until("the card", |seen| total(seen, "allocated", UUID) > 0.0);
        let later = |earlier: &Exposition| {
            let last = earlier.value(LAST_COLLECT, &[]);
            sidecar.scrape_until("three polls", |seen| {
                seen.value(LAST_COLLECT, &[]) > last.map(|at| at + 0.07)
            })
        };
        for (number, step) in (1..).zip(&steps) {
            sidecar.play(&scenario(number, Some(step)));
            let seen = later(&earlier);
            check(&seen, &earlier, number);
            earlier = seen;
        }
        let number = steps.len() as u64;
        sidecar.play(&scenario(number, None));
        let back = sidecar.scrape_until("the card again", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
        check(&back, &earlier, number);
    }
}
