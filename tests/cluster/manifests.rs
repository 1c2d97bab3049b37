//! The command line reads manifests as kubectl does: the same documents, values and keys. `testbed/manifests` is kubectl's
//! own reader. The test needs the test bed and no cluster.

mod snippets;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Error, Result, ensure};
use kit::cluster::Assets;
use serde_json::{Value, json};
use vdi_metrics::cli;

use self::snippets::{DIFFERENCES, snippets};
use crate::support::common::root;

pub(crate) const NAME: &str = "manifests::every_input_is_read_as_kubectl_reads_it";

/// The manifests of these folders are inputs too.
const FOLDERS: [&str; 3] = ["tests/cli", "tests/pods", "manifests"];

pub(crate) fn test() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut names = BTreeMap::new();
    for (index, (name, content)) in snippets().into_iter().enumerate() {
        let path = temporary.path().join(format!("{index:04}.yaml"));
        fs::write(&path, content)?;
        names.insert(path, name);
    }
    ensure!(names.len() > 200, "only {} snippets", names.len());
    for folder in FOLDERS {
        for path in manifests(&root().join(folder))? {
            let name = path.strip_prefix(root())?.display().to_string();
            names.insert(path, name);
        }
    }
    let read_by_kubectl = read_by_kubectl(names.keys())?;
    ensure!(read_by_kubectl.len() == names.len(), "{} of {} inputs", read_by_kubectl.len(), names.len());
    let mut wrong = vec![];
    for ((path, name), kubectl) in names.iter().zip(read_by_kubectl) {
        let ours = cli::documents(fs::read(path)?);
        let difference = difference(&kubectl, &ours);
        let expected =
            DIFFERENCES.iter().find(|(input, ..)| input == name).map(|(_, difference, _)| *difference);
        if difference != expected {
            wrong.push(format!(
                "{name:?}: {difference:?}, expected {expected:?}\n  kubectl {kubectl}\n  ours    {ours:?}"
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} inputs are read differently:\n{}", wrong.len(), wrong.join("\n"));
    let unknown: Vec<_> = DIFFERENCES
        .iter()
        .map(|(input, ..)| input)
        .filter(|input| !names.values().any(|name| name == *input))
        .collect();
    ensure!(unknown.is_empty(), "differences without an input: {unknown:?}");
    Ok(())
}

/// How an input is read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Only the command line rejects the input.
    Rejected,
    /// Only kubectl rejects the input.
    Accepted,
    /// Both read it, with another result.
    Value,
}

fn difference(kubectl: &Value, ours: &Result<Vec<Value>>) -> Option<Difference> {
    match (kubectl.get("error"), ours) {
        (Some(_), Err(_)) => None,
        (Some(_), Ok(_)) => Some(Difference::Accepted),
        (None, Err(_)) => Some(Difference::Rejected),
        (None, Ok(documents)) => (kubectl["documents"] != json!(documents)).then_some(Difference::Value),
    }
}

/// What kubectl reads from each file, in their order.
fn read_by_kubectl<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Result<Vec<Value>> {
    let reader = Assets::find()?.map_err(Error::msg)?.binary("kubectl-reader");
    let output = Command::new(reader).args(paths).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read).collect()
}

fn read(line: &[u8]) -> Result<Value> {
    serde_json::from_slice(line).with_context(|| String::from_utf8_lossy(line).into_owned())
}

/// The YAML and JSON files in a folder and its subfolders.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            paths.extend(manifests(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "json") {
            paths.push(path);
        }
    }
    Ok(paths)
}
