//! Writes the difference between two trees into the text of the first tree. Admission only appends keys and items, and
//! `uninject` removes them, so only these changes are implemented; every other change gives `None`.

use std::ops::Range;

use super::{
    emit,
    node::{Entry, Node, NodeValue},
    stream::BYTE_ORDER_MARK,
};

/// `source` with the difference. `at` is the position of `source` in the text that the trees' positions refer to.
pub(super) fn splice(source: &str, at: usize, read: &Node, target: &Node) -> Option<String> {
    let json = is_json(source, at, read);
    // With this newline every line of a block ends in a newline.
    let lacks_newline = !source.ends_with('\n');
    let padded = if lacks_newline { format!("{source}\n") } else { source.to_owned() };
    let mut splicer = Splicer { source: &padded, at, json, newline: newline(source), edits: vec![] };
    splicer.node(read, target)?;
    let mut text = splicer.apply()?;
    text.truncate(text.len() - usize::from(lacks_newline && text.ends_with('\n')));
    Some(text)
}

/// `source` with the document rewritten: comments inside are lost, comments around it stay.
pub(super) fn rewrite(source: &str, at: usize, read: &Node, target: &Node) -> String {
    let span = read.source.as_ref().map_or(at..at + source.len(), |origin| origin.span.clone());
    let (start, end) = (span.start - at, line_end(source, span.end - at));
    let text = if is_json(source, at, read) { emit::json(target) } else { emit::yaml(target) };
    // The first line keeps its indentation, so the other lines get the same indentation.
    let margin = &source[line_start(source, start)..start].trim_start_matches(BYTE_ORDER_MARK);
    let text = text.trim_end_matches('\n').replace('\n', &format!("{}{margin}", newline(source)));
    format!("{}{text}{}", &source[..start], &source[end..])
}

fn newline(source: &str) -> &'static str {
    if source.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Whether a document is JSON, or YAML in the style of JSON.
fn is_json(source: &str, at: usize, read: &Node) -> bool {
    let start = read.source.as_ref().map_or(source.len(), |origin| origin.span.start - at);
    source[start..].strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Start of the line that contains `at`.
fn line_start(source: &str, at: usize) -> usize {
    source[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// End of the line's text. Only a comment can follow `at`.
fn line_end(source: &str, at: usize) -> usize {
    let at = if source[..at].ends_with('\n') { at - 1 } else { at };
    at + source[at..].find(['\r', '\n']).unwrap_or(source.len() - at)
}

/// The part of a line before its comment. A string that contains ` #` is cut too.
fn without_comment(line: &str) -> &str {
    let starts_comment = |at: &usize| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(starts_comment);
    &line[..comment.unwrap_or(line.len())]
}

/// A range of the text, and the text that replaces it.
type Edit = (Range<usize>, String);

struct Splicer<'t> {
    source: &'t str,
    at: usize,
    /// Whether the document is JSON.
    json: bool,
    newline: &'static str,
    edits: Vec<Edit>,
}

/// A key with its value, or an item of a list.
struct SplicePart {
    span: Range<usize>,
    kept: bool,
}

// === impl Splicer ===

impl Splicer<'_> {
    fn node(&mut self, read: &Node, target: &Node) -> Option<()> {
        if read == target {
            return Some(());
        }
        let origin = read.source.as_ref().filter(|origin| !origin.alias)?;
        let (parts, added) = match (&read.value, &target.value) {
            (NodeValue::Map(read), NodeValue::Map(target)) => self.map(read, target, origin.flow)?,
            (NodeValue::List(read), NodeValue::List(target)) => self.list(read, target, origin.flow)?,
            _ => return None,
        };
        // An empty list or map has no lines in a block; the caller rewrites the value of its key.
        if !parts.iter().any(|part| part.kept) {
            return None;
        }
        if origin.flow {
            self.remove_from_flow(&parts)
        } else {
            self.remove_lines(&parts)?
        }
        match (added.is_null_or_empty(), origin.flow) {
            (true, _) => Some(()),
            (false, true) => self.add_to_flow(&parts, &added),
            (false, false) => self.add_lines(&parts, origin.span.end - self.at, &added, read),
        }
    }

    /// The map's keys in the text, and the entries to add.
    fn map(&mut self, read: &[Entry], target: &[Entry], flow: bool) -> Option<(Vec<SplicePart>, Node)> {
        let mut parts = vec![];
        for entry in read {
            let now = target.iter().find(|other| other.key == entry.key);
            if now == Some(entry) && entry.source.is_none() {
                continue;
            }
            let key = self.local(entry.source.as_ref()?);
            let end = self.end(&key, &entry.value)?;
            parts.push(SplicePart { span: key.start..end, kept: now.is_some() });
            if let Some(now) = now.filter(|now| *now != entry) {
                let edits = self.edits.len();
                if self.node(&entry.value, &now.value).is_none() {
                    self.edits.truncate(edits);
                    let old = key.end..end;
                    let edit = match flow {
                        true => self.value_in_flow(old, entry, &now.value)?,
                        false => self.value_in_block(old, entry, &now.value, read)?,
                    };
                    self.edits.push(edit);
                }
            }
        }
        let added = target.iter().filter(|entry| read.iter().all(|other| other.key != entry.key));
        Some((parts, NodeValue::Map(added.cloned().collect()).into()))
    }

    /// The list's items in the text, and the items to add. A shorter list has items removed.
    fn list(&mut self, read: &[Node], target: &[Node], flow: bool) -> Option<(Vec<SplicePart>, Node)> {
        let mut rest = target.iter();
        let shorter = target.len() < read.len();
        let mut parts = vec![];
        for item in read {
            let kept = !shorter || rest.as_slice().first() == Some(item);
            let source = item.source.as_ref()?;
            let span = self.local(&source.span);
            let start = if flow { span.start } else { self.dash(span.start) };
            parts.push(SplicePart { span: start..span.end, kept });
            if let Some(now) = kept.then(|| rest.next()).flatten() {
                self.node(item, now)?;
            }
        }
        Some((parts, NodeValue::List(rest.cloned().collect()).into()))
    }

    fn local(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.at..span.end - self.at
    }

    /// Position of the dash of a block's item, or of the item if there is no dash. Comments can be between the two.
    fn dash(&self, item: usize) -> usize {
        let mut line = item;
        for text in self.source[..item].split_inclusive('\n').rev() {
            line -= text.len();
            let code = without_comment(text).trim_end();
            if !code.is_empty() {
                return if code.ends_with('-') && line + code.len() < item {
                    line + code.len() - 1
                } else {
                    item
                };
            }
        }
        item
    }

    /// End of the value of a key. The position of an absent value is not in the line of its key.
    fn end(&self, key: &Range<usize>, value: &Node) -> Option<usize> {
        match value.spelling() {
            Some(spelling) => Some(key.end + spelling.len()),
            None => Some(self.local(&value.source.as_ref()?.span).end.max(key.end)),
        }
    }

    /// The edit that rewrites the value of a key in brackets. `old` is the text between the key and the end of the value.
    fn value_in_flow(&self, old: Range<usize>, read: &Entry, target: &Node) -> Option<Edit> {
        if let Some(spelling) = target.spelling() {
            return Some((old, spelling.to_owned()));
        }
        let value = self.local(&read.value.source.as_ref()?.span);
        let before = if value.is_empty() { ": " } else { &self.source[old.start..value.start] };
        let margin = self.margin(self.local(read.source.as_ref()?).start);
        let text = format!("{before}{}", self.in_flow(target, margin));
        Some((old, text))
    }

    /// The edit that rewrites the value of a key in a block. A comment after the value stays in the line of the key.
    fn value_in_block(
        &self,
        old: Range<usize>,
        read: &Entry,
        target: &Node,
        siblings: &[Entry],
    ) -> Option<Edit> {
        let end = line_end(self.source, old.end);
        let comment = self.source.get(old.end..end).unwrap_or_default();
        let text = match target.spelling() {
            Some(spelling) => {
                let value = self.local(&read.value.source.as_ref()?.span);
                format!("{spelling}{}{comment}", self.comment_of_key(&old, value.start))
            }
            None => {
                let column = self.column(self.local(read.source.as_ref()?).start);
                let text = self.lines(&emit::after_key(target, column, self.dashes(siblings)));
                let (first, more) = text.split_at(text.find(self.newline).unwrap_or(text.len()));
                format!(":{first}{comment}{more}")
            }
        };
        Some((old.start..end, text))
    }

    /// The comment in the line of a key whose value begins in a later line.
    fn comment_of_key(&self, old: &Range<usize>, value: usize) -> &str {
        let end = line_end(self.source, old.start);
        let line = if end < value { &self.source[old.start..end] } else { "" };
        line.trim_start().strip_prefix(':').unwrap_or_default()
    }

    /// Generated text with the line ends of the document.
    fn lines(&self, text: &str) -> String {
        text.replace('\n', self.newline)
    }

    fn column(&self, at: usize) -> usize {
        self.source[self.line(at)..at].chars().filter(|c| *c != BYTE_ORDER_MARK).count()
    }

    /// Start of the line that contains `at`.
    fn line(&self, at: usize) -> usize {
        line_start(self.source, at)
    }

    /// Start of the line after `at`. The span of a block scalar ends in the indentation of the next line.
    fn next_line(&self, at: usize) -> usize {
        let line = self.line(at);
        if line > 0 && self.source[line..at].trim().is_empty() {
            return line;
        }
        self.source[at..].find('\n').map_or(self.source.len(), |newline| at + newline + 1)
    }

    /// Indentation of list dashes below their key, as in the lists of `siblings`; 2 if there are none.
    fn dashes(&self, siblings: &[Entry]) -> usize {
        let dashes = siblings.iter().find_map(|entry| {
            let item = entry.value.items()?.first()?.source.as_ref()?;
            let flow = entry.value.source.as_ref()?.flow;
            let key = self.column(entry.source.as_ref()?.start - self.at);
            (!flow).then(|| self.column(self.dash(item.span.start - self.at)).saturating_sub(key))
        });
        dashes.unwrap_or(2)
    }

    fn remove_lines(&mut self, parts: &[SplicePart]) -> Option<()> {
        for SplicePart { span, .. } in parts.iter().filter(|part| !part.kept) {
            let (start, end) = (self.line(span.start), self.next_line(span.end));
            if !self.source[start..span.start].trim().is_empty() {
                return None;
            }
            self.edits.push((start..end, String::new()));
        }
        Some(())
    }

    fn add_lines(&mut self, parts: &[SplicePart], end: usize, added: &Node, read: &Node) -> Option<()> {
        let column = self.column(parts.first()?.span.start);
        let dashes = self.dashes(read.entries().unwrap_or_default());
        let at = self.next_line(end);
        self.edits.push((at..at, self.lines(&emit::block(added, column, dashes))));
        Some(())
    }

    fn remove_from_flow(&mut self, parts: &[SplicePart]) {
        let first_kept = parts.iter().position(|part| part.kept).unwrap_or_default();
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| !part.kept) {
            let span = match index < first_kept {
                true => part.span.start..parts[index + 1].span.start,
                false => parts[index - 1].span.end..part.span.end,
            };
            self.edits.push((span, String::new()));
        }
    }

    fn add_to_flow(&mut self, parts: &[SplicePart], added: &Node) -> Option<()> {
        let last = &parts.last()?.span;
        let margin = self.margin(last.start);
        let separator = margin.map_or_else(|| ", ".to_owned(), |margin| format!(",{}{margin}", self.newline));
        let entry = |Entry { key, value, .. }: &Entry| {
            format!("{separator}{}: {}", emit::flow_key(key, self.json), self.in_flow(value, margin))
        };
        let text = match &added.value {
            NodeValue::Map(entries) => entries.iter().map(entry).collect(),
            NodeValue::List(items) => {
                items.iter().map(|item| format!("{separator}{}", self.in_flow(item, margin))).collect()
            }
            _ => return None,
        };
        self.edits.push((last.end..last.end, text));
        Some(())
    }

    /// The indentation before `at`, if `at` is the first text of a line other than the first line.
    fn margin(&self, at: usize) -> Option<&str> {
        let margin = &self.source[self.line(at)..at];
        (margin.trim().is_empty() && self.line(at) > 0).then_some(margin)
    }

    /// Flow style. JSON at the start of a line is written on several lines.
    fn in_flow(&self, node: &Node, margin: Option<&str>) -> String {
        match margin.filter(|_| self.json) {
            Some(margin) => self.lines(&emit::json(node).trim_end().replace('\n', &format!("\n{margin}"))),
            None => emit::flow(node, self.json),
        }
    }

    fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let (mut text, mut done) = (String::with_capacity(self.source.len()), 0);
        for (span, new) in self.edits {
            text.push_str(self.source.get(done..span.start)?);
            text.push_str(&new);
            done = span.end;
        }
        text.push_str(&self.source[done..]);
        Some(text)
    }
}
