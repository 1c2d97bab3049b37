//! Splits a text into documents as kubectl does: JSON values one after the other, or YAML between lines that begin with `---`.

use std::{mem, ops::Range};

use anyhow::{anyhow, ensure};
use serde::de::IgnoredAny;

/// A document before it is parsed.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Range in the text, with the `---` line before the document and the comments after it.
    pub(super) range: Range<usize>,
    /// Start of the document's first line.
    pub(super) body: usize,
    /// Whether the document is JSON.
    pub(super) json: bool,
}

pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The documents of a text. If there are only comments between two lines `---`, they are not a document.
pub(super) fn split(text: &str) -> anyhow::Result<Vec<Chunk>> {
    let start = text.len() - text.trim_start_matches(BYTE_ORDER_MARK).len();
    let mut chunks = json(text, start)?;
    let rest = chunks.last().map_or(start, |last| last.range.end);
    if chunks.is_empty() || !text[rest..].trim().is_empty() {
        yaml(text, rest, &mut chunks)?;
    }
    Ok(chunks)
}

/// The JSON values at the start of the text. After one value the rest may be YAML. After two values the rest must be JSON.
fn json(text: &str, start: usize) -> anyhow::Result<Vec<Chunk>> {
    let mut chunks = vec![];
    if !text[start..].trim_start().starts_with('{') {
        return Ok(chunks);
    }
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
    let mut at = start;
    while let Some(value) = values.next() {
        match value {
            Ok(_) => {
                let end = start + values.byte_offset();
                let body = end - text[at..end].trim_start().len();
                chunks.push(Chunk { range: at..end, body, json: true });
                at = end;
            }
            Err(_) if chunks.len() < 2 => break,
            Err(error) => {
                let body = text.len() - text[at..].trim_start().len();
                let why = format!("not valid JSON: {error}; after two JSON documents kubectl reads no YAML");
                return Err(error_at(text, chunks.len() + 1, body, &why));
            }
        }
    }
    Ok(chunks)
}

fn yaml(text: &str, start: usize, chunks: &mut Vec<Chunk>) -> anyhow::Result<()> {
    // As in kubectl, the rest of the line after a JSON value is skipped.
    let blank = text[start..].len() - text[start..].trim_start().len();
    let body = text[start..start + blank].find('\n').map_or(start, |newline| start + newline + 1);
    let body = if chunks.is_empty() { start } else { body };
    let mut chunk = Chunk { range: start..body, body, json: false };
    for line in text[body..].split_inclusive('\n') {
        let at = chunk.range.end;
        if let Some(rest) = line.strip_prefix("---") {
            let next = Chunk { range: at..at, body: at + line.len(), json: false };
            chunks.extend(Some(mem::replace(&mut chunk, next)).filter(|chunk| has_value(text, chunk)));
            let rest = rest.trim();
            ensure!(
                rest.is_empty() || rest.starts_with('#'),
                error_at(
                    text,
                    chunks.len() + 1,
                    at,
                    "kubectl rejects text after ---; write it on the next line"
                )
            );
        }
        chunk.range.end = at + line.len();
    }
    chunks.extend(Some(chunk).filter(|chunk| has_value(text, chunk)));
    Ok(())
}

/// Whether the document has more than comments. Some readers end a comment at a line separator.
fn has_value(text: &str, chunk: &Chunk) -> bool {
    text[chunk.body..chunk.range.end].lines().any(|line| {
        let content = line.trim_start_matches(BYTE_ORDER_MARK).trim();
        !content.is_empty() && !content.starts_with('#') || line.contains(is_line_separator)
    })
}

/// Whether YAML 1.1 ends a line at this character, and YAML 1.2 does not.
pub(super) fn is_line_separator(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// An error with its position.
pub(super) fn error_at(text: &str, document: usize, at: usize, why: &str) -> anyhow::Error {
    let (line, column) = line_and_column(text, at);
    anyhow!("document {document}, line {line}, column {column}: {why}")
}

/// Line and column of a position, from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (before.matches('\n').count() + 1, column)
}
