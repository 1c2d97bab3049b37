//! What `inject` and `uninject` have in common: manifests in, the pods in them changed, manifests out, and a report.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{
    Streams,
    manifest::{Format, Manifest, Node},
    workload::{self, Object},
};

/// The manifests to read.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// Manifests, YAML or JSON, with any number of documents; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// How to write them.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Write the manifests as JSON or YAML; without it as they are written already
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What was done with a pod.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) outcome: String,
    pub(super) notices: Vec<String>,
}

/// Changes every pod in the manifests and writes them, with a line about each object to standard error.
pub(super) fn every_pod(
    mut manifests: Vec<Manifest>,
    output: &Output,
    streams: &mut Streams<'_>,
    change: impl Fn(&mut Node, &Object) -> Change,
) -> anyhow::Result<()> {
    let several = manifests.len() > 1;
    let (mut text, mut report) = (String::new(), String::new());
    for manifest in &mut manifests {
        let prefix = if several { format!("{}: ", manifest.name()) } else { String::new() };
        for document in &mut manifest.documents {
            for object in &workload::objects(&document.root) {
                let pod = object.pod.as_ref().and_then(|path| document.root.at_mut(path));
                let Change { outcome, notices } = match pod {
                    Some(pod) => change(pod, object),
                    None => Change { outcome: "not a pod".to_owned(), notices: vec![] },
                };
                report += &format!("{prefix}{}: {outcome}\n", object.label);
                report.extend(notices.iter().map(|notice| format!("{prefix}{}: {notice}\n", object.label)));
            }
        }
        let (written, anew) = manifest.write(output.output);
        for index in anew {
            report += &format!(
                "{prefix}document {}: written anew, without comments, because parts of it are shared\n",
                index + 1
            );
        }
        join(&mut text, &written, output.output);
    }
    streams.stderr.write_all(report.as_bytes())?;
    Ok(streams.stdout.write_all(text.as_bytes())?)
}

/// Puts a manifest behind the others, with what separates documents.
fn join(text: &mut String, written: &str, format: Option<Format>) {
    if !text.is_empty() && format != Some(Format::Json) {
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        text.push_str(newline);
        text.push_str(if written.starts_with("---") { "" } else { "---\n" });
    }
    text.push_str(written);
}

// === impl Files ===

impl Files {
    /// Reads all of them, or none.
    pub(super) fn read(&self, stdin: &mut dyn Read) -> anyhow::Result<Vec<Manifest>> {
        self.files.iter().map(|path| read(path, stdin)).collect()
    }
}

fn read(path: &Path, stdin: &mut dyn Read) -> anyhow::Result<Manifest> {
    let (name, bytes) = match path.to_str() {
        Some("-") => {
            let mut bytes = vec![];
            ("standard input".to_owned(), stdin.read_to_end(&mut bytes).map(|_| bytes))
        }
        _ => (path.display().to_string(), fs::read(path)),
    };
    let bytes = bytes.map_err(|error| unreadable(&error)).with_context(|| name.clone())?;
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{name}: not UTF-8; save it as UTF-8 without a byte order mark")
    };
    Manifest::read(&name, text)
}

fn unreadable(error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot be read: {error}")
}
