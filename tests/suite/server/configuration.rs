//! The reload of the configuration file.

use std::{fs, os::unix::fs::symlink, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use kit::process::eventually;
use serde_json::Value;

use super::{Server, review};

/// Replaces a mounted ConfigMap as the kubelet does: creates a folder and swaps the symbolic link to it.
fn mount(volume: &Path, text: &str) {
    let data = tempfile::Builder::new().prefix("..").tempdir_in(volume).unwrap().keep();
    fs::write(data.join("config.yaml"), text).unwrap();
    let link = volume.join("..data_tmp");
    symlink(data.file_name().unwrap(), &link).unwrap();
    fs::rename(link, volume.join("..data")).unwrap();
}

#[test]
fn a_valid_change_of_the_configuration_is_activated_and_an_invalid_one_is_not() {
    let volume = tempfile::tempdir().unwrap();
    mount(volume.path(), "sidecar: {port: 9500}\n");
    let config = volume.path().join("config.yaml");
    symlink("..data/config.yaml", &config).unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()], "/nonexistent");
    let port_of_new_pods = || {
        let answer: Value = serde_json::from_str(&server.mutate(&review()).body).unwrap();
        let patch = BASE64_STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        let added = patch.as_array().unwrap().iter().find(|added| added["path"] == "/spec/initContainers");
        added.unwrap()["value"][0]["ports"][0]["containerPort"].as_u64().unwrap()
    };
    let state = || {
        let seen = server.exposition();
        let value = |name| seen.value(name, &[]).unwrap();
        (value("vdi_metrics_config_generation"), value("vdi_metrics_config_last_load_success"))
    };
    let loaded = || server.exposition().value("vdi_metrics_config_last_load_timestamp_seconds", &[]).unwrap();
    let becomes = |expected: (f64, f64)| {
        eventually(&format!("generation and success to be {expected:?}"), || {
            (state() == expected).then_some(())
        });
    };
    assert_eq!((state(), port_of_new_pods()), ((1.0, 1.0), 9500));
    let at_first = loaded();
    mount(volume.path(), "sidecar: {port: 9600}\n");
    becomes((2.0, 1.0));
    assert_eq!(port_of_new_pods(), 9600);
    let then = loaded();
    assert!(then > at_first, "{then} after {at_first}");
    mount(volume.path(), "sidecar: {prot: 9700}\n");
    becomes((2.0, 0.0));
    assert_eq!((port_of_new_pods(), loaded()), (9600, then), "the previous configuration stays active");
    let complaint = server.process.logged("Cannot use the changed configuration");
    assert!(complaint.contains("config.yaml") && complaint.contains("prot"), "{complaint}");
    mount(volume.path(), "sidecar: {port: 9800}\n");
    becomes((3.0, 1.0));
    assert_eq!(port_of_new_pods(), 9800);
    assert_eq!(server.process.log().matches("Cannot use the changed configuration").count(), 1);
}
