//! Import cycles between files. A file imports another if it names an item that the other defines, directly or through
//! re-exports; a parent imports the children that it re-exports, but not the children that it only declares. Unit tests do not
//! count.
//!
//! A call of a method names no path, so a file whose methods are called without naming its types is not seen as imported.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Violation, is_exempt};
use crate::structure::{
    names::{Crate, Target},
    rules::Rule,
};

/// Per file: the files that it imports, each with one name and its line.
pub(in crate::structure) type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (String, usize)>>;

pub(super) fn check(tree: &Crate, exempt: &[(Rule, &str)], violations: &mut BTreeSet<Violation>) {
    let mut graph = graph(tree);
    graph.retain(|file, _| !is_exempt(exempt, Rule::Cycle, file));
    while let Some(cycle) = shortest_cycle(&graph) {
        let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let steps: Vec<_> = steps.map(|(from, to)| format!("{from} -[{}]-> ", graph[from][to].0)).collect();
        let what = format!("import cycle {}{}", steps.concat(), cycle[0]);
        let line = graph[cycle[0]][cycle[1 % cycle.len()]].1;
        violations.insert(Violation { rule: Rule::Cycle, file: cycle[0].to_owned(), line, what });
        // Each group of files that import each other gives one report, however many cycles it contains.
        for file in cycle {
            graph.remove(file);
        }
    }
}

/// The imports of each file, without imports for tests only.
pub(in crate::structure) fn graph(tree: &Crate) -> Graph<'_> {
    let mut graph = Graph::new();
    for (index, module) in tree.modules.iter().enumerate().filter(|(_, module)| !module.test) {
        let edges = graph.entry(module.file.as_str()).or_default();
        let imports = module.imports.iter().filter(|import| !import.test);
        let imports = imports.map(|import| (&import.path, import.line, import.name == "*"));
        let references = module.references.iter().filter(|named| !named.test);
        for (path, line, all) in imports.chain(references.map(|named| (&named.path, named.line, false))) {
            let (target, name) = match tree.resolve(index, path).target {
                Target::Item(target, name) => (target, name),
                Target::Module(target) if all => (target, "*".into()),
                Target::Module(_) | Target::External(_) => continue,
            };
            let target = &tree.modules[target];
            if target.file != module.file {
                let name = [target.path.as_slice(), &[name]].concat().join("::");
                edges.entry(&target.file).or_insert((name, line));
            }
        }
    }
    graph
}

fn shortest_cycle<'a>(graph: &Graph<'a>) -> Option<Vec<&'a str>> {
    graph.keys().filter_map(|file| cycle_through(graph, file)).min_by_key(Vec::len)
}

/// The search is breadth first, so the cycle is the shortest through this file.
fn cycle_through<'a>(graph: &Graph<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for next in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if *next == start {
                let mut cycle = vec![file];
                while let Some(before) = came_from.get(cycle[0]) {
                    cycle.insert(0, before);
                }
                return Some(cycle);
            }
            if !came_from.contains_key(next) && graph.contains_key(next) {
                came_from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
