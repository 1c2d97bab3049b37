//! Reads attribution evidence from the container's files. No other file of the sidecar reads files. All files are read again at
//! each poll, because annotations change while the pod runs. Each read has a maximum size.

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

/// Metadata file of a resource claim (KEP-5304), with the fields that the sidecar needs. The file contains the same object once
/// for each format version that the DRA driver supports. The first one is read.
#[derive(Debug, Deserialize)]
struct ClaimMetadata {
    #[serde(default)]
    requests: Vec<ClaimRequest>,
}

#[derive(Debug, Deserialize)]
struct ClaimRequest {
    #[serde(default)]
    devices: Vec<ClaimedDevice>,
}

#[derive(Debug, Deserialize)]
struct ClaimedDevice {
    #[serde(default)]
    attributes: std::collections::BTreeMap<String, DeviceAttribute>,
}

#[derive(Debug, Deserialize)]
struct DeviceAttribute {
    string: Option<String>,
}

/// Folder of the claims' metadata files.
const CLAIM_METADATA: &str = "var/run/kubernetes.io/dra-device-attributes";
const VISIBLE_DEVICES: &[u8] = b"NVIDIA_VISIBLE_DEVICES=";

/// Maximum number of bytes that are read from one file. All annotations of a pod together can have 256 KiB, and the escapes of
/// the downward API add up to half of that.
const MAX_FILE_BYTES: u64 = 512 << 10;
/// Maximum number of metadata files, and of entries of one folder.
const MAX_FILES: usize = 32;
/// Maximum number of processes whose environment is read.
const MAX_PROCESSES: usize = 256;

// === impl PodFiles ===

impl PodFiles {
    /// The files under `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// UUIDs of the devices in the container's claims; empty if the DRA driver writes no metadata files.
    pub(super) fn claimed_devices(&self) -> Vec<String> {
        let mut files = vec![];
        collect(&self.root.join(CLAIM_METADATA), 3, &mut files);
        files.iter().flat_map(|file| uuids(&read(file).unwrap_or_default())).collect()
    }

    /// Values of the annotations `vdi-metrics.io/gpu` and `vdi-metrics.io/gpu-sharing`; none if absent or invalid.
    pub(super) fn gpu_annotations(&self) -> (Option<String>, Option<Sharing>) {
        let file = self.root.join(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS);
        let text = read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let sharing = annotation(&text, key::GPU_SHARING).and_then(Sharing::parse);
        (annotation(&text, key::GPU).map(str::to_owned), sharing)
    }

    /// Checks that the sidecar sees exactly the processes of the pod. Fails with the reason why not.
    pub(super) fn check_pid_namespace(&self) -> Result<(), NotApplicable> {
        let proc = self.root.join("proc");
        // In the node's PID namespace, process 2 is `kthreadd`, the parent of all kernel threads. Other namespaces have none.
        if fs::read(proc.join("2/comm")).is_ok_and(|name| name.trim_ascii() == b"kthreadd") {
            return Err(NotApplicable::NodeProcesses);
        }
        // If the container has its own PID namespace, the sidecar is process 1.
        match fs::read_link(proc.join("self")) {
            Ok(own) if own == Path::new("1") => Err(NotApplicable::NotShared),
            Ok(_) => Ok(()),
            Err(_) => Err(NotApplicable::NotShared),
        }
    }

    /// Whether the sidecar sees a process with this PID.
    pub(super) fn has_process(&self, pid: u32) -> bool {
        self.root.join("proc").join(pid.to_string()).exists()
    }

    /// Value of `NVIDIA_VISIBLE_DEVICES` in the first of the desktop's processes that has it. No other variable is kept, because
    /// environments contain secrets.
    pub(super) fn visible_devices(&self) -> Result<String, NotApplicable> {
        self.check_pid_namespace()?;
        let proc = self.root.join("proc");
        let own = fs::read_link(proc.join("self")).unwrap_or_default();
        let mut is_denied = false;
        for pid in names(&proc)
            .filter(|name| name.parse::<u32>().is_ok() && own != Path::new(name))
            .take(MAX_PROCESSES)
        {
            match read(&proc.join(pid).join("environ")) {
                Ok(environment) => {
                    if let Some(value) = variable(&environment) {
                        return Ok(value);
                    }
                }
                Err(error) => is_denied |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        Err(if is_denied { NotApplicable::NoPermission } else { NotApplicable::NotGiven })
    }

    /// Creation time of the pod's sandbox, just before the first container; none if it cannot be read. It is the time of
    /// `/etc/hostname`, because container runtimes write this file for the sandbox and mount it into every container. Root in
    /// the desktop container can change the time by writing the file.
    pub(super) fn sandbox_created(&self) -> Option<SystemTime> {
        fs::metadata(self.root.join("etc/hostname")).and_then(|file| file.modified()).ok()
    }
}

/// The first [`MAX_FILE_BYTES`] of a file.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(file)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Names of the entries of a folder; none if the folder cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// Adds the files `KIND/CLAIM/REQUEST/DRIVER-metadata.json` to `files`.
fn collect(folder: &Path, depth: u8, files: &mut Vec<PathBuf>) {
    for name in names(folder).take(MAX_FILES) {
        let path = folder.join(&name);
        if depth > 0 {
            collect(&path, depth - 1, files);
        } else if name.ends_with("-metadata.json") && files.len() < MAX_FILES {
            files.push(path);
        }
    }
}

/// Values of the attribute `uuid` in a metadata file. A DRA driver may write its name before it: `gpu.nvidia.com/uuid`.
fn uuids(file: &[u8]) -> Vec<String> {
    let first = serde_json::Deserializer::from_slice(file).into_iter::<ClaimMetadata>().next();
    let Some(Ok(metadata)) = first else { return vec![] };
    let devices = metadata.requests.into_iter().flat_map(|request| request.devices);
    let uuid = |device: ClaimedDevice| {
        let uuid = device.attributes.into_iter().find(|(name, _)| name == "uuid" || name.ends_with("/uuid"));
        uuid.and_then(|(_, attribute)| attribute.string)
    };
    devices.filter_map(uuid).collect()
}

/// The value of an annotation in a text with lines of `key="value"`; none if it is absent. A value with an escape is ignored,
/// because no valid value of these annotations needs an escape.
fn annotation<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix("=\""))?;
    value.strip_suffix('"').filter(|value| !value.contains('\\'))
}

/// Value of `NVIDIA_VISIBLE_DEVICES` in the contents of `/proc/PID/environ`.
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
    fn uuids_are_read_with_and_without_a_drivers_prefix() {
        let file = br#"{"apiVersion":"metadata.resource.k8s.io/v1beta1","requests":[{"name":"gpu","devices":[
            {"driver":"gpu.nvidia.com","attributes":{"uuid":{"string":"GPU-1"},"cores":{"int":3}}},
            {"driver":"gpu.nvidia.com","attributes":{"gpu.nvidia.com/uuid":{"string":"MIG-2"}}},
            {"driver":"nic"}]}]}{"apiVersion":"metadata.resource.k8s.io/v1alpha1"}"#;
        assert_eq!(uuids(file), ["GPU-1", "MIG-2"]);
        assert!(uuids(b"").is_empty() && uuids(b"{").is_empty() && uuids(b"[]").is_empty());
    }

    #[test]
    fn only_nvidia_visible_devices_is_read_from_an_environment() {
        assert_eq!(variable(b"A=1\0NVIDIA_VISIBLE_DEVICES=GPU-1\0B=2\0").as_deref(), Some("GPU-1"));
        assert_eq!(variable(b"XNVIDIA_VISIBLE_DEVICES=GPU-1\0"), None);
    }
}
