//! What can be found in the container about whose GPU it is: the only file of the sidecar that reads files. Everything is
//! read anew at each poll, because annotations change while the pod lives; nothing found is trusted for its size.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Deserialize;

use super::attribution::{NotApplicable, Sharing};
use crate::contract::{ANNOTATIONS, VOLUME_PATH, key};

/// The container's files.
#[derive(Debug)]
pub(super) struct PodFiles {
    root: PathBuf,
}

/// A file of KEP-5304, as far as we know it: the same object in each version that the driver speaks, one after the other.
#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    requests: Vec<Request>,
}

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    devices: Vec<Claimed>,
}

#[derive(Debug, Deserialize)]
struct Claimed {
    #[serde(default)]
    attributes: std::collections::BTreeMap<String, Attribute>,
}

#[derive(Debug, Deserialize)]
struct Attribute {
    string: Option<String>,
}

const METADATA: &str = "var/run/kubernetes.io/dra-device-attributes";
const VISIBLE_DEVICES: &[u8] = b"NVIDIA_VISIBLE_DEVICES=";

/// Annotations can be 256 KiB together, and grow by a half when written.
const LONGEST_FILE: u64 = 512 << 10;
const MOST_FILES: usize = 32;
const MOST_PROCESSES: usize = 256;

// === impl PodFiles ===

impl PodFiles {
    /// The files under `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// UUIDs of the devices that the container's claims stand for, where the DRA driver has written them down.
    pub(super) fn claimed_devices(&self) -> Vec<String> {
        let mut files = vec![];
        collect(&self.root.join(METADATA), 3, &mut files);
        files.iter().flat_map(|file| uuids(&read(file).unwrap_or_default())).collect()
    }

    /// What the pod's annotations say of its devices, and of how they are shared.
    pub(super) fn told(&self) -> (Option<String>, Option<Sharing>) {
        let file = self.root.join(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS);
        let text = read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let sharing = annotation(&text, key::GPU_SHARING).and_then(Sharing::parse);
        (annotation(&text, key::GPU).map(str::to_owned), sharing)
    }

    /// Whether the processes that are seen here are the pod's, all of them and no others.
    pub(super) fn sees_the_pods_processes(&self) -> Result<(), NotApplicable> {
        let proc = self.root.join("proc");
        // Only the node's own namespace has kernel threads; process 2 is the one that makes the others.
        if fs::read(proc.join("2/comm")).is_ok_and(|name| name.trim_ascii() == b"kthreadd") {
            return Err(NotApplicable::NodeProcesses);
        }
        // In a namespace of the container's own its first process is we.
        match fs::read_link(proc.join("self")) {
            Ok(own) if own == Path::new("1") => Err(NotApplicable::NotShared),
            Ok(_) => Ok(()),
            Err(_) => Err(NotApplicable::NotShared),
        }
    }

    /// Whether there is such a process here.
    pub(super) fn has_process(&self, pid: u32) -> bool {
        self.root.join("proc").join(pid.to_string()).exists()
    }

    /// The devices that the environment of a process of the desktop names. Environments hold secrets: this one variable is
    /// taken out, and nothing else is kept.
    pub(super) fn visible_devices(&self) -> Result<String, NotApplicable> {
        self.sees_the_pods_processes()?;
        let proc = self.root.join("proc");
        let own = fs::read_link(proc.join("self")).unwrap_or_default();
        let mut refused = false;
        for pid in names(&proc)
            .filter(|name| name.parse::<u32>().is_ok() && own != Path::new(name))
            .take(MOST_PROCESSES)
        {
            match read(&proc.join(pid).join("environ")) {
                Ok(environment) => {
                    if let Some(value) = variable(&environment) {
                        return Ok(value);
                    }
                }
                Err(error) => refused |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        Err(if refused { NotApplicable::NoPermission } else { NotApplicable::NotGiven })
    }

    /// When the pod's sandbox was made, just before its first container: container runtimes write this file then, and
    /// mount it into every container. A desktop's root can write it anew.
    pub(super) fn sandbox_made(&self) -> Option<SystemTime> {
        fs::metadata(self.root.join("etc/hostname")).and_then(|file| file.modified()).ok()
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(file)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// `KIND/CLAIM/REQUEST/DRIVER-metadata.json`.
fn collect(folder: &Path, depth: u8, files: &mut Vec<PathBuf>) {
    for name in names(folder).take(MOST_FILES) {
        let path = folder.join(&name);
        if depth > 0 {
            collect(&path, depth - 1, files);
        } else if name.ends_with("-metadata.json") && files.len() < MOST_FILES {
            files.push(path);
        }
    }
}

/// The attribute `uuid`, which drivers may qualify with their own name.
fn uuids(file: &[u8]) -> Vec<String> {
    let first = serde_json::Deserializer::from_slice(file).into_iter::<Metadata>().next();
    let Some(Ok(metadata)) = first else { return vec![] };
    let devices = metadata.requests.into_iter().flat_map(|request| request.devices);
    let of = |device: Claimed| {
        let uuid = device.attributes.into_iter().find(|(name, _)| name == "uuid" || name.ends_with("/uuid"));
        uuid.and_then(|(_, attribute)| attribute.string)
    };
    devices.filter_map(of).collect()
}

/// One annotation of `key="value"` lines. A value that needed an escape is none of ours.
fn annotation<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix("=\""))?;
    value.strip_suffix('"').filter(|value| !value.contains('\\'))
}

fn variable(environment: &[u8]) -> Option<String> {
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(VISIBLE_DEVICES))?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_read_as_the_downward_api_writes_it() {
        let text = "a=\"line\\nvdi-metrics.io/gpu=\\\"x\"\nvdi-metrics.io/gpu=\"GPU-1,GPU-2\"\nvdi-metrics.io/gpu-sharing=\"mps\"";
        assert_eq!(annotation(text, key::GPU), Some("GPU-1,GPU-2"));
        assert_eq!(annotation(text, key::GPU_SHARING).and_then(Sharing::parse), Some(Sharing::Mps));
        assert_eq!(annotation("vdi-metrics.io/gpu=\"a\\\"b\"", key::GPU), None);
        assert_eq!(annotation("vdi-metrics.io/gpu=\"half", key::GPU), None);
        assert_eq!(annotation("", key::GPU), None);
    }

    #[test]
    fn uuids_are_found_however_the_driver_names_them() {
        let file = br#"{"apiVersion":"metadata.resource.k8s.io/v1beta1","requests":[{"name":"gpu","devices":[
            {"driver":"gpu.nvidia.com","attributes":{"uuid":{"string":"GPU-1"},"cores":{"int":3}}},
            {"driver":"gpu.nvidia.com","attributes":{"gpu.nvidia.com/uuid":{"string":"MIG-2"}}},
            {"driver":"nic"}]}]}{"apiVersion":"metadata.resource.k8s.io/v1alpha1"}"#;
        assert_eq!(uuids(file), ["GPU-1", "MIG-2"]);
        assert!(uuids(b"").is_empty() && uuids(b"{").is_empty() && uuids(b"[]").is_empty());
    }

    #[test]
    fn one_variable_is_taken_from_an_environment() {
        assert_eq!(variable(b"A=1\0NVIDIA_VISIBLE_DEVICES=GPU-1\0B=2\0").as_deref(), Some("GPU-1"));
        assert_eq!(variable(b"XNVIDIA_VISIBLE_DEVICES=GPU-1\0"), None);
    }
}
