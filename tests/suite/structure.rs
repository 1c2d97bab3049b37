//! The structure of the source: which module may import which, what is pure, how large files and folders are.

#![allow(clippy::print_stdout, reason = "the listing is read in a terminal")]

mod check;
mod listing;
mod names;
mod planted;
mod rules;
mod syntax;

use std::{fs, path::Path};

use check::check;
use names::Crate;
use rules::NOT_YET;
use syntax::SourceFile;

#[test]
fn the_source_keeps_the_structure_rules() {
    let files = sources();
    let violations = check(&files, NOT_YET);
    let report: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), report.join("\n"));
    for entry in NOT_YET {
        let others: Vec<_> = NOT_YET.iter().copied().filter(|other| other != entry).collect();
        assert!(!check(&files, &others).is_empty(), "nothing needs {entry:?} in NOT_YET: remove it");
    }
}

/// A row for a module that does not exist looks like a rule, but checks nothing.
#[test]
fn every_module_of_the_rules_exists() {
    let tree = Crate::read(&sources());
    let exists = |name: &str| tree.modules.iter().any(|module| module.path.join("::") == name);
    // The programs are no modules of the library.
    let rows = rules::IMPORTS.iter().map(|(row, _)| row).filter(|row| **row != "bin");
    for module in rows.chain(rules::PURE).chain(rules::UNSAFE) {
        assert!(exists(module), "there is no module {module}");
    }
}

/// A file that no parent declares is not compiled, so its tests do not run.
#[test]
fn every_source_and_test_file_is_a_module() {
    let files = sources();
    let is_module = |file: &&SourceFile| {
        let path = &file.path;
        path.starts_with("tests/") || path.starts_with("src/") && !path.starts_with("src/bin/")
    };
    for file in files.iter().filter(is_module) {
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
