use std::{
    fs,
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::*;
use crate::runtime::libc::since_boot;

const POD: &str = "2c48913c-b29f-11e7-9350-020968147796";
const OTHER_POD: &str = "74c13223-5a00-11e9-b385-42010a80018d";

/// A time after the start of every process of these tests.
const NOW: Duration = Duration::from_secs(1000);

/// A folder with the files of `/proc` that the table reads.
struct FakeProc(TempDir);

impl FakeProc {
    fn new() -> Self {
        let proc = Self(tempfile::tempdir().unwrap());
        proc.write("self", "cgroup", "0::/");
        proc
    }

    fn table(&self) -> ProcessTable {
        ProcessTable::new(self.0.path()).unwrap()
    }

    fn write(&self, pid: &str, file: &str, text: &str) {
        let folder = self.0.path().join(pid);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    /// A process with this start time in ticks.
    fn start(&self, pid: u32, ticks: u64, cgroup: &str) {
        self.write(&pid.to_string(), "stat", &stat("Xorg", 0x40_0000, ticks));
        self.write(&pid.to_string(), "cgroup", cgroup);
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }
}

fn stat(name: &str, flags: u64, ticks: u64) -> String {
    format!(
        "7 ({name}) S 1 7 7 0 -1 {flags} 98 0 0 0 0 0 0 0 20 0 1 0 {ticks} 3133440 383 18446744073709551615 1 1\n"
    )
}

fn pod_cgroup(uid: &str) -> String {
    format!("0::/kubepods/burstable/pod{uid}/x\n")
}

/// The UID of the pod, or the name of the variant.
fn name(owner: ProcessOwner) -> String {
    match owner {
        ProcessOwner::Pod(pod) => pod.uid,
        ProcessOwner::NoPod => "no pod".to_owned(),
        ProcessOwner::Ended => "ended".to_owned(),
        ProcessOwner::Unreadable(unreadable) => format!("unreadable: {unreadable}"),
    }
}

#[test]
fn a_process_has_a_pod_or_none_or_has_ended() {
    let proc = FakeProc::new();
    proc.start(7, 100, &pod_cgroup(POD));
    proc.start(8, 100, "0::/system.slice/nvidia-persistenced.service\n");
    let mut table = proc.table();
    for _ in 0..2 {
        assert_eq!([7, 8, 9].map(|pid| name(table.owner(pid, NOW))), [POD, "no pod", "ended"]);
        table.end_poll();
    }
    proc.end(7);
    assert_eq!(name(table.owner(7, NOW)), "ended");
}

#[test]
fn a_reused_pid_is_another_process() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    proc.start(7, 100, &pod_cgroup(POD));
    assert_eq!(name(table.owner(7, NOW)), POD);
    proc.start(7, 2000, &pod_cgroup(OTHER_POD));
    assert_eq!(name(table.owner(7, NOW)), OTHER_POD);
    proc.start(7, 3000, "0::/\n");
    assert_eq!(name(table.owner(7, NOW)), "no pod");
    // The driver listed the PID before the process of the other pod started.
    proc.start(7, 4000, &pod_cgroup(OTHER_POD));
    assert_eq!(name(table.owner(7, Duration::from_millis(39_999))), "ended");
    assert_eq!(name(table.owner(7, Duration::from_millis(40_000))), OTHER_POD);
}

#[test]
fn the_pod_of_a_process_is_read_once_and_forgotten_after_a_poll_without_it() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    proc.start(7, 100, &pod_cgroup(POD));
    let owner = |table: &mut ProcessTable| name(table.owner(7, NOW));
    assert_eq!(owner(&mut table), POD);
    proc.write("7", "cgroup", &pod_cgroup(OTHER_POD));
    for _ in 0..3 {
        table.end_poll();
        assert_eq!(owner(&mut table), POD);
    }
    table.end_poll();
    table.end_poll();
    assert!(table.cache.is_empty());
    assert_eq!(owner(&mut table), OTHER_POD);
}

#[test]
fn a_process_that_moves_into_a_pod_is_found_there() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    proc.start(7, 100, "0::/system.slice/containerd.service\n");
    assert_eq!(name(table.owner(7, NOW)), "no pod");
    proc.write("7", "cgroup", &pod_cgroup(POD));
    assert_eq!(name(table.owner(7, NOW)), POD);
}

#[test]
fn a_process_chooses_its_name_but_not_its_start_time() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    for hostile in [") S 1 7 7 0 -1 4 9 9 9 9 9 9 9 9 9 9 9 9 9 0", "a b", "(", ")", "\n", "\u{fffd}", ""] {
        proc.start(7, 100, "0::/\n");
        proc.write("7", "stat", &stat(hostile, 0, 5000));
        assert_eq!(name(table.owner(7, Duration::from_secs(49))), "ended", "{hostile:?}");
        assert_eq!(name(table.owner(7, Duration::from_secs(50))), "no pod", "{hostile:?}");
    }
    fs::write(proc.0.path().join("7/stat"), [b"7 (\xff\xfe".as_slice(), stat("", 0, 1).as_bytes()].concat())
        .unwrap();
    assert_eq!(name(table.owner(7, NOW)), "no pod");
}

/// cgroup v1 shows `/` for a process that is ending.
#[test]
fn a_process_that_is_ending_is_not_outside_of_pods() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    proc.start(7, 100, &pod_cgroup(POD));
    proc.start(8, 100, "0::/\n");
    assert_eq!([7, 8].map(|pid| name(table.owner(pid, NOW))), [POD, "no pod"]);
    for pid in ["7", "8"] {
        proc.write(pid, "stat", &stat("Xorg", 0x40_0004, 100));
        proc.write(pid, "cgroup", "0::/\n");
    }
    assert_eq!([7, 8].map(|pid| name(table.owner(pid, NOW))), [POD, "ended"]);
}

#[test]
fn an_unreadable_process_is_not_outside_of_pods() {
    let proc = FakeProc::new();
    let mut table = proc.table();
    let mut fails = |pid: u32, expected: &str| {
        let found = name(table.owner(pid, NOW));
        let path = proc.0.path().join(pid.to_string());
        assert!(
            found.starts_with(&format!("unreadable: {}", path.display())) && found.contains(expected),
            "{found}"
        );
    };
    proc.start(1, 100, &"0::/x\n".repeat(3000));
    fails(1, "1/cgroup: more than 16384 bytes");
    proc.start(2, 100, "");
    fails(2, "2/cgroup: empty");
    proc.start(3, 100, &format!("1:a:/kubepods/pod{POD}\n2:b:/kubepods/pod{OTHER_POD}\n"));
    fails(3, &format!("3/cgroup: names the pods {POD} and {OTHER_POD}"));
    for (pid, text) in [(4, ""), (5, "7 (a) S 1"), (6, "no parenthesis"), (7, "7 (a) S 1 7 7 0 -1 x")] {
        proc.start(pid, 100, "0::/\n");
        proc.write(&pid.to_string(), "stat", text);
        fails(pid, "stat: field 9 or 22 is not a number");
    }
    fs::create_dir_all(proc.0.path().join("8/stat")).unwrap();
    fails(8, "8/stat: Is a directory");
    fs::write(proc.0.path().join("9"), "").unwrap();
    fails(9, "9: Not a directory");
    symlink("10", proc.0.path().join("10")).unwrap();
    fails(10, "10: Too many levels of symbolic links");
}

#[test]
fn the_agents_own_cgroups_are_necessary() {
    let proc = FakeProc::new();
    proc.write("self", "cgroup", "x");
    let error = ProcessTable::new(proc.0.path()).unwrap_err().to_string();
    assert!(error.contains("self/cgroup: \"x\" has another form"), "{error}");
    let error = ProcessTable::new(&proc.0.path().join("absent")).unwrap_err().to_string();
    assert!(error.ends_with("absent/self: entity not found"), "{error}");
}

#[test]
fn the_table_is_bounded_and_further_processes_are_found() {
    let proc = FakeProc::new();
    proc.start(7, 100, &pod_cgroup(POD));
    let mut table = proc.table();
    let pod = CgroupPod { uid: OTHER_POD.to_owned(), container: None };
    for pid in 100..100 + MAX_CACHED as u32 {
        table.insert(pid, CachedProcess { start_time: NOW, pod: pod.clone(), is_current: true });
    }
    assert_eq!(name(table.owner(7, NOW)), POD);
    assert_eq!(table.cache.len(), MAX_CACHED);
    // A cached PID that another process has is replaced.
    proc.start(100, 100, &pod_cgroup(POD));
    assert_eq!(name(table.owner(100, NOW)), POD);
    assert_eq!(name(ProcessOwner::Pod(table.cache[&100].pod.clone())), POD);
}

// === The real /proc ===

fn real() -> ProcessTable {
    ProcessTable::new(Path::new("/proc")).unwrap()
}

/// A process that waits for its standard input.
fn child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_real_process_of_the_test_is_found() {
    let owner = real().owner(std::process::id(), since_boot());
    assert!(matches!(owner, ProcessOwner::NoPod | ProcessOwner::Pod(_)), "{owner:?}");
}

#[test]
fn a_real_process_has_ended_if_it_started_after_it_was_listed() {
    let before = since_boot();
    let mut child = child();
    let owners =
        [before - Duration::from_millis(20), since_boot()].map(|at| name(real().owner(child.id(), at)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(owners[0], "ended");
    assert_ne!(owners[1], "ended");
}

#[test]
fn a_real_zombie_is_not_outside_of_pods_and_then_has_ended() {
    let mut child = child();
    child.kill().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let mut table = real();
    let owner = table.owner(child.id(), since_boot());
    assert!(matches!(owner, ProcessOwner::Ended | ProcessOwner::Pod(_)), "{owner:?}");
    child.wait().unwrap();
    assert_eq!(name(table.owner(child.id(), since_boot())), "ended");
}

#[test]
fn an_open_folder_stays_with_its_real_process() {
    let mut child = child();
    let folder = ProcessFolder::open(Path::new("/proc"), &child.id().to_string()).unwrap();
    assert!(folder.stat().is_ok() && folder.cgroup().is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!((folder.stat(), folder.cgroup()), (Err(ReadFailure::Ended), Err(ReadFailure::Ended))));
}
