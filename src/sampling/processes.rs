//! Finds the session's own processes in the driver's process lists and adds up their use of a device. Pure.

use crate::gpu::{Process, ProcessKind, ProcessUtilization};

/// Use of a device by the session's own processes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnUsage {
    /// PID and kind of each process, in the order of the driver's lists. A process with both kinds of context is listed once, as
    /// graphics, because it belongs to a desktop.
    pub processes: Vec<(u32, ProcessKind)>,
    /// Bytes of the frame buffer that the processes use; none if the driver does not give the bytes of one of them.
    pub memory: Option<u64>,
    /// Part of the multiprocessors' time. The sum can be more than 1 if processes ran at the same time. None if it was not read.
    pub sm: Option<f64>,
    /// Part of the encoder's time; none if it was not read.
    pub encoder: Option<f64>,
    /// Part of the decoder's time; none if it was not read.
    pub decoder: Option<f64>,
    /// Time of the newest sample of these processes, in microseconds of the node's wall clock; 0 without a sample.
    pub newest_sample: u64,
}

/// First driver that gives PIDs of the container's PID namespace in its process lists, in memory and in utilisation
/// (open-gpu-kernel-modules, `_gpuConvertPid` in 535.113 and `kern_perf_ctrl` in 570.86).
const MIN_DRIVER: u32 = 570;

/// Whether the process lists of this driver version are reliable inside a container. False for an unknown version.
#[must_use]
pub fn are_lists_reliable(driver: Option<&str>) -> bool {
    let major =
        driver.and_then(|version| version.split('.').next()).and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= MIN_DRIVER)
}

/// Whether every listed PID exists in this pod. If a PID does not exist, either its process has just ended, or the PIDs belong to
/// another PID namespace. In the second case, a PID that exists here is a coincidence.
#[must_use]
pub fn all_exist(listed: &[Process], exists: impl Fn(u32) -> bool) -> bool {
    listed.iter().all(|process| exists(process.pid))
}

/// Use of a device by the processes in `listed`; all of them must be the pod's. `utilization` is none if it was not read.
#[must_use]
pub fn own_usage(listed: &[Process], utilization: Option<&[ProcessUtilization]>) -> OwnUsage {
    let mut own = OwnUsage::default();
    let mut memory: Vec<Option<u64>> = vec![];
    for process in listed {
        match own.processes.iter().position(|(pid, _)| *pid == process.pid) {
            Some(index) => {
                memory[index] = memory[index].max(process.memory);
                own.processes[index].1 = ProcessKind::Graphics;
            }
            None => {
                own.processes.push((process.pid, process.kind));
                memory.push(process.memory);
            }
        }
    }
    own.memory = memory.into_iter().sum();
    if let Some(utilization) = utilization.filter(|_| !own.processes.is_empty()) {
        own.add_utilization(utilization);
    }
    own
}

/// Whether `samples` has no newer sample of the same process.
fn is_newest(sample: &ProcessUtilization, samples: &[ProcessUtilization]) -> bool {
    !samples.iter().any(|other| other.pid == sample.pid && other.at > sample.at)
}

// === impl OwnUsage ===

impl OwnUsage {
    fn add_utilization(&mut self, samples: &[ProcessUtilization]) {
        // The driver also returns samples of processes outside the pod, with their PIDs on the host.
        let is_own = |sample: &&ProcessUtilization| self.processes.iter().any(|(pid, _)| *pid == sample.pid);
        let newest: Vec<&ProcessUtilization> =
            samples.iter().filter(is_own).filter(|sample| is_newest(sample, samples)).collect();
        self.newest_sample = newest.iter().map(|sample| sample.at).max().unwrap_or_default();
        let sum = |part: fn(&ProcessUtilization) -> f64| {
            Some(newest.iter().fold(0.0, |sum, sample| sum + part(sample)))
        };
        (self.sm, self.encoder, self.decoder) =
            (sum(|sample| sample.sm), sum(|sample| sample.encoder), sum(|sample| sample.decoder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, kind: ProcessKind, memory: Option<u64>) -> Process {
        Process { pid, kind, memory }
    }

    fn sample(pid: u32, at: u64, sm: f64) -> ProcessUtilization {
        ProcessUtilization { pid, at, sm, encoder: 0.0, decoder: 0.0 }
    }

    #[test]
    fn a_process_in_both_lists_counts_once_with_the_larger_memory() {
        use ProcessKind::{Compute, Graphics};
        let listed =
            [process(7, Compute, Some(5)), process(8, Compute, Some(1)), process(7, Graphics, Some(9))];
        let own = own_usage(&listed, None);
        assert_eq!(own.processes, [(7, Graphics), (8, Compute)]);
        assert_eq!((own.memory, own.sm), (Some(10), None));
    }

    #[test]
    fn unknown_memory_of_one_process_makes_the_sum_unknown() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, None)];
        assert_eq!(own_usage(&listed, None).memory, None);
        assert_eq!(own_usage(&[], None).memory, Some(0));
    }

    #[test]
    fn a_listed_process_outside_the_pod_makes_the_list_unreliable() {
        let listed =
            [process(7, ProcessKind::Compute, Some(5)), process(4711, ProcessKind::Compute, Some(5))];
        assert!(all_exist(&listed[..1], |pid| pid == 7) && !all_exist(&listed, |pid| pid == 7));
    }

    #[test]
    fn samples_of_other_processes_and_old_samples_do_not_count() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, Some(5))];
        let samples = [sample(7, 1, 0.9), sample(7, 2, 0.25), sample(8, 2, 0.5), sample(4711, 2, 0.5)];
        assert_eq!(own_usage(&listed, Some(&samples)).sm, Some(0.75));
        let idle = own_usage(&listed, Some(&[])).sm;
        // Rust's empty sum is -0, which an exposition would show.
        assert_eq!(idle.map(f64::to_bits), Some(0), "no process was busy");
        assert_eq!(own_usage(&[], Some(&samples)).sm, None, "no process can be busy");
    }

    #[test]
    fn lists_of_drivers_before_570_are_not_reliable() {
        let is_reliable = |version| are_lists_reliable(Some(version));
        assert!(is_reliable("570.86.15") && is_reliable("1000.1"));
        assert!(
            !is_reliable("565.77") && !is_reliable("") && !is_reliable("x.y") && !are_lists_reliable(None)
        );
    }
}
