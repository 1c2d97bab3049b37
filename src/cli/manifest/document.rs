//! A file with its documents, and the text of a file with the changes.

use std::{borrow::Cow, ops::Range};

use anyhow::Context;

use super::{
    node::Node,
    parse::{self, ParsedDocument},
    splice, stream,
};

/// A file with its documents.
#[derive(Debug)]
pub(in crate::cli) struct Manifest {
    /// File name for errors.
    name: String,
    text: String,
    pub(in crate::cli) documents: Vec<Document>,
}

/// Document of a manifest.
#[derive(Debug)]
pub(in crate::cli) struct Document {
    /// Range in the text, with the `---` line before the document and the comments after it.
    range: Range<usize>,
    pub(super) json: bool,
    /// The tree as it was read.
    read: Node,
    /// The tree to write.
    pub(in crate::cli) root: Node,
}

// === impl Manifest ===

impl Manifest {
    /// Reads all documents of `text`; an error names the file, the document and the line.
    pub(in crate::cli) fn read(name: &str, text: String) -> anyhow::Result<Self> {
        let documents = parse::documents(&text).with_context(|| name.to_owned())?;
        let document =
            |ParsedDocument { range, json, root }| Document { range, json, read: root.clone(), root };
        let documents = documents.into_iter().map(document).collect();
        Ok(Self { name: name.to_owned(), text, documents })
    }

    /// File name for errors.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.name
    }

    /// File, document and line of a field, for errors. A missing field has the line of its parent.
    pub(in crate::cli) fn place(&self, index: usize, field: &[String]) -> String {
        let document = &self.documents[index];
        let at = document
            .read
            .position(field)
            .or_else(|| document.read.source.as_ref().map(|origin| origin.span.start));
        let (line, _) = stream::line_and_column(&self.text, at.unwrap_or(document.range.start));
        format!("{}: document {}, line {line}", self.name, index + 1)
    }

    /// Whether a document is JSON.
    pub(super) fn has_json(&self) -> bool {
        self.documents.iter().any(|document| document.json)
    }

    /// Returns the text with the changes. Also returns the indices of the documents that were rewritten without their comments.
    pub(super) fn spliced(&self) -> (String, Vec<usize>) {
        let head = self.documents.first().map_or(self.text.len(), |document| document.range.start);
        let (mut text, mut rewritten) = (self.text[..head].to_owned(), vec![]);
        for (index, document) in self.documents.iter().enumerate() {
            let source = &self.text[document.range.clone()];
            let written = document.spliced(source).unwrap_or_else(|| {
                rewritten.push(index);
                splice::rewrite(source, document.range.start, &document.read, &document.root).into()
            });
            text.push_str(&written);
        }
        (text, rewritten)
    }
}

// === impl Document ===

impl Document {
    /// `source` with the changes. To check the result, it is parsed again and compared with the tree. Returns `None` if a shared
    /// anchor or unusual formatting prevents the changes.
    fn spliced<'t>(&self, source: &'t str) -> Option<Cow<'t, str>> {
        if self.root == self.read {
            return Some(source.into());
        }
        let text = splice::splice(source, self.range.start, &self.read, &self.root)?;
        let parsed = parse::documents(&text).ok()?;
        matches!(&parsed[..], [document] if document.root == self.root).then(|| text.into())
    }
}
