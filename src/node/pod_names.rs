//! The names of pods by UID. The kubelet's pod-resources API has names only, and the other sources have UIDs only.
//!
//! The kubelet creates a folder `NAMESPACE_NAME_UID` for the logs of each pod (`BuildPodLogsDirectory` in
//! `pkg/kubelet/kuberuntime/helpers.go`), before the first container starts. No container can write there, so the name is reliable.

use std::{collections::HashMap, fs, io, path::Path};

use super::pod_resources::allocation::PodName;

/// Maximum number of folders. The kubelet removes the folder of an ended pod after some minutes.
const MAX_FOLDERS: usize = 16_384;

/// Positions of the hyphens in the 36 characters of a UID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Whether the API server gives such a UID to a pod: 36 characters, lower case. Static pods have other UIDs, and no sidecar.
pub(super) fn is_uid(text: &str) -> bool {
    let is_valid = |(position, byte): (usize, u8)| match byte {
        b'-' => HYPHENS.contains(&position),
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f') && !HYPHENS.contains(&position),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_valid)
}

/// The names of the pods on this node, by UID. `logs` is the kubelet's folder of logs, usually `/var/log/pods`.
///
/// # Errors
/// Fails if the folder cannot be read, or has too many entries.
pub(super) fn pod_names(logs: &Path) -> io::Result<HashMap<String, PodName>> {
    let mut names = HashMap::new();
    for (number, entry) in fs::read_dir(logs)?.enumerate() {
        if number == MAX_FOLDERS {
            return Err(io::Error::other(format!(
                "more than {MAX_FOLDERS} folders; remove those of ended pods"
            )));
        }
        names.extend(entry?.file_name().to_str().and_then(parse));
    }
    Ok(names)
}

/// The UID and the name in the name of a folder. Names of pods and namespaces contain no underscore.
fn parse(folder: &str) -> Option<(String, PodName)> {
    let mut parts = folder.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let name = PodName { namespace: namespace.to_owned(), name: name.to_owned() };
    (is_uid(uid) && parts.next().is_none()).then(|| (uid.to_owned(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "7c1e0c1e-9a55-4f0e-8d0f-000000000001";

    #[test]
    fn a_uid_has_36_characters_in_lower_case() {
        assert!(is_uid(UID));
        for text in
            ["", "7c1e0c1e", "7C1E0C1E-9a55-4f0e-8d0f-000000000001", "7c1e0c1e-9a55-4f0e-8d0f-00000000000g"]
        {
            assert!(!is_uid(text), "{text}");
        }
    }

    #[test]
    fn the_folders_of_logs_show_the_names() {
        let logs = tempfile::tempdir().unwrap();
        let other = "7c1e0c1e-9a55-4f0e-8d0f-000000000002";
        for folder in [
            format!("desktops_alice.a_{UID}"),
            format!("desktops_alice_more_{other}"),
            format!("_{other}"),
            "kube-system_etcd-node_8a5c7bd0ac3b4a3f9a05e8f6ac1a4e9e".to_owned(),
            "lost+found".to_owned(),
        ] {
            fs::create_dir(logs.path().join(folder)).unwrap();
        }
        let alice = PodName { namespace: "desktops".into(), name: "alice.a".into() };
        assert_eq!(pod_names(logs.path()).unwrap(), [(UID.to_owned(), alice)].into());
        assert!(pod_names(&logs.path().join("absent")).is_err());
    }
}
