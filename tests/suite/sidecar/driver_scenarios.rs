//! Scenarios of the fake driver that several tests use.

use std::time::SystemTime;

use fake_nvml::{Behaviour, Device, Memory, ProcessUtilization, Scenario, Symbol, Utilization};

pub(super) const UUID: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
pub(super) const OTHER_UUID: &str = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";

/// A card that is busy all the time.
pub(super) fn busy_gpu() -> Scenario {
    Scenario {
        driver_version: Some("580.95.05".into()),
        nvml_version: Some("13.580.95.05".into()),
        devices: vec![Device {
            uuid: Some(UUID.into()),
            name: Some("NVIDIA L40S".into()),
            utilization: Some(Utilization { gpu: 100, memory: 40 }),
            memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used: 6 << 30 }),
            ..Device::default()
        }],
        ..Scenario::default()
    }
}

/// A card on which a process has a compute context, 1 GiB of memory and this utilisation.
pub(super) fn gpu_with_process(pid: u32, utilization: Vec<ProcessUtilization>) -> Scenario {
    let mut scenario = busy_gpu();
    let card = &mut scenario.devices[0];
    card.compute = Some(vec![fake_nvml::Process { pid, memory: Some(1 << 30), ends_after_lists: None }]);
    (card.graphics, card.process_utilization) = (Some(vec![]), Some(utilization));
    scenario
}

/// Two cards that list their processes; a process is on the second.
pub(super) fn two_gpus_with_a_process_on_the_second() -> Scenario {
    let mut scenario = gpu_with_process(7, vec![]);
    scenario.devices[0].process_utilization = None;
    scenario.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..scenario.devices[0].clone() });
    scenario.devices[0].compute = Some(vec![]);
    scenario
}

pub(super) fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// A busy card, and a call that fails.
pub(super) fn failing(symbol: Symbol, code: u32) -> Scenario {
    with(symbol, Behaviour { returns: Some(code), ..Behaviour::default() })
}

/// A busy card, and a call that does not return.
pub(super) fn hanging(symbol: Symbol) -> Scenario {
    with(symbol, Behaviour { delay_ms: 600_000, ..Behaviour::default() })
}

fn with(symbol: Symbol, behaviour: Behaviour) -> Scenario {
    Scenario { calls: [(symbol, behaviour)].into(), ..busy_gpu() }
}
