//! Tests the checker: each kind of violation is added to a small crate, and the checker must report it.

use super::{
    check::check,
    rules::{MAX_FILES, MAX_LINES, Rule},
    syntax::SourceFile,
};

/// A crate that keeps every rule, with examples of allowed code: imports along the table, re-exports by a parent, clocks in
/// unit tests, names in several forms.
const CLEAN: &[(&str, &str)] = &[
    ("src/lib.rs", "pub mod admission; pub mod contract; pub mod gpu; pub mod runtime; pub mod cli;"),
    ("src/contract.rs", "pub const PORT: u16 = 1;"),
    ("src/runtime.rs", "pub mod log; pub mod vocabulary; pub const VERSION: &str = \"1\";"),
    ("src/runtime/log.rs", "pub fn init() { let _ = std::time::Instant::now(); }"),
    (
        "src/runtime/vocabulary.rs",
        "macro_rules! vocabulary { ($($tokens:tt)*) => { pub fn as_str() {} } } pub(crate) use vocabulary;",
    ),
    (
        "src/admission.rs",
        "//! Explains std::fs::read.\nmod pod; mod review; pub use pod::Pod; pub use review::Review;
         pub fn decide(pod: &Pod) -> bool { review::allows(pod) }",
    ),
    (
        "src/admission/pod.rs",
        "use crate::{contract::{self, PORT as port}, runtime::vocabulary::vocabulary};
         pub struct Pod(pub u16); vocabulary! { enum Mode { Native = \"native\" } }
         pub(super) const READ: &str = \"std::fs::read\"; fn sum() -> u16 { port + contract::PORT }
         #[cfg(test)] mod tests { use std::time::Instant; #[test] fn now() { Instant::now(); super::super::review::none(); } }",
    ),
    (
        "src/admission/review.rs",
        "use super::Pod; use std::time::{Duration, SystemTime}; pub struct Review<'a>(&'a Pod); pub fn none() {}
         pub fn allows(_: &super::Pod) -> bool { true } fn age(from: SystemTime, to: SystemTime) -> Option<Duration> { to.duration_since(from).ok() }",
    ),
    ("src/gpu.rs", "mod raw; pub use raw::Card;"),
    ("src/gpu/raw.rs", "use nvml_wrapper::Device; pub struct Card(Device); fn call() { unsafe { std::hint::unreachable_unchecked() } }"),
    ("src/cli.rs", "use crate::admission as core; pub fn run() { crate::runtime::log::init(); core::decide(&core::Pod(2)); }"),
    ("src/bin/vdi-metrics.rs", "fn main() { vdi_metrics::cli::run() }"),
];

/// Code that is added to a file of [`CLEAN`], or a new file; the rule that the code breaks, and the text that the report
/// contains.
const PLANTED: &[(&str, &str, Rule, &str)] = &[
    // Imports, in every form that they have.
    ("src/gpu.rs", "use crate::cli::run;", Rule::Imports, "cli::run"),
    ("src/gpu.rs", "use crate::{contract, runtime::{log}};", Rule::Imports, "contract"),
    ("src/gpu.rs", "use crate::cli as other; fn f() { other::run() }", Rule::Imports, "cli::run"),
    ("src/gpu.rs", "use super::cli::*;", Rule::Imports, "cli"),
    // A function with the name of an imported module.
    ("src/gpu.rs", "use crate::cli; fn cli() { cli::run() }", Rule::Imports, "cli::run"),
    ("src/gpu/raw.rs", "use super::super::cli;", Rule::Imports, "cli"),
    ("src/gpu/raw.rs", "mod inner { use super::super::super::cli::run; }", Rule::Imports, "cli::run"),
    ("src/gpu/raw.rs", "fn f() -> crate::admission::Pod { todo() }", Rule::Imports, "admission::pod::Pod"),
    ("src/gpu/raw.rs", "fn f() { assert!(crate::cli::run() == ()) }", Rule::Imports, "cli::run"),
    ("src/gpu/raw.rs", "pub(in crate::cli) fn f() {}", Rule::Imports, "cli"),
    (
        "src/gpu/raw.rs",
        "struct S { #[serde(default = \"crate::contract::PORT\")] a: u8 }",
        Rule::Imports,
        "contract::PORT",
    ),
    ("src/gpu/raw.rs", "#[cfg(test)] mod tests { use crate::cli::run; }", Rule::Imports, "cli::run"),
    ("src/runtime.rs", "pub use crate::cli::run as start;", Rule::Imports, "cli::run"),
    ("src/admission/pod.rs", "use crate::runtime::log;", Rule::Imports, "runtime::log"),
    ("src/bin/vdi-metrics.rs", "use vdi_metrics::admission::Pod;", Rule::Imports, "admission::pod::Pod"),
    ("src/contract.rs", "fn f() -> crate::gpu::Card { g() }", Rule::Imports, "gpu::raw::Card"),
    ("src/orphan.rs", "pub struct Orphan;", Rule::Imports, "orphan"),
    // Purity.
    (
        "src/admission/pod.rs",
        "type Clock = std::time::Instant; fn f() { Clock::now(); }",
        Rule::Purity,
        "Clock::now",
    ),
    ("src/admission/pod.rs", "use arc_swap::ArcSwap;", Rule::Purity, "arc_swap"),
    ("src/admission/pod.rs", "use rustls::ServerConfig;", Rule::Purity, "rustls"),
    ("src/admission/pod.rs", "use std::collections::hash_map::RandomState;", Rule::Purity, "RandomState"),
    ("src/admission/pod.rs", "use std::{collections::BTreeMap, fs};", Rule::Purity, "std::fs"),
    ("src/admission/pod.rs", "use std as s; fn f() { s::fs::read(READ); }", Rule::Purity, "std::fs::read"),
    ("src/admission/pod.rs", "fn f() { ::std::env::args(); }", Rule::Purity, "std::env::args"),
    (
        "src/admission/pod.rs",
        "use std::time::Instant as I; fn f() { I::now(); }",
        Rule::Purity,
        "std::time::Instant::now",
    ),
    (
        "src/admission/pod.rs",
        "use std::time::*; fn f() { std::time::SystemTime::now(); }",
        Rule::Purity,
        "SystemTime::now",
    ),
    (
        "src/admission/pod.rs",
        "fn f(since: std::time::Instant) { since.elapsed(); }",
        Rule::Purity,
        ".elapsed()",
    ),
    ("src/admission/pod.rs", "fn f() { dbg!(since.elapsed()); }", Rule::Purity, ".elapsed()"),
    (
        "src/admission/pod.rs",
        "use std::time::Instant; fn f(since: Option<&Instant>) { since.map(Instant::elapsed); }",
        Rule::Purity,
        "std::time::Instant::elapsed",
    ),
    (
        "src/admission/pod.rs",
        "fn f(path: &std::path::Path) -> bool { path.exists() }",
        Rule::Purity,
        ".exists()",
    ),
    ("src/admission/pod.rs", "fn f() { std::io::stdin(); }", Rule::Purity, "std::io::stdin"),
    ("src/admission/pod.rs", "fn f() { tokio::select!{} }", Rule::Purity, "tokio::select"),
    (
        "src/admission/pod.rs",
        "fn f() { vec![std::net::UdpSocket::bind(0)]; }",
        Rule::Purity,
        "std::net::UdpSocket::bind",
    ),
    ("src/admission/pod.rs", "fn f() { crate::runtime::log::init() }", Rule::Purity, "runtime::log::init"),
    ("src/contract.rs", "use kube::Client;", Rule::Purity, "kube::Client"),
    ("src/contract.rs", "type Router = axum::Router<hyper::Body>;", Rule::Purity, "hyper::Body"),
    // Unsafe code and NVML.
    ("src/cli.rs", "fn f() { unsafe { g() } }", Rule::Unsafe, "unsafe"),
    ("src/cli.rs", "#[allow(unsafe_code)] fn f() {}", Rule::Unsafe, "unsafe"),
    ("src/gpu.rs", "fn f() { h!(unsafe { g() }); }", Rule::Unsafe, "unsafe"),
    ("src/cli.rs", "use nvml_wrapper::Nvml;", Rule::Nvml, "NVML"),
    ("src/cli.rs", "fn f() { h!(nvml_wrapper_sys::nvmlInit); }", Rule::Nvml, "NVML"),
    // Cycles: of two files, through a parent, through a re-export, by an attribute, of three files.
    (
        "src/admission/pod.rs",
        "use super::review::none;",
        Rule::Cycle,
        "src/admission/pod.rs -[admission::review::none]-> src/admission/review.rs -[admission::pod::Pod]-> src/admission/pod.rs",
    ),
    (
        "src/admission/pod.rs",
        "use super::decide;",
        Rule::Cycle,
        "src/admission.rs -[admission::pod::Pod]-> src/admission/pod.rs -[admission::decide]-> src/admission.rs",
    ),
    (
        "src/admission/pod.rs",
        "type R = super::Review<'static>;",
        Rule::Cycle,
        "-[admission::review::Review]->",
    ),
    (
        "src/admission/pod.rs",
        "#[serde(with = \"super::review\")] struct S;",
        Rule::Cycle,
        "-[admission::review::deserialize]->",
    ),
    ("src/admission/pod.rs", "use super::*;", Rule::Cycle, "src/admission.rs"),
    // Names and vocabularies.
    ("src/cli.rs", "struct Pod;", Rule::TypeName, "type Pod"),
    ("src/cli.rs", "type Card = u8;", Rule::TypeName, "type Card"),
    ("src/cli.rs", "crate::runtime::vocabulary! { enum Pod { A = \"a\" } }", Rule::TypeName, "type Pod"),
    (
        "src/cli.rs",
        "enum Verb { A, B } impl Verb { fn as_str(self) -> &'static str { match self { Self::A => \"a\", Self::B => \"b\" } } }",
        Rule::Vocabulary,
        "Verb",
    ),
];

#[test]
fn a_clean_crate_is_accepted() {
    assert_eq!(reports(&files(CLEAN)), [""; 0]);
}

#[test]
fn each_planted_violation_is_reported_with_its_file() {
    for (path, text, rule, named) in PLANTED {
        let mut files = files(CLEAN);
        match files.iter_mut().find(|file| file.path == *path) {
            Some(file) => file.text = format!("{}\n{text}", file.text),
            None => files.push(SourceFile { path: (*path).into(), text: (*text).into() }),
        }
        let violations = check(&files, &[]);
        let reported = violations.iter().any(|violation| {
            let in_file = violation.file == *path || violation.what.contains(path);
            violation.rule == *rule && in_file && violation.what.contains(named)
        });
        assert!(
            reported,
            "{path}: {text}\nwas not reported as {rule:?} that names {named}, but: {violations:#?}"
        );
    }
}

#[test]
fn a_cycle_of_three_files_is_reported_with_its_path() {
    let mut files = files(CLEAN);
    for (path, text) in [
        ("src/cli/a.rs", "use super::b::B; pub struct A(B);"),
        ("src/cli/b.rs", "use crate::cli::c::C; pub struct B(C);"),
        ("src/cli/c.rs", "pub struct C(Box<super::a::A>);"),
    ] {
        files.push(SourceFile { path: path.into(), text: text.into() });
    }
    let cycle = "Cycle: src/cli/a.rs:1: import cycle src/cli/a.rs -[cli::b::B]-> src/cli/b.rs -[cli::c::C]-> src/cli/c.rs \
                 -[cli::a::A]-> src/cli/a.rs";
    assert_eq!(reports(&files), [cycle]);
}

#[test]
fn long_files_and_full_folders_are_reported() {
    let mut files = files(CLEAN);
    files.push(SourceFile { path: "tests/long.rs".into(), text: "\n".repeat(MAX_LINES + 1) });
    let many = (0..=MAX_FILES).map(|number| format!("tests/many/{number}.rs"));
    let many = many.chain(["tests/many/entry.rs".into(), "tests/many/entry/file.rs".into()]);
    files.extend(many.map(|path| SourceFile { path, text: String::new() }));
    assert_eq!(
        reports(&files),
        [
            "FileSize: tests/long.rs:401: 401 lines, at most 400: split the file",
            "FolderSize: tests/many:0: 15 files, at most 14: make a subfolder",
        ]
    );
}

#[test]
fn an_exempt_file_is_not_reported() {
    let mut files = files(CLEAN);
    files.push(SourceFile { path: "src/cli/a.rs".into(), text: "use super::b::B; pub struct A(B);".into() });
    files.push(SourceFile {
        path: "src/cli/b.rs".into(),
        text: "use super::a::A; pub struct B(A); struct Pod;".into(),
    });
    let exempt = [(Rule::Cycle, "src/cli/a"), (Rule::TypeName, "src/cli/")];
    assert_eq!(check(&files, &exempt).len(), 0);
    assert_eq!(check(&files, &exempt[..1]).len(), 1);
    assert_eq!(check(&files, &[]).len(), 2);
}

fn files(of: &[(&str, &str)]) -> Vec<SourceFile> {
    of.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect()
}

fn reports(files: &[SourceFile]) -> Vec<String> {
    check(files, &[]).iter().map(ToString::to_string).collect()
}
