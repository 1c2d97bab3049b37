//! Manifests: files with one or more documents in YAML or JSON. A document is read into a tree that keeps the order of keys
//! and the text of numbers. The tree is changed, and the difference is written into the original text, so that everything
//! else stays, comments and quotes included.
//!
//! Values are read as kubectl reads them: scalars by YAML 1.1 (`yes` is true, `0777` is octal), aliases and merge keys
//! resolved, keys as strings.

mod document;
mod emit;
mod json;
mod node;
mod output;
mod parse;
mod scalar;
mod splice;
mod stream;

pub(super) use document::Manifest;
pub(super) use emit::yaml;
pub(super) use node::{Entry, Node};
pub(super) use output::{Format, write};
pub(super) use parse::empty_value;

use anyhow::ensure;
use serde::Serialize;

/// Serializes a value as YAML, with the fields in their order.
pub(super) fn to_yaml(value: &(impl Serialize + ?Sized)) -> anyhow::Result<String> {
    // Every JSON text is YAML.
    let json = serde_json::to_string(value)?;
    let documents = parse::documents(&json)?;
    let text: String = documents.iter().map(|document| yaml(&document.root)).collect();
    let read_back = parse::documents(&text)?;
    ensure!(
        read_back.iter().map(|document| &document.root).eq(documents.iter().map(|document| &document.root)),
        "the output cannot be read back; use -o json, and report this error"
    );
    Ok(text)
}

#[cfg(test)]
mod tests;
