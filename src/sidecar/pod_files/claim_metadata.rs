//! Reads the metadata files of resource claims (KEP-5304).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::read::{self, Unreadable};
use crate::gpu::id::Id;

/// The fields of a metadata file that the sidecar needs. The file contains the same object once for each format version that the
/// DRA driver supports. Only the first object is read.
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
    attributes: BTreeMap<String, DeviceAttribute>,
}

#[derive(Debug, Deserialize)]
struct DeviceAttribute {
    string: Option<String>,
}

/// Maximum number of metadata files. A pod has one for each request of its claims, and a claim has at most 32 requests.
const MAX_FILES: usize = 256;

/// UUIDs of the GPUs in the files `KIND/CLAIM/REQUEST/DRIVER-metadata.json` of a folder. Empty if the folder does not exist. A
/// claim can include devices of other DRA drivers. The UUIDs of such devices have another form and are skipped.
pub(super) fn read(folder: &Path) -> Result<Vec<Id>, Unreadable> {
    let Some(kinds) = read::names(folder)? else { return Ok(vec![]) };
    let mut paths: Vec<PathBuf> = kinds.iter().map(|kind| folder.join(kind)).collect();
    for _ in ["claims", "requests", "files"] {
        paths = entries(folder, &paths)?;
    }
    let files = paths.iter().filter(|path| path.to_string_lossy().ends_with("-metadata.json"));
    let uuids: Vec<Vec<Id>> = files.map(|file| uuids(file)).collect::<Result<_, _>>()?;
    Ok(uuids.concat())
}

/// The entries of the folders. Fails if there are more than [`MAX_FILES`] entries together.
fn entries(root: &Path, folders: &[PathBuf]) -> Result<Vec<PathBuf>, Unreadable> {
    let mut paths = vec![];
    for folder in folders {
        let names = match read::names(folder) {
            Err(unreadable) if unreadable.error.kind() == io::ErrorKind::NotADirectory => continue,
            names => names?.ok_or_else(|| vanished(folder))?,
        };
        paths.extend(names.iter().map(|name| folder.join(name)));
    }
    if paths.len() > MAX_FILES {
        return Err(Unreadable::invalid(root, format!("more than {MAX_FILES} entries")));
    }
    Ok(paths)
}

fn uuids(path: &Path) -> Result<Vec<Id>, Unreadable> {
    let file = read::file(path)?.ok_or_else(|| vanished(path))?;
    parse(&file).map_err(|error| Unreadable::invalid(path, error))
}

/// The error for a file that was removed after its folder was listed and before the file was read.
fn vanished(path: &Path) -> Unreadable {
    Unreadable::invalid(path, "removed while it was read")
}

/// Values of the attribute `uuid` in a metadata file. Some DRA drivers write their name before `uuid`: `gpu.nvidia.com/uuid`.
/// Fails if the file is not complete, or has another format.
fn parse(file: &[u8]) -> Result<Vec<Id>, serde_json::Error> {
    let metadata = ClaimMetadata::deserialize(&mut serde_json::Deserializer::from_slice(file))?;
    let devices = metadata.requests.into_iter().flat_map(|request| request.devices);
    let uuid = |device: ClaimedDevice| {
        let uuid = device.attributes.into_iter().find(|(name, _)| name == "uuid" || name.ends_with("/uuid"));
        uuid.and_then(|(_, attribute)| Id::uuid(&attribute.string?))
    };
    Ok(devices.filter_map(uuid).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UUIDS: [&str; 2] =
        ["GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035", "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19"];

    fn metadata() -> String {
        let [card, slice] = UUIDS;
        format!(
            r#"{{"apiVersion":"metadata.resource.k8s.io/v1beta1","requests":[{{"name":"gpu","devices":[
            {{"driver":"gpu.nvidia.com","attributes":{{"uuid":{{"string":"{card}"}},"cores":{{"int":3}}}}}},
            {{"driver":"gpu.nvidia.com","attributes":{{"gpu.nvidia.com/uuid":{{"string":"{slice}"}}}}}},
            {{"driver":"nic","attributes":{{"uuid":{{"string":"d2c1e8c6-5a0f-4b1e-9a55-1c0ffee00001"}}}}}}]}}]}}"#
        )
    }

    #[test]
    fn uuids_are_read_with_and_without_a_drivers_prefix() {
        let versions = format!("{}{{\"apiVersion\":\"metadata.resource.k8s.io/v1alpha1\"}}", metadata());
        for file in [metadata(), versions] {
            let ids = parse(file.as_bytes()).unwrap();
            assert_eq!(ids.iter().filter_map(Id::as_uuid).collect::<Vec<_>>(), UUIDS);
        }
        assert_eq!(parse(b"{}").unwrap(), []);
    }

    #[test]
    fn a_file_that_is_not_complete_is_unreadable() {
        let file = metadata();
        for length in 0..file.len() {
            assert!(parse(&file.as_bytes()[..length]).is_err(), "{length}");
        }
        assert!(parse(b"[1]").is_err() && parse(br#"{"requests":"gpu"}"#).is_err());
    }

    #[test]
    fn a_folder_is_read_completely_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read(&folder.path().join("metadata"));
        assert_eq!(read().unwrap(), [], "absent");
        let write = |claim: &str, text: &str| {
            let request = folder.path().join("metadata/resourceclaims").join(claim).join("gpu");
            fs::create_dir_all(&request).unwrap();
            fs::write(request.join("gpu.nvidia.com-metadata.json"), text).unwrap();
        };
        write("a", &metadata());
        fs::write(folder.path().join("metadata/README"), "").unwrap();
        assert_eq!(read().unwrap().len(), 2);
        write("b", "{\"requests\": [");
        assert!(read().unwrap_err().to_string().contains("b/gpu/gpu.nvidia.com-metadata.json: EOF"));
        write("b", "{}");
        assert_eq!(read().unwrap().len(), 2);
        (0..=MAX_FILES).for_each(|number| write(&format!("c{number}"), "{}"));
        assert!(read().unwrap_err().to_string().ends_with("more than 256 entries"));
    }
}
