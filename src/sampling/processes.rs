//! Finds the session's own processes in the driver's process lists and adds up their use of a device. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{bounds, streams::OwnStreams};
use crate::gpu::{Process, ProcessKind, ProcessUtilization};

/// Use of a device by the session's own processes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OwnUsage {
    /// PID and kind of each process, in the order of the driver's lists. A process with both kinds of context is listed once, as
    /// graphics, because it belongs to a desktop.
    pub processes: Vec<(u32, ProcessKind)>,
    /// Bytes of the frame buffer that the processes use; none if the driver does not give the bytes of one of them.
    pub memory: Option<u64>,
    /// Part of the multiprocessors' time; none if it was not read or is impossible. The sum can be more than 1, because each
    /// process has its own sample, and the samples may be of different times.
    pub sm: Option<f64>,
    /// As `sm`, for all processes on the device, those of other pods included.
    pub all_sm: f64,
    /// Part of the encoder's time; none if it was not read.
    pub encoder: Option<f64>,
    /// Part of the decoder's time; none if it was not read.
    pub decoder: Option<f64>,
    /// Number of utilisations outside 0 to 1.
    pub out_of_range: usize,
    /// Time of the newest sample of these processes, in microseconds of the driver's clock; 0 without a sample.
    pub newest_sample: u64,
    /// Encoder sessions and captures of the processes. Only the node agent knows them, because the driver gives PIDs of the node.
    pub streams: OwnStreams,
}

/// The time for which process samples are requested, in microseconds of the driver's clock. Samples of other times are not
/// counted: the driver keeps the newest sample of a process until there is a newer one, and its list can contain impossible times
/// (`nvtop#110`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleWindow {
    /// Time of the newest counted sample. 0 if no sample was counted: then the driver returns all samples.
    pub since: u64,
    /// Begin and end of the window in each clock that the driver may use.
    spans: [(u64, u64); 2],
}

/// Time after the newest sample of a device in which the driver can record a sample of a process, in microseconds.
const MAX_LEAD: u64 = 2_000_000;

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
///
/// # Errors
/// Fails if `exists` fails.
pub fn all_exist<E>(listed: &[Process], exists: impl Fn(u32) -> Result<bool, E>) -> Result<bool, E> {
    for process in listed {
        if !exists(process.pid)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Use of a device by the processes in `listed`; all of them must be the pod's. `utilization` is none if it was not read.
#[must_use]
pub fn own_usage(
    listed: &[Process],
    utilization: Option<&[ProcessUtilization]>,
    window: SampleWindow,
) -> OwnUsage {
    let mut own = OwnUsage::default();
    let mut memory: Vec<Option<u64>> = vec![];
    for process in listed {
        match own.processes.iter().position(|(pid, _)| *pid == process.pid) {
            Some(index) => {
                memory[index] = memory[index].max(process.memory);
                if process.kind == ProcessKind::Graphics {
                    own.processes[index].1 = ProcessKind::Graphics;
                }
            }
            None => {
                own.processes.push((process.pid, process.kind));
                memory.push(process.memory);
            }
        }
    }
    own.memory = memory.into_iter().try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
    if let Some(utilization) = utilization.filter(|_| !own.processes.is_empty()) {
        own.add_utilization(&newest_of_each_process(utilization, window));
    }
    own
}

/// The newest sample of each process in the window. A process has one sample, even if the driver returns it twice.
fn newest_of_each_process(samples: &[ProcessUtilization], window: SampleWindow) -> Vec<ProcessUtilization> {
    let mut newest: Vec<ProcessUtilization> =
        samples.iter().copied().filter(|sample| window.contains(sample.at)).collect();
    newest.sort_by_key(|sample| (sample.pid, std::cmp::Reverse(sample.at)));
    newest.dedup_by_key(|sample| sample.pid);
    newest
}

// === impl SampleWindow ===

impl SampleWindow {
    /// The window after `last`, the time of the newest counted sample. `clocks` are the present times of the clocks that the
    /// driver may use. The clock nearest to `last` is the driver's. If no sample was counted (`last` is 0), or if `last` is in
    /// the future because the clock was set back, the window begins two intervals before the present in each clock. One
    /// interval is not enough, because polls are jittered and can be late.
    #[must_use]
    pub fn new(last: u64, clocks: [u64; 2], interval: Duration) -> Self {
        let ends = clocks.map(|now| now.saturating_add(MAX_LEAD));
        let end = ends.into_iter().min_by_key(|end| end.abs_diff(last)).unwrap_or_default();
        if (1..=end).contains(&last) {
            return Self { since: last, spans: [(last, end); 2] };
        }
        let span =
            |now: u64| (now.saturating_sub(2 * interval.as_micros() as u64), now.saturating_add(MAX_LEAD));
        Self { since: 0, spans: clocks.map(span) }
    }

    /// Whether samples of this time count.
    #[must_use]
    pub fn contains(self, time: u64) -> bool {
        self.spans.iter().any(|(begin, end)| time > *begin && time <= *end)
    }
}

// === impl OwnUsage ===

impl OwnUsage {
    fn add_utilization(&mut self, samples: &[ProcessUtilization]) {
        // The driver also returns samples of processes outside the pod, with their PIDs on the host.
        let (own, others): (Vec<_>, Vec<_>) =
            samples.iter().partition(|sample| self.processes.iter().any(|(pid, _)| *pid == sample.pid));
        let sum = |part: fn(&ProcessUtilization) -> f64| {
            own.iter().try_fold(0.0, |sum, sample| Some(sum + bounds::ratio(part(sample))?))
        };
        self.sm = sum(|sample| sample.sm);
        self.encoder = sum(|sample| sample.encoder);
        self.decoder = sum(|sample| sample.decoder);
        let others = others.iter().filter_map(|sample| bounds::ratio(sample.sm));
        self.all_sm = others.fold(self.sm.unwrap_or_default(), |sum, ratio| sum + ratio);
        let ratios = samples.iter().flat_map(|sample| [sample.sm, sample.encoder, sample.decoder]);
        self.out_of_range = ratios.filter(|ratio| bounds::ratio(*ratio) != Some(*ratio)).count();
        self.newest_sample = own.iter().map(|sample| sample.at).max().unwrap_or_default();
    }

    /// The utilisation of the device by these processes. `device` is the utilisation of the device. If the processes of all pods
    /// together have more, their utilisations are scaled down, so that the sum over all sessions is at most `device`.
    #[must_use]
    pub fn part_of(&self, device: f64) -> Option<f64> {
        let sm = self.sm?;
        let all = self.all_sm.max(sm);
        Some(if all > device { sm / all * device } else { sm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, kind: ProcessKind, memory: Option<u64>) -> Process {
        Process { pid, kind, memory }
    }

    /// A window that contains the times from 1 on.
    const ALL: SampleWindow = SampleWindow { since: 0, spans: [(0, u64::MAX); 2] };

    fn sample(pid: u32, at: u64, sm: f64) -> ProcessUtilization {
        ProcessUtilization { pid, at, sm, encoder: 0.0, decoder: 0.0 }
    }

    #[test]
    fn a_process_in_both_lists_counts_once_with_the_larger_memory() {
        use ProcessKind::{Compute, Graphics};
        let listed =
            [process(7, Compute, Some(5)), process(8, Compute, Some(1)), process(7, Graphics, Some(9))];
        let own = own_usage(&listed, None, ALL);
        assert_eq!(own.processes, [(7, Graphics), (8, Compute)]);
        assert_eq!((own.memory, own.sm), (Some(10), None));
    }

    #[test]
    fn unknown_memory_of_one_process_makes_the_sum_unknown() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, None)];
        assert_eq!(own_usage(&listed, None, ALL).memory, None);
        assert_eq!(own_usage(&[], None, ALL).memory, Some(0));
    }

    #[test]
    fn a_listed_process_outside_the_pod_makes_the_list_unreliable() {
        let listed =
            [process(7, ProcessKind::Compute, Some(5)), process(4711, ProcessKind::Compute, Some(5))];
        let exists = |pid| if pid == 9 { Err(()) } else { Ok(pid == 7) };
        assert_eq!((all_exist(&listed[..1], exists), all_exist(&listed, exists)), (Ok(true), Ok(false)));
        assert_eq!(all_exist(&[process(9, ProcessKind::Compute, None)], exists), Err(()));
    }

    #[test]
    fn samples_of_other_processes_and_old_samples_do_not_count() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, Some(5))];
        let samples = [sample(7, 1, 0.9), sample(7, 2, 0.25), sample(8, 2, 0.5), sample(4711, 2, 0.5)];
        assert_eq!(own_usage(&listed, Some(&samples), ALL).sm, Some(0.75));
        let idle = own_usage(&listed, Some(&[]), ALL).sm;
        // Rust's empty sum is -0, which an exposition would show.
        assert_eq!(idle.map(f64::to_bits), Some(0), "no process was busy");
        assert_eq!(own_usage(&[], Some(&samples), ALL).sm, None, "no process can be busy");
    }

    #[test]
    fn a_process_that_is_listed_twice_counts_once() {
        // The same PID in two GPU instances.
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(7, ProcessKind::Compute, Some(3))];
        let own = own_usage(&listed, None, ALL);
        assert_eq!((own.processes, own.memory), (vec![(7, ProcessKind::Compute)], Some(5)));
    }

    #[test]
    fn samples_that_come_twice_or_are_not_from_the_window_do_not_count() {
        let listed = [process(7, ProcessKind::Compute, None), process(8, ProcessKind::Compute, None)];
        let own = |samples: &[ProcessUtilization]| {
            own_usage(&listed, Some(samples), SampleWindow { since: 10, spans: [(10, 20); 2] })
        };
        let twice = own(&[sample(7, 15, 0.5), sample(7, 15, 0.5), sample(7, 12, 0.9)]);
        assert_eq!((twice.sm, twice.newest_sample), (Some(0.5), 15));
        let outside = own(&[sample(7, 10, 0.5), sample(8, 21, 0.5), sample(8, u64::MAX, 0.5)]);
        assert_eq!((outside.sm, outside.newest_sample), (Some(0.0), 0));
        let impossible = own(&[sample(7, 15, 400.0), sample(8, 15, 0.5)]);
        assert_eq!((impossible.sm, impossible.encoder, impossible.out_of_range), (None, Some(0.0), 1));
        let of_another = own(&[sample(7, 15, 1.01), sample(4711, 15, 400.0)]);
        assert_eq!((of_another.sm, of_another.all_sm, of_another.out_of_range), (Some(1.0), 1.0, 2));
    }

    #[test]
    fn the_part_of_own_processes_is_at_most_the_device_and_their_share_of_it() {
        let listed = [process(7, ProcessKind::Compute, None)];
        let own = own_usage(&listed, Some(&[sample(7, 1, 0.6), sample(4711, 1, 0.2)]), ALL);
        let part = |device| own.part_of(device).map(|part| (part * 100.0).round());
        assert_eq!((part(1.0), part(0.4), part(0.0)), (Some(60.0), Some(30.0), Some(0.0)));
        assert_eq!(own_usage(&listed, None, ALL).part_of(1.0), None);
    }

    #[test]
    fn a_window_follows_the_newest_counted_sample_unless_the_clock_was_set_back() {
        let window = |last| SampleWindow::new(last, [100_000_000; 2], Duration::from_secs(15));
        let (begin, end) = (70_000_000, 102_000_000);
        assert_eq!(window(90_000_000), SampleWindow { since: 90_000_000, spans: [(90_000_000, end); 2] });
        for last in [0, 900_000_000] {
            assert_eq!(window(last), SampleWindow { since: 0, spans: [(begin, end); 2] });
        }
    }

    #[test]
    fn a_window_of_an_unknown_clock_is_two_intervals_in_each_clock() {
        const WALL: u64 = 1_800_000_000_000_000;
        const BOOT: u64 = 5_000_000;
        let window = |last| SampleWindow::new(last, [WALL, BOOT], Duration::from_secs(15));
        let first = window(0);
        assert_eq!(first.since, 0, "the driver returns all samples");
        for (time, is_counted) in [
            (BOOT, true),
            (BOOT + 60_000_000, false),
            (WALL, true),
            (WALL - 16_000_000, true),
            (WALL - 31_000_000, false),
            (WALL + 60_000_000, false),
            (u64::MAX, false),
        ] {
            assert_eq!(first.contains(time), is_counted, "{time}");
        }
        // A counted sample shows the clock.
        let boot = window(BOOT - 1_000_000);
        assert_eq!(
            (boot.contains(BOOT), boot.contains(BOOT - 2_000_000), boot.contains(WALL)),
            (true, false, false)
        );
        let wall = window(WALL - 1_000_000);
        assert_eq!(
            (wall.contains(BOOT), wall.contains(WALL - 2_000_000), wall.contains(WALL)),
            (false, false, true)
        );
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
