//! Changes the pods of manifests, writes the manifests and reports each object. `inject` and `uninject` use it.

use anyhow::{anyhow, ensure};

use super::{
    manifest::{Format, Manifest, Node},
    streams::Streams,
    workload::{self, ManifestObject, PodPaths},
};
use crate::admission::{UnreadableField, field_path};

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
/// for each notice, to standard error. `unknown_kind` says what to do about a pod template in an object of an unknown kind.
pub(super) fn every_pod(
    mut manifests: Vec<Manifest>,
    format: &FormatOption,
    streams: &mut Streams<'_>,
    unknown_kind: &str,
    change: impl Fn(&mut Node, &ManifestObject) -> PodChange,
) -> anyhow::Result<()> {
    let format = format.output;
    let several = manifests.len() > 1;
    let is_empty = |manifest: &Manifest| manifest.documents.iter().all(|document| document.root.is_null());
    ensure!(!manifests.iter().all(is_empty), "the files contain no object");
    let (mut text, mut report) = (String::new(), String::new());
    for manifest in &mut manifests {
        let name = manifest.name().to_owned();
        let prefix = if several { format!("{name}: ") } else { String::new() };
        for (index, document) in manifest.documents.iter_mut().enumerate() {
            for object in &workload::objects(&document.root) {
                let changed = change_object(&mut document.root, object, unknown_kind, &change);
                let PodChange { outcome, notices } = changed
                    .map_err(|field| anyhow!("{name}: document {}, {}: {field}", index + 1, object.label))?;
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

/// Maximum number of pod templates of an object that the report names.
const MAX_TEMPLATES: usize = 4;

fn change_object(
    root: &mut Node,
    object: &ManifestObject,
    unknown_kind: &str,
    change: impl Fn(&mut Node, &ManifestObject) -> PodChange,
) -> Result<PodChange, UnreadableField> {
    let outcome = match &object.pods {
        PodPaths::OfKind(path) => return Ok(change(object.readable(root, path)?, object)),
        PodPaths::OfUnknownKind(templates) if templates.is_empty() => "not a pod".to_owned(),
        PodPaths::OfUnknownKind(templates) => {
            let mut shown: Vec<_> =
                templates.iter().take(MAX_TEMPLATES).map(|path| field_path(path)).collect();
            shown.extend((templates.len() > MAX_TEMPLATES).then(|| "...".to_owned()));
            format!("not changed: unknown kind (pod template: {}){unknown_kind}", shown.join(", "))
        }
    };
    Ok(PodChange { outcome, notices: vec![] })
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
