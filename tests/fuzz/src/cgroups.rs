//! The node agent's reader of cgroups with mutated texts. A process must never get a pod that its text does not name, and the names
//! below a container, which the container chooses, must not change the pod.

use vdi_metrics::node::cgroup::{CgroupPod, PodCgroups};

use crate::{
    mutate::{self, Change},
    target::{CheckResult, Target},
};

/// Pairs of texts: the agent's own `/proc/self/cgroup`, [`SEPARATOR`], and that of a process.
#[derive(Debug)]
pub(crate) struct Cgroups;

/// Separates the two texts.
pub(crate) const SEPARATOR: char = '\0';

/// The source of the unit test with the recorded paths.
const RECORDED: &str = include_str!("../../../src/node/cgroup/tests/recorded.rs");

/// Cgroups of a process with cgroup v1, where `{}` is its path.
const WITH_V1: &str = "11:freezer:{}\n10:pids:/system.slice{}\n2:cpu,cpuacct:{}\n1:name=systemd:{}\n0::/\n";

/// Names below a container that pretend to be a pod.
const PRETENDED: [&str; 2] = [
    "/kubepods/burstable/pod74c13223-5a00-11e9-b385-42010a80018d/x",
    "/kubepods.slice/kubepods-pod74c13223_5a00_11e9_b385_42010a80018d.slice:cri-containerd:x",
];

impl Target for Cgroups {
    const NAME: &str = "cgroups";
    const RESULTS: [&str; 2] = ["in a pod", "in no pod"];
    const CHANGE: Change = mutate::cgroup;

    /// The recorded paths, each with cgroup v2 and v1.
    fn seeds(&self) -> Vec<Vec<u8>> {
        let table = RECORDED.split("#[test]").next().unwrap_or_default();
        let texts = table.split('"').skip(1).step_by(2);
        let paths: Vec<&str> = texts.filter(|text| text.starts_with('/')).collect();
        let text = |own: &str, path: &str| format!("{own}{SEPARATOR}{path}").into_bytes();
        let pairs = paths.chunks_exact(2).flat_map(|pair| {
            [
                text(&format!("0::{}\n", pair[0]), &format!("0::{}\n", pair[1])),
                text(&WITH_V1.replace("{}", pair[0]), &WITH_V1.replace("{}", pair[1])),
            ]
        });
        pairs.collect()
    }

    fn check(&self, input: &[u8]) -> CheckResult {
        let input = String::from_utf8_lossy(input);
        let (own, text) = input.split_once(SEPARATOR).unwrap_or(("0::/", &input));
        let found = PodCgroups::of_agent(own).and_then(|cgroups| {
            let found = cgroups.pod_of(text)?;
            check_names_below(&cgroups, text);
            Ok(found)
        });
        match found {
            Ok(Some(pod)) => {
                check_is_named(&pod, text);
                CheckResult::First
            }
            Ok(None) => CheckResult::Second,
            Err(error) => {
                let message = error.to_string();
                assert!((10..2000).contains(&message.len()), "{message}");
                CheckResult::Rejected
            }
        }
    }

    fn check_further(&self, _input: &[u8], _number: usize, _is_new: bool) {}
}

/// Checks that a name in the text has the UID, and that the text has the container's ID.
fn check_is_named(pod: &CgroupPod, text: &str) {
    let plain = text.to_ascii_lowercase().replace('_', "-");
    assert!(plain.contains(&format!("pod{}", pod.uid)), "{pod:?} of {text:?}");
    let digits = pod.uid.bytes().filter(u8::is_ascii_hexdigit).count();
    assert!(digits == 32 && pod.uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{pod:?}");
    if let Some(container) = &pod.container {
        assert!(container.len() == 64 && text.contains(container), "{pod:?} of {text:?}");
    }
}

/// Checks that a process in a cgroup below that of a line is in the same pod.
fn check_names_below(cgroups: &PodCgroups, text: &str) {
    // After the kernel's mark of a removed cgroup, the name would be another one.
    for line in text.lines().filter(|line| !line.ends_with(" (deleted)")) {
        let Ok(Some(pod)) = cgroups.pod_of(line) else { continue };
        for name in PRETENDED {
            let below = cgroups.pod_of(&format!("{line}{name}"));
            let uid = below.map(|below| below.map(|below| below.uid));
            assert_eq!(uid.as_ref(), Ok(&Some(pod.uid.clone())), "{line:?} with {name}");
        }
    }
}
