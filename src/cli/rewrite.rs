//! Changes the pods of manifests, writes the manifests and reports each object. `inject` and `uninject` use it.

use super::{
    manifest::{Format, Manifest, Node},
    streams::Streams,
    workload::{self, ManifestObject},
};

/// The option that sets the output format.
#[derive(Debug, clap::Args)]
pub(super) struct FormatOption {
    /// Output format. Default: each manifest keeps its own. YAML that stays YAML keeps its formatting and comments
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How a pod was changed, for the report.
#[derive(Debug)]
pub(super) struct PodChange {
    pub(super) outcome: String,
    pub(super) notices: Vec<String>,
}

/// Changes every pod of the manifests and writes the manifests to standard output. Writes one line for each object, and one
/// for each notice, to standard error.
pub(super) fn every_pod(
    mut manifests: Vec<Manifest>,
    format: &FormatOption,
    streams: &mut Streams<'_>,
    change: impl Fn(&mut Node, &ManifestObject) -> PodChange,
) -> anyhow::Result<()> {
    let format = format.output;
    let several = manifests.len() > 1;
    let (mut text, mut report) = (String::new(), String::new());
    for manifest in &mut manifests {
        let prefix = if several { format!("{}: ", manifest.name()) } else { String::new() };
        for document in &mut manifest.documents {
            for object in &workload::objects(&document.root) {
                let pod = object.pod.as_ref().and_then(|path| document.root.at_mut(path));
                let PodChange { outcome, notices } = match pod {
                    Some(pod) => change(pod, object),
                    None => PodChange { outcome: "not a pod".to_owned(), notices: vec![] },
                };
                report += &format!("{prefix}{}: {outcome}\n", object.label);
                report.extend(notices.iter().map(|notice| format!("{prefix}{}: {notice}\n", object.label)));
            }
        }
        let (written, rewritten) = manifest.write(format);
        for index in rewritten {
            report += &format!(
                "{prefix}document {}: rewritten without its comments, because parts of it are shared by anchors\n",
                index + 1
            );
        }
        append(&mut text, &written, format);
    }
    streams.stderr.write_all(report.as_bytes())?;
    Ok(streams.stdout.write_all(text.as_bytes())?)
}

/// Appends a manifest, with a line between YAML documents.
fn append(text: &mut String, written: &str, format: Option<Format>) {
    if !text.is_empty() && format != Some(Format::Json) {
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        text.push_str(newline);
        text.push_str(if written.starts_with("---") { "" } else { "---\n" });
    }
    text.push_str(written);
}
