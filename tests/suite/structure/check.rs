//! Finds violations of the rules.

mod cycles;
mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(super) use cycles::graph;

use super::{
    names::{Crate, module_of},
    rules::{self, Rule},
    syntax::SourceFile,
};

/// A line that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    pub rule: Rule,
    pub file: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}:{}: {}", self.rule, self.file, self.line, self.what)
    }
}

/// The violations in these files that are not exempt, in order. Files outside of `src` are checked for their size
/// only.
pub(super) fn check(files: &[SourceFile], exempt: &[(Rule, &str)]) -> BTreeSet<Violation> {
    let tree = Crate::read(files);
    let mut violations = BTreeSet::new();
    imports::check(&tree, &mut violations);
    cycles::check(&tree, exempt, &mut violations);
    facts(&tree, &mut violations);
    sizes(files, &mut violations);
    violations.retain(|violation| !is_exempt(exempt, violation.rule, &violation.file));
    violations
}

fn is_exempt(exempt: &[(Rule, &str)], rule: Rule, file: &str) -> bool {
    exempt.iter().any(|entry| entry.0 == rule && file.starts_with(entry.1))
}

/// Whether a rule's path covers a module or an item: is equal to it or above it.
fn covers(rule: &str, path: &[String]) -> bool {
    let mut path = path.iter();
    rule.split("::").all(|segment| path.next().is_some_and(|name| name == segment))
}

/// Checks a file apart from its imports: unsafe code, NVML, types, vocabularies.
fn facts(tree: &Crate, violations: &mut BTreeSet<Violation>) {
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, facts) in &tree.facts {
        let module = module_of(file);
        let is_test = tree
            .modules
            .iter()
            .any(|module| module.file == *file && module.path == module_of(file) && module.test);
        let mut add = |rule, line, what: String| {
            violations.insert(Violation { rule, file: file.clone(), line, what });
        };
        if !rules::UNSAFE.iter().any(|allowed| covers(allowed, &module)) {
            for line in &facts.unsafe_lines {
                add(
                    Rule::Unsafe,
                    *line,
                    format!("only {} may contain unsafe code", rules::UNSAFE.join(" and ")),
                );
            }
        }
        if !covers(rules::NVML, &module) {
            for line in &facts.nvml_lines {
                add(Rule::Nvml, *line, format!("only {} may name the NVML wrapper", rules::NVML));
            }
        }
        if is_test {
            continue;
        }
        for (name, line) in &facts.types {
            if let Some(other) = types.insert(name, file) {
                add(
                    Rule::TypeName,
                    *line,
                    format!("type {name} is defined in {other} too: give one another name"),
                );
            }
        }
        for (name, line) in &facts.handwritten_vocabularies {
            if !rules::HANDWRITTEN_VOCABULARIES.iter().any(|(allowed, _)| allowed == name) {
                add(Rule::Vocabulary, *line, format!("declare {name} with runtime::vocabulary::vocabulary!"));
            }
        }
    }
}

fn sizes(files: &[SourceFile], violations: &mut BTreeSet<Violation>) {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines > rules::MAX_LINES {
            let what = format!("{lines} lines, at most {}: split the file", rules::MAX_LINES);
            violations.insert(Violation { rule: Rule::FileSize, file: file.path.clone(), line: lines, what });
        }
        // A file next to a folder of its name is the entry to that folder.
        let has_folder = files.iter().any(|other| is_below(&other.path, &file.path));
        *folders.entry(folder_of(&file.path)).or_default() += usize::from(!has_folder);
    }
    for (folder, files) in folders.into_iter().filter(|(_, files)| *files > rules::MAX_FILES) {
        let what = format!("{files} files, at most {}: make a subfolder", rules::MAX_FILES);
        violations.insert(Violation { rule: Rule::FolderSize, file: folder.into(), line: 0, what });
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a file is in the folder of a module: `a/b/c.rs` is below `a/b.rs`.
fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module.trim_end_matches(".rs")).is_some_and(|rest| rest.starts_with('/'))
}
