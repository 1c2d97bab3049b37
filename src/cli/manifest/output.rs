//! Writes manifests as one stream. The stream is read again before it is written, because it may be sent to a cluster.

use std::slice;

use anyhow::bail;

use super::{
    document::{Document, Manifest},
    emit,
    node::Node,
    parse,
    stream::BYTE_ORDER_MARK,
};

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// Indented JSON
    Json,
    /// YAML
    Yaml,
}

/// The text of all manifests.
#[derive(Debug)]
pub(in crate::cli) struct Output {
    pub(in crate::cli) text: String,
    /// The documents that were rewritten without their comments: index of the manifest, and of the document in it.
    pub(in crate::cli) rewritten: Vec<(usize, usize)>,
}

/// Writes the manifests in `format`, or by default each in its own format. A YAML document that stays YAML keeps its formatting
/// and comments, unless the stream could not be read again.
pub(in crate::cli) fn write(manifests: &[Manifest], format: Option<Format>) -> anyhow::Result<Output> {
    // kubectl cannot read every stream of JSON and YAML. If it cannot read this one, all documents become YAML.
    let attempts: &[fn(&[Manifest]) -> Output] = match format {
        None => {
            &[|manifests| kept(manifests, None), |manifests| kept(manifests, Some(Format::Yaml)), rewritten]
        }
        Some(Format::Yaml) => &[|manifests| kept(manifests, Some(Format::Yaml)), rewritten],
        Some(Format::Json) => &[json],
    };
    let mut written = attempts.iter().map(|attempt| attempt(manifests));
    match written.find(|output| is_read_back(&output.text, manifests)) {
        Some(output) => Ok(output),
        None => {
            bail!("the output cannot be read back, so nothing is written; try -o json, and report this error")
        }
    }
}

/// Whether `text` has the documents of the manifests.
fn is_read_back(text: &str, manifests: &[Manifest]) -> bool {
    let json = |root: &Node| serde_json::to_string(root).ok();
    let expected = documents(manifests).map(|(_, document)| &document.root).filter(|root| !root.is_null());
    parse::documents(text).is_ok_and(|read| {
        let read = read.iter().map(|document| &document.root).filter(|root| !root.is_null());
        read.map(json).eq(expected.map(json))
    })
}

/// All documents, with the indices of manifest and document.
fn documents(manifests: &[Manifest]) -> impl Iterator<Item = ((usize, usize), &Document)> {
    manifests.iter().enumerate().flat_map(|(manifest, of)| {
        of.documents.iter().enumerate().map(move |(index, document)| ((manifest, index), document))
    })
}

/// One JSON value after the other.
fn json(manifests: &[Manifest]) -> Output {
    let roots = documents(manifests).map(|(_, document)| &document.root).filter(|root| !root.is_null());
    Output { text: roots.map(emit::json).collect(), rewritten: vec![] }
}

/// Every document as YAML, without its comments.
fn rewritten(manifests: &[Manifest]) -> Output {
    let (indices, texts): (Vec<_>, Vec<_>) =
        documents(manifests).map(|(index, document)| (index, emit::yaml(&document.root))).unzip();
    Output { text: texts.join("---\n"), rewritten: indices }
}

/// Every document with its formatting and comments.
fn kept(manifests: &[Manifest], format: Option<Format>) -> Output {
    let mut output = Output { text: String::new(), rewritten: vec![] };
    let all_json = format.is_none() && documents(manifests).all(|(_, document)| document.json);
    for (index, manifest) in manifests.iter().enumerate() {
        let (text, rewritten) = match format {
            Some(Format::Yaml) if manifest.has_json() => {
                (self::rewritten(slice::from_ref(manifest)).text, vec![])
            }
            _ => manifest.spliced(),
        };
        output.rewritten.extend(rewritten.into_iter().map(|document| (index, document)));
        append(&mut output.text, &text, all_json);
    }
    output
}

/// Appends a manifest. JSON values need no line between them; kubectl reads no YAML after two JSON values.
fn append(text: &mut String, written: &str, all_json: bool) {
    if text.is_empty() {
        return text.push_str(written);
    }
    // kubectl reads a byte order mark only at the start of a stream or document.
    let written = written.trim_start_matches(BYTE_ORDER_MARK);
    text.push_str(if text.ends_with('\n') { "" } else { "\n" });
    text.push_str(if all_json || written.starts_with("---") { "" } else { "---\n" });
    text.push_str(written);
}
