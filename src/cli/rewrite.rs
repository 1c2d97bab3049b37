//! Changes the pods of manifests, writes the manifests and reports each object. `inject` and `uninject` use it.

use anyhow::{anyhow, ensure};

use super::{
    manifest::{self, Format, Manifest, Node},
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
/// for each notice, to standard error. `unknown_kind` is the remedy for a pod template in an object of an unknown kind.
pub(super) fn every_pod(
    mut manifests: Vec<Manifest>,
    format: &FormatOption,
    streams: &mut Streams<'_>,
    unknown_kind: &str,
    change: impl Fn(&mut Node, &ManifestObject) -> PodChange,
) -> anyhow::Result<()> {
    let is_empty = |manifest: &Manifest| manifest.documents.iter().all(|document| document.root.is_null());
    ensure!(!manifests.iter().all(is_empty), "the files contain no object");
    let mut reports = vec![];
    for manifest in &mut manifests {
        let mut report = vec![];
        for index in 0..manifest.documents.len() {
            for object in &workload::objects(&manifest.documents[index].root) {
                let root = &mut manifest.documents[index].root;
                let changed = change_object(root, object, unknown_kind, &change);
                let PodChange { outcome, notices } = changed.map_err(|field| {
                    anyhow!("{}, {}: {field}", manifest.place(index, field.path()), object.label)
                })?;
                report
                    .extend([outcome].iter().chain(&notices).map(|line| format!("{}: {line}", object.label)));
            }
        }
        reports.push(report);
    }
    let output = manifest::write(&manifests, format.output)?;
    for (manifest, document) in output.rewritten {
        reports[manifest].push(format!("document {}: {REWRITTEN}", document + 1));
    }
    for (manifest, report) in manifests.iter().zip(reports) {
        let prefix = if manifests.len() > 1 { format!("{}: ", manifest.name()) } else { String::new() };
        for line in report {
            writeln!(streams.stderr, "{prefix}{line}")?;
        }
    }
    Ok(streams.stdout.write_all(output.text.as_bytes())?)
}

const REWRITTEN: &str = "rewritten without its comments, because its formatting does not allow the change";

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
