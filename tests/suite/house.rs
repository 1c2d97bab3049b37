//! The house: what may be linked into which program, who may import whom, and that no test file is forgotten.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn crates(feature: &str) -> Vec<String> {
    let arguments =
        "tree --offline --no-default-features --edges normal --prefix none --no-dedupe --features";
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
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

fn has(crates: &[String], name: &str) -> bool {
    crates.iter().any(|line| line.split(' ').next() == Some(name))
}

#[test]
fn the_server_cannot_link_nvml() {
    let server = crates("webhook");
    assert!(has(&server, "kube"), "the tree is not the server's");
    let found: Vec<_> =
        ["nvml-wrapper", "nvml-wrapper-sys", "libloading"].iter().filter(|name| has(&server, name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_sidecar_carries_nothing_of_the_server() {
    let sidecar = crates("sidecar");
    assert!(has(&sidecar, "nvml-wrapper"), "the tree is not the sidecar's");
    let server =
        ["kube", "k8s-openapi", "rustls", "axum-server", "json-patch", "clap", "regex", "hyper-rustls"];
    let found: Vec<_> = server.iter().filter(|name| has(&sidecar, name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_trees_stay_small() {
    for (feature, most) in [("sidecar", 80), ("webhook", 175)] {
        let crates = crates(feature);
        assert!(crates.len() <= most, "{feature}: {} crates, at most {most}", crates.len());
    }
}

fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let mut files = vec![];
    collect(&root().join(under), &mut files);
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Files of `under`, a folder or a module with one: `src/sessions` is `src/sessions.rs` too.
fn collect(under: &Path, files: &mut Vec<PathBuf>) {
    let module = under.with_extension("rs");
    files.extend(module.is_file().then_some(module));
    if under.is_dir() {
        for entry in fs::read_dir(under).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(&path, files),
                false => files.push(path),
            }
        }
    }
}

/// What the deciding files of admission do without.
const PURE: &str = "tokio axum kube:: nvml SystemTime Instant::now";

#[test]
fn rooms_keep_their_borders() {
    for (room, foreign) in [
        ("src/contract", "crate::"),
        (
            "src/runtime",
            "crate::admission crate::sessions crate::registration crate::cli crate::sidecar crate::gpu",
        ),
        ("src/admission", "crate::sessions crate::registration crate::cli crate::sidecar crate::gpu"),
        ("src/sessions", "crate::admission crate::registration crate::cli crate::sidecar crate::gpu"),
        ("src/registration", "crate::admission crate::sessions crate::cli crate::sidecar crate::gpu"),
        ("src/cli", "crate::sidecar crate::gpu"),
        ("src/gpu", "crate::admission crate::sessions crate::registration crate::cli crate::sidecar"),
        ("src/sidecar", "crate::admission crate::sessions crate::registration crate::cli nvml_wrapper"),
        ("src/limits", "crate::sessions crate::registration crate::cli crate::sidecar crate::gpu"),
        // Pure: no runtime, no HTTP, no client, no driver, no clock.
        ("src/admission/container", PURE),
        ("src/admission/decide", PURE),
        ("src/admission/identity", PURE),
        ("src/admission/namespaces", PURE),
        ("src/admission/overrides", PURE),
        ("src/admission/patch", PURE),
        ("src/admission/pod", PURE),
        ("src/admission/policy", PURE),
        ("src/admission/quantity", PURE),
        ("src/admission/reason", PURE),
        ("src/admission/repair", PURE),
        ("src/admission/resources", PURE),
        ("src/admission/review", PURE),
        ("src/admission/settings", PURE),
        ("src/sessions/ledger", "tokio axum kube:: k8s_openapi nvml prometheus SystemTime Instant::now"),
        ("src/sidecar/attribution", "tokio axum nvml_wrapper prometheus std::fs SystemTime Instant::now"),
        ("src/sampling/counters", "tokio axum nvml_wrapper prometheus std::fs SystemTime"),
        ("src/sampling/processes", "tokio axum nvml_wrapper prometheus std::fs SystemTime Instant::now"),
        ("src/gpu/id", "tokio nvml_wrapper std::fs SystemTime Instant::now"),
        ("src/sidecar/catalogue", "tokio axum nvml_wrapper"),
    ] {
        let sources = sources(room);
        assert!(!sources.is_empty(), "{room} is not there");
        for (path, source) in sources {
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            let crossing: Vec<_> =
                code.filter(|line| foreign.split(' ').any(|name| line.contains(name))).collect();
            assert!(crossing.is_empty(), "{} crosses its border: {crossing:?}", path.display());
        }
    }
}

#[test]
fn two_files_are_unsafe() {
    let allowed = |source: &str| source.lines().any(|line| line.contains("(unsafe_code"));
    let mut found: Vec<_> = sources("src").into_iter().filter(|(_, source)| allowed(source)).collect();
    found.retain(|(path, _)| !path.ends_with("gpu/raw.rs") && !path.ends_with("runtime/libc.rs"));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_test_file_is_a_module() {
    for suite in ["tests/suite", "tests/cluster"] {
        let main = fs::read_to_string(root().join(suite).join("main.rs")).unwrap();
        for entry in fs::read_dir(root().join(suite)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_source = path.extension().is_some_and(|extension| extension == "rs") && name != "main";
            assert!(
                !is_source || main.contains(&format!("mod {name};")),
                "{suite}/main.rs lacks `mod {name};`"
            );
        }
    }
}

#[test]
fn the_readme_explains_every_reason() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for reason in vdi_metrics::admission::SkipReason::ALL {
        assert!(readme.contains(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
}

#[test]
fn the_gpu_page_explains_every_word() {
    use vdi_metrics::sidecar::attribution::{
        Confidence, NotApplicable, Scope, Sharing, Strategy, UnavailableReason,
    };

    let page = fs::read_to_string(root().join("docs/gpu.md")).unwrap();
    for word in Confidence::ALL {
        assert!(page.contains(&format!("`{}`", word.as_str())), "{}", word.as_str());
    }
    let words = [
        NotApplicable::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(),
        UnavailableReason::ALL.iter().map(|word| word.as_str()).collect(),
        Sharing::ALL.iter().map(|word| word.as_str()).collect(),
        Strategy::ALL.iter().map(|word| word.as_str()).collect(),
    ];
    for word in words.concat() {
        assert!(page.contains(&format!("\n| `{word}` |")), "{word} has no row");
    }
    for scope in Scope::ALL {
        assert!(page.contains(&format!("`scope=\"{}\"`", scope.as_str())), "{}", scope.as_str());
    }
}
