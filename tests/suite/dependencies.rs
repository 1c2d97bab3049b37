//! Crates that each program links, and their number.

use std::process::Command;

#[test]
fn the_server_does_not_depend_on_nvml() {
    let server = crates("webhook");
    assert!(contains(&server, "kube"), "these are not the crates of the server");
    let linked: Vec<_> = ["nvml-wrapper", "nvml-wrapper-sys", "libloading"]
        .iter()
        .filter(|name| contains(&server, name))
        .collect();
    assert!(linked.is_empty(), "{linked:?}");
}

#[test]
fn the_sidecar_does_not_depend_on_crates_of_the_server() {
    let sidecar = crates("sidecar");
    assert!(contains(&sidecar, "nvml-wrapper"), "these are not the crates of the sidecar");
    let server =
        ["kube", "k8s-openapi", "rustls", "tokio-rustls", "json-patch", "clap", "regex", "hyper-rustls"];
    let linked: Vec<_> = server.iter().filter(|name| contains(&sidecar, name)).collect();
    assert!(linked.is_empty(), "{linked:?}");
}

#[test]
fn each_program_keeps_its_limit_of_crates() {
    for (feature, limit) in [("sidecar", 80), ("webhook", 190), ("node", 115)] {
        let crates = crates(feature);
        assert!(crates.len() <= limit, "{feature}: {} crates, at most {limit}", crates.len());
    }
}

/// Crates that the library links with one feature, without the crates for tests and builds.
fn crates(feature: &str) -> Vec<String> {
    let arguments =
        "tree --offline --no-default-features --edges normal --prefix none --no-dedupe --features";
    let tree = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments.split(' '))
        .arg(feature)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let mut crates: Vec<_> = String::from_utf8(tree.stdout).unwrap().lines().map(str::to_owned).collect();
    crates.sort();
    crates.dedup();
    crates
}

fn contains(crates: &[String], name: &str) -> bool {
    crates.iter().any(|line| line.split(' ').next() == Some(name))
}
