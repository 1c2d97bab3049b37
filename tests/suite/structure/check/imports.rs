//! Imports between modules, and the imports that pure modules must not have.

use std::collections::BTreeSet;

use super::{Violation, covers};
use crate::structure::{
    names::{Crate, Resolved, Target},
    rules::{
        IMPORTS, IMPURE, IMPURE_FUNCTIONS, ImportRow, PLAIN_DATA, PURE, PURE_CRATES, Rule, TEST_IMPORTS,
    },
    syntax::Module,
};

pub(super) fn check(tree: &Crate, violations: &mut BTreeSet<Violation>) {
    for (index, module) in tree.modules.iter().enumerate() {
        let mut seen = BTreeSet::new();
        // A file that names something forbidden often names it several times: the first line is enough.
        let mut add = |rule, line, what: String| {
            if seen.insert((rule, what.clone())) {
                violations.insert(Violation { rule, file: module.file.clone(), line, what });
            }
        };
        if let Some(top) = module.path.first()
            && !IMPORTS.iter().any(|(row, _)| row == top)
        {
            add(Rule::Imports, 1, format!("module {top} has no row in the table of imports"));
        }
        let imports = module.imports.iter().map(|import| (&import.path, import.line, import.test));
        let references = module.references.iter().map(|named| (&named.path, named.line, named.test));
        for (path, line, test) in imports.chain(references) {
            let resolved = tree.resolve(index, path);
            let forbidden = |name: &Vec<String>| {
                Some((forbidding_row(module, test || module.test, name)?, name.join("::")))
            };
            if let Some(((row, allowed), name)) = resolved.names.iter().rev().find_map(forbidden) {
                let allowed = if allowed.is_empty() { "nothing".into() } else { allowed.join(", ") };
                add(Rule::Imports, line, format!("names {name}; {row} may import {allowed}"));
            }
            if !test
                && !module.test
                && is_pure(&module.path)
                && let Some(what) = impurity(tree, &resolved).or_else(|| impure_function(path))
            {
                add(Rule::Purity, line, format!("{what}; this module is pure"));
            }
        }
    }
}

/// The row that does not allow a module to name something of the crate.
fn forbidding_row(module: &Module, test: bool, name: &[String]) -> Option<&'static ImportRow> {
    let is_above = |row: &str| {
        let row: Vec<_> = row.split("::").collect();
        name.len() < row.len() && name.iter().zip(&row).all(|(name, segment)| name == segment)
    };
    // A module above an allowed module is only a part of the path. The names in it are checked separately.
    let allows = |row: &str| covers(row, name) || is_above(row);
    let for_test = |(tests, allowed): &(&str, &str)| covers(tests, &module.path) && allows(allowed);
    if test && TEST_IMPORTS.iter().any(for_test) {
        return None;
    }
    let mut rows = IMPORTS.iter().filter(|(row, _)| covers(row, &module.path));
    rows.find(|(row, allowed)| {
        !name.is_empty() && !allows(row) && !allowed.iter().any(|allowed| allows(allowed))
    })
}

fn is_pure(path: &[String]) -> bool {
    PURE.iter().any(|pure| covers(pure, path))
}

fn impure_function(path: &[String]) -> Option<String> {
    let is_impure =
        path.len() > 1 && path.last().is_some_and(|name| IMPURE_FUNCTIONS.contains(&name.as_str()));
    is_impure.then(|| format!("names {}", path.join("::")))
}

/// Names of the dependencies in `Cargo.toml`, as Rust names them.
fn dependencies() -> impl Iterator<Item = String> {
    let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let lines = section.unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")))
}

fn impurity(tree: &Crate, resolved: &Resolved) -> Option<String> {
    match &resolved.target {
        Target::External(path) => {
            // A call of an impure method is a path of one segment that starts with a dot.
            let is_impure = path[0].starts_with('.')
                || IMPURE.iter().any(|impure| covers(impure, path))
                // A name alone is a local variable.
                || path.len() > 1
                    && dependencies().any(|name| name == path[0])
                    && !PURE_CRATES.contains(&path[0].as_str());
            is_impure.then(|| format!("names {}", path.join("::")))
        }
        Target::Item(module, name) => {
            let path = [tree.modules[*module].path.as_slice(), std::slice::from_ref(name)].concat();
            let is_plain = is_pure(&path) || PLAIN_DATA.iter().any(|plain| covers(plain, &path));
            (!is_plain).then(|| format!("names {}, which is not pure", path.join("::")))
        }
        Target::Module(_) => None,
    }
}
