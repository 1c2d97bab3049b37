//! Finds the pod of a process in the text of `/proc/PID/cgroup`. Pure.
//!
//! The kubelet creates the cgroups `kubepods`, then `burstable` or `besteffort` (a guaranteed pod has neither), then
//! `pod<uid>`. The systemd driver writes all names into each name: `kubepods-burstable-pod<uid>.slice`, with `_` for each `-`
//! of the UID (kubelet, `cgroup_manager_linux.go`). The container runtime adds one cgroup for each container.
//!
//! A container can create cgroups with any name below its own. A node can itself run in a container or in a pod of another
//! cluster, and a user of the node can have cgroups of their own. So a name is not enough: [`PodCgroups`] reads
//! from the agent's own path where the kubelet's cgroups are, and only a pod there counts. This needs no configuration, because
//! the agent is a pod of the same kubelet.

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, error::Error, fmt};

/// The pod of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPod {
    /// UID of the pod, as in the name of its folder below `pods` of the kubelet: `8-4-4-4-12` hexadecimal digits, or 32 digits
    /// without dashes for a static pod.
    pub uid: String,
    /// ID of the container; none for a process that is in the pod's cgroup and in no container's.
    pub container: Option<String>,
}

/// A text that does not show whether the process is in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupError {
    /// The text has no line.
    Empty,
    /// This line has another form than `ID:CONTROLLERS:/PATH`.
    Line(String),
    /// Two lines name different pods.
    SeveralPods([String; 2]),
}

/// Where the kubelet's cgroups are, as the agent sees them.
///
/// * If the agent has its own cgroup namespace, the kernel writes the other paths relative to the agent's cgroup:
///   `/../../pod<uid>/...` for a pod of the same class, `/../../../besteffort/pod<uid>/...` for another. So the kubelet's names
///   follow the last `..`. This is the usual case with cgroup v2.
/// * Otherwise the agent's own path names the agent's pod, and all other pods have the same parent. The innermost pod in this path
///   is the agent's: the agent creates no cgroup, and a pod further out runs this node.
/// * If the agent's own path names no pod, the agent runs outside of Kubernetes. Then the outermost pod counts. A user of the node
///   who may create cgroups can then pretend to be a pod.
#[derive(Debug)]
pub struct PodCgroups {
    /// Controllers of a line, and the path above the kubelet's cgroups. A v1 controller can have a path of its own. Empty if the
    /// agent's own path names no pod.
    roots: Vec<(String, String)>,
}

/// A line of `/proc/PID/cgroup`.
#[derive(Clone, Copy, Debug)]
struct CgroupLine<'t> {
    controllers: &'t str,
    path: &'t str,
}

/// The cgroup above all pods (kubelet, `defaultNodeAllocatableCgroupName`).
const KUBEPODS: &str = "kubepods";

/// Length of a container ID. containerd, CRI-O and cri-dockerd generate 32 random bytes.
const CONTAINER_ID_DIGITS: usize = 64;

/// Maximum number of characters of a line in an error. A path can have 4096 bytes.
const MAX_QUOTED: usize = 120;

// === impl PodCgroups ===

impl PodCgroups {
    /// Reads the agent's own `/proc/self/cgroup`.
    ///
    /// # Errors
    /// Fails if the text is empty or has a line of another form.
    pub fn of_agent(own: &str) -> Result<Self, CgroupError> {
        let mut roots = vec![];
        for line in lines(own)? {
            let line = line?;
            let components = line.components();
            let innermost = kubelet_paths(&components).max_by_key(|&(start, pod)| (pod, Reverse(start)));
            if let Some((start, _)) = innermost {
                let root = components[..start].iter().map(|name| format!("/{name}")).collect();
                roots.push((line.controllers.to_owned(), root));
            }
        }
        Ok(Self { roots })
    }

    /// The pod of the process with this `/proc/PID/cgroup`; none if the process is in no pod of this node's kubelet. A static
    /// pod whose manifest sets a UID of another form counts as no pod; it cannot be a session, because the API server calls no
    /// webhook for it. The same holds for all pods of a kubelet with `cgroupsPerQOS: false`, which gives pods no cgroup, and for
    /// the agent's own pod if the agent has its own cgroup namespace.
    ///
    /// # Errors
    /// Fails if the text is empty, has a line of another form, or names several pods.
    pub fn pod_of(&self, text: &str) -> Result<Option<CgroupPod>, CgroupError> {
        let mut result: Option<CgroupPod> = None;
        for line in lines(text)? {
            let Some(pod) = self.pod_in(line?) else { continue };
            result = Some(match result {
                None => pod,
                Some(first) => merge(first, pod)?,
            });
        }
        Ok(result)
    }

    fn pod_in(&self, line: CgroupLine<'_>) -> Option<CgroupPod> {
        if self.roots.is_empty() {
            let components = line.components();
            return pod_at(&components[kubelet_start(&components)?..]);
        }
        let (_, root) = self.roots.iter().find(|(controllers, _)| controllers == line.controllers)?;
        let path = line.path.strip_prefix(root).filter(|path| path.starts_with('/'))?;
        pod_at(&CgroupLine { path, ..line }.components())
    }
}

/// One pod that two lines name. Some controllers of cgroup v1 can have no cgroup for the container.
fn merge(first: CgroupPod, second: CgroupPod) -> Result<CgroupPod, CgroupError> {
    if first.uid != second.uid {
        return Err(CgroupError::SeveralPods([first.uid, second.uid]));
    }
    Ok(CgroupPod { container: first.container.or(second.container), ..first })
}

/// Index of the kubelet's first name in a path, if the agent's own path does not show it.
fn kubelet_start(components: &[&str]) -> Option<usize> {
    match components.iter().take_while(|name| **name == "..").count() {
        0 => kubelet_paths(components).next().map(|(start, _)| start),
        parents => Some(parents),
    }
}

/// Every position in an absolute path where the kubelet's names begin, outermost first: the index of the first name, and the index
/// of the pod.
fn kubelet_paths(components: &[&str]) -> impl Iterator<Item = (usize, usize)> {
    let names_kubepods =
        |index: &usize| components[*index].split(['-', '.', ':']).any(|word| word == KUBEPODS);
    (0..components.len())
        .filter(names_kubepods)
        .filter_map(|start| Some((start, start + pod_index(&components[start..])?)))
}

/// The pod in a path that begins with the kubelet's names. No later name counts: the container chooses it.
fn pod_at(components: &[&str]) -> Option<CgroupPod> {
    let index = pod_index(components)?;
    let pod = components[index];
    // With the systemd driver in the kubelet and cgroupfs in the runtime, pod and container are one name.
    let container = if pod.contains(':') { Some(&pod) } else { components.get(index + 1) };
    Some(CgroupPod {
        uid: pod_uid(kubelet_name(pod))?,
        container: container.and_then(|name| container_id(name)),
    })
}

/// Index of the pod in a path that begins with the kubelet's names. The first names are absent in a relative path.
fn pod_index(components: &[&str]) -> Option<usize> {
    let name = |index: usize| components.get(index).map(|name| kubelet_name(name));
    let class = usize::from(name(0) == Some(KUBEPODS));
    let pod = class + usize::from(matches!(name(class), Some("burstable" | "besteffort")));
    pod_uid(name(pod)?).map(|_| pod)
}

/// The kubelet's name of a cgroup: the last word of a systemd slice, otherwise the entire name.
fn kubelet_name(component: &str) -> &str {
    let name = component.split(':').next().unwrap_or(component);
    name.strip_suffix(".slice").map_or(name, |slice| slice.rsplit('-').next().unwrap_or(slice))
}

fn pod_uid(name: &str) -> Option<String> {
    let uid = name.strip_prefix("pod")?.replace('_', "-").to_ascii_lowercase();
    let lengths: Vec<usize> = uid.split('-').map(str::len).collect();
    let is_uid = lengths == [8, 4, 4, 4, 12] || lengths == [32];
    (is_uid && uid.split('-').all(is_hexadecimal)).then_some(uid)
}

/// The ID in the name of a container's cgroup: `ID`, `crio-ID`, `cri-containerd-ID.scope`, `SLICE:cri-containerd:ID`.
fn container_id(component: &str) -> Option<String> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let id = name.rsplit(['-', ':']).next()?;
    (id.len() == CONTAINER_ID_DIGITS && is_hexadecimal(id)).then(|| id.to_owned())
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

// === impl CgroupLine ===

/// The lines of a text that is not empty.
fn lines(text: &str) -> Result<impl Iterator<Item = Result<CgroupLine<'_>, CgroupError>>, CgroupError> {
    if text.is_empty() {
        return Err(CgroupError::Empty);
    }
    Ok(text.lines().map(|line| CgroupLine::parse(line).ok_or_else(|| CgroupError::Line(quote(line)))))
}

fn quote(line: &str) -> String {
    line.chars().take(MAX_QUOTED).collect()
}

impl<'t> CgroupLine<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        fields.next()?.parse::<u32>().ok()?;
        let controllers = fields.next()?;
        let path = fields.next().filter(|path| path.starts_with('/'))?;
        // The kernel marks a cgroup that was removed before its last process was reaped.
        Some(Self { controllers, path: path.strip_suffix(" (deleted)").unwrap_or(path) })
    }

    fn components(self) -> Vec<&'t str> {
        self.path.split('/').skip(1).collect()
    }
}

// === impl CgroupError ===

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty; the kernel needs the option CONFIG_CGROUPS"),
            Self::Line(line) => write!(f, "{line:?} has another form than ID:CONTROLLERS:/PATH"),
            Self::SeveralPods([first, second]) => {
                write!(
                    f,
                    "names the pods {first} and {second}; a process must be in the same pod in every hierarchy"
                )
            }
        }
    }
}

impl Error for CgroupError {}
