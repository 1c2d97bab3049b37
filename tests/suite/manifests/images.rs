//! The Dockerfile and the lists of files in the images.

use vdi_metrics::runtime::VERSION;

use super::reading::read;

#[test]
fn each_image_contains_one_program_with_its_own_feature() {
    let dockerfile = read("Dockerfile").replace("\\\n", " ");
    for (image, program, feature, profile, user) in [
        ("server", "vdi-metrics", "webhook", "--release", "65532:65532"),
        ("sidecar", "vdi-metrics-sidecar", "sidecar", "--profile sidecar", "65532:65532"),
        ("node", "vdi-metrics-node", "node", "--profile sidecar", "0:0"),
    ] {
        let build = format!("{profile} --no-default-features --features {feature} --bin {program} ");
        assert!(dockerfile.contains(&build), "{build}");
        let stage = dockerfile
            .split("\nFROM ")
            .find(|stage| stage.starts_with(&format!("scratch AS {image}\n")))
            .unwrap();
        let last: Vec<_> = stage.trim_end().lines().rev().take(2).collect();
        assert_eq!(last, [&format!("ENTRYPOINT [\"/{program}\"]"), &format!("USER {user}"),]);
        assert!(stage.contains(&format!("\nCOPY --from={image}-files /rootfs /\n")));
        assert!(stage.contains(&format!("org.opencontainers.image.version=\"{VERSION}\"")));
        let list = read(&format!("images/{image}.list"));
        assert!(list.lines().any(|line| line == format!("program {program}")));
        assert!(list.lines().any(|line| line == "loader"));
    }
    let toolchain = read("rust-toolchain.toml");
    let version = dockerfile.split("ARG RUST=").nth(1).and_then(|rest| rest.split('-').next()).unwrap();
    assert!(toolchain.contains(&format!("\"{version}\"")), "the Dockerfile builds with Rust {version}");
}
