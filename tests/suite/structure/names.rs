//! The crate as a tree of modules, and the targets of the paths in it.

use std::collections::BTreeMap;

use super::syntax::{self, EXTERNAL, FileFacts, Module, SourceFile};

/// All modules of the crate.
#[derive(Debug)]
pub(super) struct Crate {
    pub modules: Vec<Module>,
    pub facts: BTreeMap<String, FileFacts>,
    index: BTreeMap<Vec<String>, usize>,
}

/// Target of a path.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A module of the crate.
    Module(usize),
    /// An item of the crate, in the module that defines it.
    Item(usize, String),
    /// Something of another crate, by its full path.
    External(Vec<String>),
}

/// Target of a path, and the names in the crate that lead to it: as written, of each re-export, of the definition.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub target: Target,
    pub names: Vec<Vec<String>>,
}

/// Longest chain of re-exports that is followed; a longer one leads back to itself.
const MAX_DEPTH: usize = 24;

/// Name of the library in the sources of the programs.
const LIBRARY: &str = "vdi_metrics";

/// Path of a file's module: `src/a/b.rs` is `a::b`. Each program of `src/bin` is a module `bin::name`.
pub(super) fn module_of(path: &str) -> Vec<String> {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if module == "lib" { vec![] } else { module.split('/').map(str::to_owned).collect() }
}

impl Crate {
    pub(super) fn read(files: &[SourceFile]) -> Self {
        let (mut modules, mut facts) = (vec![], BTreeMap::new());
        for file in files.iter().filter(|file| file.path.starts_with("src/")) {
            let (read, fact) = syntax::read(file, module_of(&file.path));
            modules.extend(read);
            facts.insert(file.path.clone(), fact);
        }
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        let index = modules.iter().enumerate().map(|(index, module)| (module.path.clone(), index)).collect();
        let mut tree = Self { modules, facts, index };
        tree.mark_test_files();
        tree
    }

    /// A file that is declared as `#[cfg(test)] mod name;` is for tests with all that is below it.
    fn mark_test_files(&mut self) {
        for index in 0..self.modules.len() {
            let (name, parent) = match self.modules[index].path.split_last() {
                Some((name, parent)) => (name, self.index.get(parent)),
                None => continue,
            };
            // Parents sort before their children.
            let test = parent.is_some_and(|parent| {
                let parent = &self.modules[*parent];
                parent.test || parent.children.get(name) == Some(&true)
            });
            self.modules[index].test |= test;
        }
    }

    /// Resolves `path` in module `from`.
    pub(super) fn resolve(&self, from: usize, path: &[String]) -> Resolved {
        self.follow(from, path, MAX_DEPTH)
    }

    fn follow(&self, from: usize, path: &[String], depth: usize) -> Resolved {
        let external = || Resolved { target: Target::External(path.to_vec()), names: vec![] };
        let (first, rest) = path.split_first().expect("paths have a segment");
        let root = |path: &[String]| self.index.get(path).copied();
        let is_program = self.modules[from].path.first().is_some_and(|first| first == "bin");
        let start = match first.as_str() {
            EXTERNAL => return Resolved { target: Target::External(rest.to_vec()), names: vec![] },
            "crate" if is_program => root(&self.modules[from].path[..2]),
            "crate" => root(&[]),
            LIBRARY if is_program => root(&[]),
            "self" => Some(from),
            "super" => self.parent(from),
            _ => return self.walk(from, from, path, depth).unwrap_or_else(external),
        };
        let Some(start) = start else { return external() };
        self.walk(from, start, rest, depth).unwrap_or_else(external)
    }

    /// Goes from module `at` along the segments. None if the first segment is not a
    /// name in module `from`, which contains the path.
    fn walk(&self, from: usize, mut at: usize, path: &[String], depth: usize) -> Option<Resolved> {
        let mut names = vec![];
        let mut segments = path.iter().enumerate();
        while let Some((position, name)) = segments.next() {
            match name.as_str() {
                "super" => at = self.parent(at)?,
                "self" => {}
                _ => {
                    let is_last = position + 1 == path.len();
                    let Some(meaning) = self.lookup(at, name, is_last, depth) else {
                        // In the module of another file, a macro must define such a name.
                        let full = self.full(at, name);
                        let target = Target::Item(at, name.clone());
                        return (at != from)
                            .then(|| Resolved { target, names: [names, vec![full]].concat() });
                    };
                    names.extend(meaning.names);
                    match meaning.target {
                        Target::Module(module) => at = module,
                        Target::Item(..) => return Some(Resolved { target: meaning.target, names }),
                        Target::External(start) => {
                            let path =
                                start.into_iter().chain(segments.map(|(_, name)| name.clone())).collect();
                            return Some(Resolved { target: Target::External(path), names });
                        }
                    }
                }
            }
        }
        names.push(self.modules[at].path.clone());
        Some(Resolved { target: Target::Module(at), names })
    }

    /// Meaning of a name in a module. A module, a value and a macro can have the same name: more segments need the module.
    fn lookup(&self, at: usize, name: &str, is_last: bool, depth: usize) -> Option<Resolved> {
        let depth = depth.checked_sub(1)?;
        let module = &self.modules[at];
        let child = || {
            let path = self.full(at, name);
            let index = *self.index.get(&path)?;
            Some(Resolved { target: Target::Module(index), names: vec![path] })
        };
        let item = || {
            let target = Target::Item(at, name.to_owned());
            module.items.contains(name).then(|| Resolved { target, names: vec![self.full(at, name)] })
        };
        let imported = || self.imported(at, name, depth);
        if is_last {
            item().or_else(child).or_else(imported)
        } else {
            child().or_else(imported).or_else(item)
        }
    }

    fn imported(&self, at: usize, name: &str, depth: usize) -> Option<Resolved> {
        let imports = &self.modules[at].imports;
        if let Some(import) = imports.iter().find(|import| import.name == name) {
            // `use serde;` and the like: the name means the crate.
            if import.path.len() == 1 && import.path[0] == name {
                return Some(Resolved { target: Target::External(import.path.clone()), names: vec![] });
            }
            let mut resolved = self.follow(at, &import.path, depth);
            if !matches!(resolved.target, Target::External(_)) {
                resolved.names.insert(0, self.full(at, name));
            }
            return Some(resolved);
        }
        imports.iter().filter(|import| import.name == "*").find_map(|import| {
            let Target::Module(module) = self.follow(at, &import.path, depth).target else { return None };
            if module == at { None } else { self.lookup(module, name, true, depth) }
        })
    }

    fn parent(&self, module: usize) -> Option<usize> {
        let (_, parent) = self.modules[module].path.split_last()?;
        self.index.get(parent).copied()
    }

    fn full(&self, module: usize, name: &str) -> Vec<String> {
        [self.modules[module].path.as_slice(), &[name.to_owned()]].concat()
    }
}
