//! The structure of the source: which module may import which, what is pure, how large files and folders are.

#![allow(
    clippy::print_stdout,
    reason = "the listing and exemptions without use are for the person at the terminal"
)]

mod check;
mod listing;
mod names;
mod planted;
mod rules;
mod syntax;

use std::{fs, path::Path};

use check::check;
use rules::NOT_YET;
use syntax::SourceFile;

#[test]
fn the_source_keeps_the_structure_rules() {
    let violations = check(&sources(), NOT_YET);
    let is_exempt = |entry: &(rules::Rule, &str), violation: &check::Violation| {
        violation.rule == entry.0 && violation.file.starts_with(entry.1)
    };
    let all = check(&sources(), &[]);
    for entry in NOT_YET.iter().filter(|entry| !all.iter().any(|violation| is_exempt(entry, violation))) {
        println!("no longer needed in NOT_YET: {entry:?}");
    }
    let new: Vec<_> = violations
        .iter()
        .filter(|violation| !NOT_YET.iter().any(|entry| is_exempt(entry, violation)))
        .collect();
    let report: Vec<_> = new.iter().map(ToString::to_string).collect();
    assert!(new.is_empty(), "{} violations:\n{}", new.len(), report.join("\n"));
}

/// A row for a module that does not exist would look like a rule and check nothing.
#[test]
fn every_module_of_the_tables_exists() {
    let tree = names::Crate::read(&sources());
    let exists = |name: &str| tree.modules.iter().any(|module| module.path.join("::") == name);
    let rows = rules::IMPORTS.iter().map(|(row, _)| row).filter(|row| **row != "bin");
    for name in rows.chain(rules::PURE).chain(rules::UNSAFE) {
        if !exists(name) {
            println!("no module {name}");
        }
    }
}

/// A file that no parent declares is not compiled, so its tests do not run.
#[test]
fn every_test_file_is_a_module() {
    let files = sources();
    for file in files.iter().filter(|file| file.path.starts_with("tests/")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap();
        let name = name.trim_end_matches(".rs");
        // Roots of crates. The build script of kit compiles the probe as a program.
        if ["main", "lib", "build", "probe"].contains(&name) {
            continue;
        }
        let parents = [format!("{folder}.rs"), format!("{folder}/main.rs"), format!("{folder}/lib.rs")];
        let mut parents = files.iter().filter(|file| parents.contains(&file.path));
        let line = format!("mod {name};");
        let declares = |text: &str| {
            text.lines()
                .any(|text| text == line || text.starts_with("pub") && text.ends_with(&format!(" {line}")))
        };
        assert!(
            parents.any(|parent| declares(&parent.text)),
            "{}: no parent has the line `{line}`",
            file.path
        );
    }
}

/// Every Rust file of the repository, with its path from the root.
fn sources() -> Vec<SourceFile> {
    let mut files = vec![];
    ["src", "tests", "benches", "examples"].into_iter().for_each(|folder| collect(folder, &mut files));
    files
}

fn collect(folder: &str, files: &mut Vec<SourceFile>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut entries: Vec<_> =
        fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() {
            collect(&path, files);
        } else if path.ends_with(".rs") {
            files.push(SourceFile { text: fs::read_to_string(entry).unwrap(), path });
        }
    }
}
