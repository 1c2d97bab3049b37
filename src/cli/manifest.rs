//! Manifests as people keep them: several documents in a file, YAML or JSON. A document is read into a tree that keeps the
//! order of keys and the spelling of numbers, the tree is changed, and the difference is written into the text, so that
//! everything else stays as it is, comments and quotes included.
//!
//! The reading is kubectl's: YAML 1.1 words (`yes`, `0777`), aliases and merge keys resolved, keys as text.

mod emit;
mod node;
mod parse;
mod scalar;
mod splice;

pub(super) use emit::yaml;
pub(super) use node::{Entry, Node};

use std::{borrow::Cow, ops::Range};

use anyhow::Context;
use serde::Serialize;

/// How documents are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Pretty JSON, one value after the other
    Json,
    /// YAML; a document that is YAML already keeps its spelling and its comments
    Yaml,
}

/// A file of documents.
#[derive(Debug)]
pub(super) struct Manifest {
    /// What errors call it.
    name: String,
    text: String,
    pub(super) documents: Vec<Document>,
}

/// One document of a manifest.
#[derive(Debug)]
pub(super) struct Document {
    /// Its place in the text, with the line that introduces it and comments that follow.
    range: Range<usize>,
    /// As it was read.
    read: Node,
    /// As it shall be.
    pub(super) root: Node,
}

/// Anything as YAML, with its fields in their order.
pub(super) fn to_yaml(value: &(impl Serialize + ?Sized)) -> anyhow::Result<String> {
    // JSON is YAML.
    let documents = parse::documents(&serde_json::to_string(value)?)?;
    Ok(documents.iter().map(|(_, root)| yaml(root)).collect())
}

// === impl Manifest ===

impl Manifest {
    /// Reads all documents of `text`; an error names the file, the document and the line.
    pub(super) fn read(name: &str, text: String) -> anyhow::Result<Self> {
        let documents = parse::documents(&text).with_context(|| name.to_owned())?;
        let documents =
            documents.into_iter().map(|(range, root)| Document { range, read: root.clone(), root }).collect();
        Ok(Self { name: name.to_owned(), text, documents })
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The manifest as it shall be: in its own spelling, or in `format`. With it the documents that had to be spelt anew,
    /// without their comments.
    pub(super) fn write(&self, format: Option<Format>) -> (String, Vec<usize>) {
        let mut anew = vec![];
        let text = match format {
            Some(Format::Json) => self.documents.iter().map(|document| emit::json(&document.root)).collect(),
            Some(Format::Yaml) if self.is_json() => {
                let documents: Vec<_> = self.documents.iter().map(|document| yaml(&document.root)).collect();
                documents.join("---\n")
            }
            _ => self.spliced(&mut anew),
        };
        (text, anew)
    }

    fn is_json(&self) -> bool {
        self.text.trim_start().starts_with(['{', '['])
    }

    fn spliced(&self, anew: &mut Vec<usize>) -> String {
        let head = self.documents.first().map_or(self.text.len(), |document| document.range.start);
        let mut text = self.text[..head].to_owned();
        for (index, document) in self.documents.iter().enumerate() {
            let source = &self.text[document.range.clone()];
            let written = document.spliced(source).unwrap_or_else(|| {
                anew.push(index);
                document.anew(source).into()
            });
            text.push_str(&written);
        }
        text
    }
}

// === impl Document ===

impl Document {
    /// `source` with the changes in it, proven by reading the result. `None` where the text does not allow them, because an
    /// anchor is shared or the spelling is unusual.
    fn spliced<'t>(&self, source: &'t str) -> Option<Cow<'t, str>> {
        if self.root == self.read {
            return Some(source.into());
        }
        let text = splice::splice(source, self.range.start, &self.read, &self.root)?;
        let found = parse::documents(&text).ok()?;
        matches!(&found[..], [(_, root)] if *root == self.root).then(|| text.into())
    }

    fn anew(&self, source: &str) -> String {
        splice::anew(source, self.range.start, &self.read, &self.root)
    }
}

#[cfg(test)]
mod tests;
