//! Writes the difference between two trees into the text of the first tree. Admission only appends keys and items, and
//! `uninject` removes them, so only these changes are implemented; every other change gives `None`.

use std::ops::Range;

use super::{
    emit,
    node::{Entry, Node, NodeValue},
};

/// `source` with the difference. `at` is the position of `source` in the text that the trees' positions refer to.
pub(super) fn splice(source: &str, at: usize, read: &Node, target: &Node) -> Option<String> {
    let json = source[read.source.as_ref()?.span.start - at..]
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_start().starts_with('"'));
    // With this newline every line of a block ends in a newline.
    let lacks_newline = !source.ends_with('\n');
    let padded = if lacks_newline { format!("{source}\n") } else { source.to_owned() };
    let mut splicer = Splicer { source: &padded, at, json, edits: vec![] };
    splicer.node(read, target)?;
    let mut text = splicer.apply()?;
    text.truncate(text.len() - usize::from(lacks_newline && text.ends_with('\n')));
    Some(text)
}

/// `source` with the document rewritten: comments inside are lost, comments around it stay.
pub(super) fn rewrite(source: &str, at: usize, read: &Node, target: &Node) -> String {
    let span = read.source.as_ref().map_or(at..at + source.len(), |origin| origin.span.clone());
    let (start, end) = (span.start - at, line_end(source, span.end - at));
    let (head, tail) = (&source[..start], &source[end..]);
    let begin = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    format!("{head}{begin}{}{tail}", emit::yaml(target).trim_end_matches('\n'))
}

/// End of the line's text. Only a comment can follow `at`.
fn line_end(source: &str, at: usize) -> usize {
    let at = if source[..at].ends_with('\n') { at - 1 } else { at };
    at + source[at..].find(['\r', '\n']).unwrap_or(source.len() - at)
}

struct Splicer<'t> {
    source: &'t str,
    at: usize,
    /// Whether the document is JSON.
    json: bool,
    edits: Vec<(Range<usize>, String)>,
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
            (NodeValue::List(read), NodeValue::List(target)) => self.list(read, target)?,
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
            let value = self.local(&entry.value.source.as_ref()?.span);
            parts.push(SplicePart { span: key.start..value.end.max(key.end), kept: now.is_some() });
            if let Some(now) = now.filter(|now| *now != entry) {
                let edits = self.edits.len();
                if self.node(&entry.value, &now.value).is_none() {
                    self.edits.truncate(edits);
                    self.rewrite_value(read, &key, &value, &now.value, flow)?;
                }
            }
        }
        let added = target.iter().filter(|entry| read.iter().all(|other| other.key != entry.key));
        Some((parts, NodeValue::Map(added.cloned().collect()).into()))
    }

    /// The list's items in the text, and the items to add. A shorter list has items removed.
    fn list(&mut self, read: &[Node], target: &[Node]) -> Option<(Vec<SplicePart>, Node)> {
        let mut rest = target.iter();
        let shorter = target.len() < read.len();
        let mut parts = vec![];
        for item in read {
            let kept = !shorter || rest.as_slice().first() == Some(item);
            let source = item.source.as_ref()?;
            let span = self.local(&source.span);
            parts.push(SplicePart { span: self.dash(span.start)..span.end, kept });
            if let Some(now) = kept.then(|| rest.next()).flatten() {
                self.node(item, now)?;
            }
        }
        Some((parts, NodeValue::List(rest.cloned().collect()).into()))
    }

    fn local(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.at..span.end - self.at
    }

    /// Position of the item's dash, or of the item if there is no dash.
    fn dash(&self, item: usize) -> usize {
        let before = self.source[..item].trim_end();
        if before.ends_with('-') && before.len() < item { before.len() - 1 } else { item }
    }

    /// Rewrites the value of a key.
    fn rewrite_value(
        &mut self,
        siblings: &[Entry],
        key: &Range<usize>,
        value: &Range<usize>,
        target: &Node,
        flow: bool,
    ) -> Option<()> {
        if flow {
            let span = (!value.is_empty()).then_some(value)?;
            self.edits.push((span.clone(), self.in_flow(target, self.margin(key.start))));
            return Some(());
        }
        // An empty value is at the end of its key.
        let colon = key.end + self.source[key.end..].find(':')? + 1;
        let text = emit::after_key(target, self.column(key.start), self.dashes(siblings));
        let (first, more) = text.split_at(text.find('\n').unwrap_or(text.len()));
        // A comment after the value stays in the line of the key.
        let value = value.end.max(colon);
        let end = line_end(self.source, value);
        let comment = self.source.get(value..end).unwrap_or_default();
        self.edits.push((key.end..end, format!(":{first}{comment}{more}")));
        Some(())
    }

    fn column(&self, at: usize) -> usize {
        self.source[self.line(at)..at].chars().count()
    }

    /// Start of the line that contains `at`.
    fn line(&self, at: usize) -> usize {
        self.source[..at].rfind('\n').map_or(0, |newline| newline + 1)
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
        self.edits.push((at..at, emit::block(added, column, dashes)));
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
        let separator = margin.map_or_else(|| ", ".to_owned(), |margin| format!(",\n{margin}"));
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
            Some(margin) => emit::json(node).trim_end().replace('\n', &format!("\n{margin}")),
            None => emit::flow(node, self.json),
        }
    }

    fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let newline = if self.source.contains("\r\n") { "\r\n" } else { "\n" };
        let (mut text, mut done) = (String::with_capacity(self.source.len()), 0);
        for (span, new) in self.edits {
            text.push_str(self.source.get(done..span.start)?);
            text.push_str(&new.replace('\n', newline));
            done = span.end;
        }
        text.push_str(&self.source[done..]);
        Some(text)
    }
}
