//! Link options of the small programs.
#![allow(
    clippy::disallowed_methods,
    reason = "Cargo passes the options of a build script in the environment"
)]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `z` is the level of the profile of the sidecar and of the node agent. Packed relocations make the sidecar 51 kB smaller. They need
    // glibc 2.36, which the images have; the programs of the other profiles run on older systems too. GNU ld 2.40 has them for x86 only.
    let is = |name: &str, expected: &str| env::var(name).is_ok_and(|value| value == expected);
    if is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
