//! Manifests: files with one or more documents in YAML or JSON. A document is read into a tree that keeps the order of keys
//! and the text of numbers. The tree is changed, and the difference is written into the original text, so that everything
//! else stays, comments and quotes included.
//!
//! Values are read as kubectl reads them: scalars by YAML 1.1 (`yes` is true, `0777` is octal), aliases and merge keys
//! resolved, keys as strings.

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

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Indented JSON
    Json,
    /// YAML
    Yaml,
}

/// A file with its documents.
#[derive(Debug)]
pub(super) struct Manifest {
    /// File name for errors.
    name: String,
    text: String,
    pub(super) documents: Vec<Document>,
}

/// Document of a manifest.
#[derive(Debug)]
pub(super) struct Document {
    /// Range in the text, with the `---` line before the document and the comments after it.
    range: Range<usize>,
    /// The tree as it was read.
    read: Node,
    /// The tree to write.
    pub(super) root: Node,
}

/// Serializes a value as YAML, with the fields in their order.
pub(super) fn to_yaml(value: &(impl Serialize + ?Sized)) -> anyhow::Result<String> {
    // Every JSON text is YAML.
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

    /// File name for errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The manifest's new text in `format`, or by default in its own format. JSON is one value after the other. A YAML
    /// document that stays YAML keeps its formatting and comments. Also returns the indices of the documents that were
    /// rewritten without their comments.
    pub(super) fn write(&self, format: Option<Format>) -> (String, Vec<usize>) {
        let mut rewritten = vec![];
        let text = match format {
            Some(Format::Json) => self.documents.iter().map(|document| emit::json(&document.root)).collect(),
            Some(Format::Yaml) if self.is_json() => {
                let documents: Vec<_> = self.documents.iter().map(|document| yaml(&document.root)).collect();
                documents.join("---\n")
            }
            _ => self.spliced(&mut rewritten),
        };
        (text, rewritten)
    }

    fn is_json(&self) -> bool {
        self.text.trim_start().starts_with(['{', '['])
    }

    fn spliced(&self, rewritten: &mut Vec<usize>) -> String {
        let head = self.documents.first().map_or(self.text.len(), |document| document.range.start);
        let mut text = self.text[..head].to_owned();
        for (index, document) in self.documents.iter().enumerate() {
            let source = &self.text[document.range.clone()];
            let written = document.spliced(source).unwrap_or_else(|| {
                rewritten.push(index);
                document.rewritten(source).into()
            });
            text.push_str(&written);
        }
        text
    }
}

// === impl Document ===

impl Document {
    /// `source` with the changes. To check the result, it is parsed again and compared with the tree. `None` if the text does
    /// not allow the changes, because of a shared anchor or unusual formatting.
    fn spliced<'t>(&self, source: &'t str) -> Option<Cow<'t, str>> {
        if self.root == self.read {
            return Some(source.into());
        }
        let text = splice::splice(source, self.range.start, &self.read, &self.root)?;
        let parsed = parse::documents(&text).ok()?;
        matches!(&parsed[..], [(_, root)] if *root == self.root).then(|| text.into())
    }

    fn rewritten(&self, source: &str) -> String {
        splice::rewrite(source, self.range.start, &self.read, &self.root)
    }
}

#[cfg(test)]
mod tests;
