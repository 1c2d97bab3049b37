//! The difference between two trees, written into the text that the first was read from. What admission does to a pod is
//! little: something behind the last key or item, and back out; so that is what this knows, and `None` for all else.

use std::ops::Range;

use super::{
    emit,
    node::{Entry, Node, Value},
};

/// `source` with the difference in it. Places in the trees count from `at` bytes before it.
pub(super) fn splice(source: &str, at: usize, read: &Node, wanted: &Node) -> Option<String> {
    let json = source[read.source.as_ref()?.span.start - at..]
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_start().starts_with('"'));
    // Every line of a block has an end then.
    let lacks_newline = !source.ends_with('\n');
    let padded = if lacks_newline { format!("{source}\n") } else { source.to_owned() };
    let mut splicer = Splicer { source: &padded, at, json, edits: vec![] };
    splicer.node(read, wanted)?;
    let mut text = splicer.apply()?;
    text.truncate(text.len() - usize::from(lacks_newline && text.ends_with('\n')));
    Some(text)
}

/// `source` with the document spelt anew: its comments are lost, and those around it stay.
pub(super) fn anew(source: &str, at: usize, read: &Node, wanted: &Node) -> String {
    let place = read.source.as_ref().map_or(at..at + source.len(), |place| place.span.clone());
    let (start, end) = (place.start - at, line_end(source, place.end - at));
    let (head, tail) = (&source[..start], &source[end..]);
    let begin = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    format!("{head}{begin}{}{tail}", emit::yaml(wanted).trim_end_matches('\n'))
}

/// Where the text of this line ends: what is behind `at` can only be a comment.
fn line_end(source: &str, at: usize) -> usize {
    let at = if source[..at].ends_with('\n') { at - 1 } else { at };
    at + source[at..].find(['\r', '\n']).unwrap_or(source.len() - at)
}

struct Splicer<'t> {
    source: &'t str,
    at: usize,
    /// The document is in JSON's spelling.
    json: bool,
    edits: Vec<(Range<usize>, String)>,
}

/// A key with its value, or an item.
struct Part {
    span: Range<usize>,
    kept: bool,
}

// === impl Splicer ===

impl Splicer<'_> {
    fn node(&mut self, read: &Node, wanted: &Node) -> Option<()> {
        if read == wanted {
            return Some(());
        }
        let place = read.source.as_ref().filter(|place| !place.alias)?;
        let (parts, added) = match (&read.value, &wanted.value) {
            (Value::Map(read), Value::Map(wanted)) => self.map(read, wanted, place.flow)?,
            (Value::List(read), Value::List(wanted)) => self.list(read, wanted)?,
            _ => return None,
        };
        // An empty list or map has no place of its own in a block: whoever holds it spells it anew.
        if !parts.iter().any(|part| part.kept) {
            return None;
        }
        if place.flow {
            self.remove_from_flow(&parts)
        } else {
            self.remove_lines(&parts)?
        }
        match (added.is_void(), place.flow) {
            (true, _) => Some(()),
            (false, true) => self.add_to_flow(&parts, &added),
            (false, false) => self.add_lines(&parts, place.span.end - self.at, &added, read),
        }
    }

    /// The map's keys, and those that are to be added.
    fn map(&mut self, read: &[Entry], wanted: &[Entry], flow: bool) -> Option<(Vec<Part>, Node)> {
        let mut parts = vec![];
        for entry in read {
            let now = wanted.iter().find(|other| other.key == entry.key);
            if now == Some(entry) && entry.source.is_none() {
                continue;
            }
            let key = self.local(entry.source.as_ref()?);
            let value = self.local(&entry.value.source.as_ref()?.span);
            parts.push(Part { span: key.start..value.end.max(key.end), kept: now.is_some() });
            if let Some(now) = now.filter(|now| *now != entry) {
                let edits = self.edits.len();
                if self.node(&entry.value, &now.value).is_none() {
                    self.edits.truncate(edits);
                    self.respell(read, &key, &value, &now.value, flow)?;
                }
            }
        }
        let added = wanted.iter().filter(|entry| read.iter().all(|other| other.key != entry.key));
        Some((parts, Value::Map(added.cloned().collect()).into()))
    }

    /// The list's items, and those that are to be added. A shorter list is one that items were taken out of.
    fn list(&mut self, read: &[Node], wanted: &[Node]) -> Option<(Vec<Part>, Node)> {
        let mut rest = wanted.iter();
        let shorter = wanted.len() < read.len();
        let mut parts = vec![];
        for item in read {
            let kept = !shorter || rest.as_slice().first() == Some(item);
            let source = item.source.as_ref()?;
            let span = self.local(&source.span);
            parts.push(Part { span: self.dash(span.start)..span.end, kept });
            if let Some(now) = kept.then(|| rest.next()).flatten() {
                self.node(item, now)?;
            }
        }
        Some((parts, Value::List(rest.cloned().collect()).into()))
    }

    fn local(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.at..span.end - self.at
    }

    /// Where the dash of an item stands; the item itself where it has none.
    fn dash(&self, item: usize) -> usize {
        let before = self.source[..item].trim_end();
        if before.ends_with('-') && before.len() < item { before.len() - 1 } else { item }
    }

    /// Writes what follows a key anew.
    fn respell(
        &mut self,
        siblings: &[Entry],
        key: &Range<usize>,
        value: &Range<usize>,
        wanted: &Node,
        flow: bool,
    ) -> Option<()> {
        if flow {
            let span = (!value.is_empty()).then_some(value)?;
            self.edits.push((span.clone(), self.spell(wanted, self.margin(key.start))));
            return Some(());
        }
        // Of an empty value the place is where its key ends.
        let colon = key.end + self.source[key.end..].find(':')? + 1;
        let text = emit::after_key(wanted, self.column(key.start), self.dashes(siblings));
        let (first, more) = text.split_at(text.find('\n').unwrap_or(text.len()));
        // A comment beside it stays in the line of the key.
        let value = value.end.max(colon);
        let end = line_end(self.source, value);
        let comment = self.source.get(value..end).unwrap_or_default();
        self.edits.push((key.end..end, format!(":{first}{comment}{more}")));
        Some(())
    }

    fn column(&self, at: usize) -> usize {
        self.source[self.line(at)..at].chars().count()
    }

    /// Where the line of this place begins.
    fn line(&self, at: usize) -> usize {
        self.source[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Where the line after this place begins. A block scalar ends in the margin of what follows it.
    fn next_line(&self, at: usize) -> usize {
        let line = self.line(at);
        if line > 0 && self.source[line..at].trim().is_empty() {
            return line;
        }
        self.source[at..].find('\n').map_or(self.source.len(), |newline| at + newline + 1)
    }

    /// How far the document indents the dashes of a list, as seen beside it.
    fn dashes(&self, siblings: &[Entry]) -> usize {
        let seen = siblings.iter().find_map(|entry| {
            let item = entry.value.items()?.first()?.source.as_ref()?;
            let flow = entry.value.source.as_ref()?.flow;
            let key = self.column(entry.source.as_ref()?.start - self.at);
            (!flow).then(|| self.column(self.dash(item.span.start - self.at)).saturating_sub(key))
        });
        seen.unwrap_or(2)
    }

    fn remove_lines(&mut self, parts: &[Part]) -> Option<()> {
        for Part { span, .. } in parts.iter().filter(|part| !part.kept) {
            let (start, end) = (self.line(span.start), self.next_line(span.end));
            if !self.source[start..span.start].trim().is_empty() {
                return None;
            }
            self.edits.push((start..end, String::new()));
        }
        Some(())
    }

    fn add_lines(&mut self, parts: &[Part], end: usize, added: &Node, read: &Node) -> Option<()> {
        let column = self.column(parts.first()?.span.start);
        let dashes = self.dashes(read.entries().unwrap_or_default());
        let at = self.next_line(end);
        self.edits.push((at..at, emit::block(added, column, dashes)));
        Some(())
    }

    fn remove_from_flow(&mut self, parts: &[Part]) {
        let first_kept = parts.iter().position(|part| part.kept).unwrap_or_default();
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| !part.kept) {
            let span = match index < first_kept {
                true => part.span.start..parts[index + 1].span.start,
                false => parts[index - 1].span.end..part.span.end,
            };
            self.edits.push((span, String::new()));
        }
    }

    fn add_to_flow(&mut self, parts: &[Part], added: &Node) -> Option<()> {
        let last = &parts.last()?.span;
        let margin = self.margin(last.start);
        let separator = margin.map_or_else(|| ", ".to_owned(), |margin| format!(",\n{margin}"));
        let entry = |Entry { key, value, .. }: &Entry| {
            format!("{separator}{}: {}", emit::flow_key(key, self.json), self.spell(value, margin))
        };
        let text = match &added.value {
            Value::Map(entries) => entries.iter().map(entry).collect(),
            Value::List(items) => {
                items.iter().map(|item| format!("{separator}{}", self.spell(item, margin))).collect()
            }
            _ => return None,
        };
        self.edits.push((last.end..last.end, text));
        Some(())
    }

    /// What stands before something that begins a line.
    fn margin(&self, at: usize) -> Option<&str> {
        let margin = &self.source[self.line(at)..at];
        (margin.trim().is_empty() && self.line(at) > 0).then_some(margin)
    }

    /// In brackets: JSON that begins a line is spread over lines.
    fn spell(&self, node: &Node, margin: Option<&str>) -> String {
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
