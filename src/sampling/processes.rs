//! The session's own processes on a device: what the driver lists, checked against what is there. Pure.

use crate::gpu::{Process, ProcessKind, ProcessUtilization};

/// What the session's own processes have of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnUsage {
    /// Each once, in the order of the driver's lists: one with both kinds of context is a desktop's, so graphics.
    pub processes: Vec<(u32, ProcessKind)>,
    /// Bytes of the frame buffer; none where the driver does not know it of one of them.
    pub memory: Option<u64>,
    /// Of the multiprocessors' time, 0 to 1; can be more where processes ran side by side.
    pub sm: Option<f64>,
    /// Of the encoder's time.
    pub encoder: Option<f64>,
    /// Of the decoder's time.
    pub decoder: Option<f64>,
    /// Time of the newest sample of any of them, in the driver's microseconds; 0 where there is none.
    pub newest: u64,
}

/// The first driver that names the processes of a container's PID namespace, with their memory and their utilisation
/// (open-gpu-kernel-modules, `_gpuConvertPid` in 535.113 and `kern_perf_ctrl` in 570.86).
const FIRST_DRIVER: u32 = 570;

/// Whether the driver's process lists can be believed inside a container.
#[must_use]
pub(crate) fn are_believable(driver: Option<&str>) -> bool {
    let major =
        driver.and_then(|version| version.split('.').next()).and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= FIRST_DRIVER)
}

/// Whether the driver names none that is not in this pod. If it does the numbers are of another namespace, and one that is
/// here only happens to have the same; or it has just ended.
#[must_use]
pub(crate) fn are_here(listed: &[Process], is_here: impl Fn(u32) -> bool) -> bool {
    listed.iter().all(|process| is_here(process.pid))
}

/// Both lists as one, of processes that are all the pod's.
#[must_use]
pub(crate) fn own(listed: &[Process], shares: Option<&[ProcessUtilization]>) -> OwnUsage {
    let mut own = OwnUsage { memory: Some(0), ..OwnUsage::default() };
    let mut memory: Vec<Option<u64>> = vec![];
    for process in listed {
        match own.processes.iter().position(|(pid, _)| *pid == process.pid) {
            Some(place) => {
                memory[place] = memory[place].max(process.memory);
                own.processes[place].1 = ProcessKind::Graphics;
            }
            None => {
                own.processes.push((process.pid, process.kind));
                memory.push(process.memory);
            }
        }
    }
    own.memory = memory.into_iter().sum();
    // Of processes outside the pod the driver gives samples too, with their host's numbers.
    let is_own = |share: &&ProcessUtilization| own.processes.iter().any(|(pid, _)| *pid == share.pid);
    if let Some(shares) = shares.filter(|_| !own.processes.is_empty()) {
        let newest: Vec<&ProcessUtilization> =
            shares.iter().filter(is_own).filter(|share| is_newest(share, shares)).collect();
        own.newest = newest.iter().map(|share| share.at).max().unwrap_or_default();
        let sum = |part: fn(&ProcessUtilization) -> f64| {
            Some(newest.iter().fold(0.0, |sum, share| sum + part(share)))
        };
        (own.sm, own.encoder, own.decoder) =
            (sum(|share| share.sm), sum(|share| share.encoder), sum(|share| share.decoder));
    }
    own
}

fn is_newest(share: &ProcessUtilization, shares: &[ProcessUtilization]) -> bool {
    !shares.iter().any(|other| other.pid == share.pid && other.at > share.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, kind: ProcessKind, memory: Option<u64>) -> Process {
        Process { pid, kind, memory }
    }

    fn share(pid: u32, at: u64, sm: f64) -> ProcessUtilization {
        ProcessUtilization { pid, at, sm, encoder: 0.0, decoder: 0.0 }
    }

    #[test]
    fn a_process_in_both_lists_is_one_with_the_larger_memory() {
        use ProcessKind::{Compute, Graphics};
        let listed =
            [process(7, Compute, Some(5)), process(8, Compute, Some(1)), process(7, Graphics, Some(9))];
        let own = own(&listed, None);
        assert_eq!(own.processes, [(7, Graphics), (8, Compute)]);
        assert_eq!((own.memory, own.sm), (Some(10), None));
    }

    #[test]
    fn unknown_memory_of_one_is_unknown_memory_of_all() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, None)];
        assert_eq!(own(&listed, None).memory, None);
        assert_eq!(own(&[], None).memory, Some(0));
    }

    #[test]
    fn a_process_that_is_not_here_makes_all_of_them_doubtful() {
        let listed =
            [process(7, ProcessKind::Compute, Some(5)), process(4711, ProcessKind::Compute, Some(5))];
        assert!(are_here(&listed[..1], |pid| pid == 7) && !are_here(&listed, |pid| pid == 7));
    }

    #[test]
    fn samples_of_others_and_old_ones_do_not_count() {
        let listed = [process(7, ProcessKind::Compute, Some(5)), process(8, ProcessKind::Compute, Some(5))];
        let shares = [share(7, 1, 0.9), share(7, 2, 0.25), share(8, 2, 0.5), share(4711, 2, 0.5)];
        assert_eq!(own(&listed, Some(&shares)).sm, Some(0.75));
        let idle = own(&listed, Some(&[])).sm;
        // An empty sum of Rust's is -0, which an exposition would show.
        assert_eq!(idle.map(f64::to_bits), Some(0), "nothing was busy");
        assert_eq!(own(&[], Some(&shares)).sm, None, "nobody to be busy");
    }

    #[test]
    fn drivers_before_570_are_not_believed() {
        let believed = |version| are_believable(Some(version));
        assert!(believed("570.86.15") && believed("1000.1"));
        assert!(!believed("565.77") && !believed("") && !believed("x.y") && !are_believable(None));
    }
}
