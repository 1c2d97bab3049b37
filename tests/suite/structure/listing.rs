//! Numbers on the source, for documents: `cargo test --test suite structure::listing -- --ignored --nocapture`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    check::{check, graph},
    names::Crate,
    names::module_of,
    sources,
    syntax::SourceFile,
};

#[test]
#[ignore = "prints, and checks nothing"]
fn listing() {
    let files = sources();
    let tree = Crate::read(&files);
    println!("lines and files by folder:");
    for (folder, (lines, count)) in folders(&files) {
        println!("  {folder:<28} {lines:>6} {count:>4}");
    }
    println!("imports between top-level modules:");
    for (module, imports) in modules(&tree) {
        println!("  {module:<14} {}", imports.into_iter().collect::<Vec<_>>().join(" "));
    }
    println!("violations of the rules, exempt ones included:");
    check(&files, &[]).iter().for_each(|violation| println!("  {violation}"));
    let mut lengths: Vec<_> =
        tree.facts.values().flat_map(|facts| facts.function_lengths.iter().copied()).collect();
    lengths.sort_unstable();
    let at = |part: f64| lengths[((lengths.len() - 1) as f64 * part) as usize];
    println!(
        "lines of {} functions outside of tests: median {}, 90th percentile {}, longest {}",
        lengths.len(),
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

/// Lines and files of each folder, its subfolders included.
fn folders(files: &[SourceFile]) -> BTreeMap<String, (usize, usize)> {
    let mut folders = BTreeMap::new();
    for file in files {
        for (end, _) in file.path.match_indices('/') {
            let (lines, count) = folders.entry(file.path[..end].to_owned()).or_insert((0, 0));
            *lines += file.text.lines().count();
            *count += 1;
        }
    }
    folders
}

fn modules(tree: &Crate) -> BTreeMap<String, BTreeSet<String>> {
    let top = |file: &str| module_of(file).into_iter().next().unwrap_or_else(|| "lib".into());
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, edges) in graph(tree) {
        let imports = modules.entry(top(file)).or_default();
        imports.extend(edges.keys().map(|imported| top(imported)).filter(|imported| *imported != top(file)));
    }
    modules
}
