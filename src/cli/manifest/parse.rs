//! Parses documents into trees, with the position of every node.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::Range,
};

use anyhow::{bail, ensure};
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle, Tag};

use super::{
    json,
    node::{Entry, Node, NodeValue, Origin},
    scalar::{self, Scalar, resolve},
    stream::{self, BYTE_ORDER_MARK, Chunk, error_at, is_line_separator},
};

/// Maximum number of nodes of a document after its aliases are resolved. Without this bound, nested aliases could fill the
/// memory. The API server accepts 3 MiB, which have fewer nodes.
const MAX_NODES: usize = 1 << 20;

/// A document of a text.
#[derive(Debug)]
pub(super) struct ParsedDocument {
    /// Range in the text, with the `---` line before the document and the comments after it.
    pub(super) range: Range<usize>,
    /// Whether the document is JSON.
    pub(super) json: bool,
    pub(super) root: Node,
}

/// The documents of `text`.
pub(super) fn documents(text: &str) -> anyhow::Result<Vec<ParsedDocument>> {
    let chunks = stream::split(text)?;
    let ends = chunks.iter().skip(1).map(|chunk| chunk.range.start).chain([text.len()]);
    let parse = |((index, chunk), end): ((usize, &Chunk), usize)| {
        let root = root(text, chunk, index + 1)?;
        Ok(ParsedDocument { range: chunk.range.start..end, json: chunk.json, root })
    };
    chunks.iter().enumerate().zip(ends).map(parse).collect()
}

/// Parses the text of a null or empty value as it stands after a key, with the colon. `None` if the text is not such a value.
pub(in crate::cli) fn empty_value(spelling: &str) -> Option<Node> {
    let mut map = documents(&format!("{{\"key\"{spelling}\n}}")).ok()?.pop()?.root;
    let value = map.at_mut(&["key"]).filter(|value| value.is_null_or_empty())?;
    value.spelling = Some(spelling.into());
    Some(value.clone())
}

/// The tree of a document.
fn root(text: &str, chunk: &Chunk, number: usize) -> anyhow::Result<Node> {
    let body = &text[chunk.body..chunk.range.end];
    let content = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let base = chunk.range.end - content.len();
    let content: Cow<'_, str> = if chunk.json { json::masked(content).into() } else { content.into() };
    let mut options = Options::default();
    // The default depends on the parser's features, which another crate could enable.
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(&content, options);
    let mut reader =
        TreeReader { text, base, json: chunk.json, events, anchors: HashMap::new(), nodes: 0, number };
    if !chunk.json {
        reader.check_characters(&content)?;
    }
    let mut root = None;
    loop {
        match reader.event()? {
            (Event::DocumentStart(..), span) if root.is_some() => {
                let why = "kubectl ignores what follows the line `...`; separate documents with ---";
                return Err(reader.error(reader.start(span), why));
            }
            (Event::DocumentStart(..), _) => root = Some(reader.node()?),
            (Event::StreamEnd, _) => {
                return Ok(root.unwrap_or_else(|| NodeValue::Plain(String::new()).into()));
            }
            _ => {}
        }
    }
}

struct TreeReader<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> {
    /// The text of all documents.
    text: &'t str,
    /// Position in `text` to which the parser's positions are relative.
    base: usize,
    json: bool,
    events: E,
    anchors: HashMap<usize, (Node, usize)>,
    /// Number of nodes of the document so far.
    nodes: usize,
    /// Number of the document, from 1.
    number: usize,
}

// === impl TreeReader ===

impl<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> TreeReader<'t, E> {
    fn event(&mut self) -> anyhow::Result<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let why = format!("not valid YAML: {}", error.info());
                let at = error.marker().byte_offset().unwrap_or_default();
                Err(self.error(self.base + at, &why))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn error(&self, at: usize, why: &str) -> anyhow::Error {
        error_at(self.text, self.number, at, why)
    }

    /// Position of a span in the text.
    #[expect(clippy::expect_used, reason = "the parser sets byte offsets for every span of a str")]
    fn range(&self, span: Span) -> Range<usize> {
        let range = span.byte_range().expect("spans of a str have byte offsets");
        self.base + range.start..self.base + range.end
    }

    fn start(&self, span: Span) -> usize {
        self.range(span).start
    }

    /// Rejects characters that YAML readers treat differently. For example, only some readers end a line at a line separator,
    /// also in a comment.
    fn check_characters(&self, content: &str) -> anyhow::Result<()> {
        let bad = content.char_indices().find(|(at, c)| match c {
            '\t' | '\n' | '\r' => false,
            &BYTE_ORDER_MARK => content[..*at].ends_with('\n'),
            c => c.is_control() || is_line_separator(*c),
        });
        let Some((at, c)) = bad else { return Ok(()) };
        let escape = format!(
            "not every YAML reader accepts U+{:04X}; remove it, or write it as \"\\u{:04x}\"",
            u32::from(c),
            u32::from(c)
        );
        Err(self.error(self.base + at, &escape))
    }

    fn node(&mut self) -> anyhow::Result<Node> {
        let (event, span) = self.event()?;
        self.node_of(event, span)
    }

    fn node_of(&mut self, event: Event<'t>, span: Span) -> anyhow::Result<Node> {
        let before = self.nodes;
        self.nodes += 1;
        self.check_size(span)?;
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(&text, style, tag.as_deref(), span)?)
            }
            Event::SequenceStart(style, anchor, _) => (anchor, self.list(style, span)?),
            Event::MappingStart(style, anchor, _) => (anchor, self.map(style, span)?),
            _ => bail!(self.error(self.start(span), "a value is missing; add it")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> anyhow::Result<Node> {
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            bail!(self.error(self.start(span), "the alias is inside the value that it refers to; remove it"));
        };
        self.nodes += nodes;
        self.check_size(span)?;
        let source = Origin { span: self.range(span), flow: false, alias: true };
        Ok(Node::read(node.value.clone(), source))
    }

    fn check_size(&self, span: Span) -> anyhow::Result<()> {
        let why = "the document has too many nodes after its aliases are resolved; use fewer aliases";
        ensure!(self.nodes <= MAX_NODES, self.error(self.start(span), why));
        Ok(())
    }

    fn list(&mut self, style: StructureStyle, span: Span) -> anyhow::Result<Node> {
        let mut items = vec![];
        loop {
            match self.event()? {
                (Event::SequenceEnd, end) => {
                    let last = items.last().and_then(|item: &Node| item.source.as_ref());
                    let source = self.extent(style, span, end, last.map(|last| last.span.end));
                    return Ok(Node::read(NodeValue::List(items), source));
                }
                (event, span) => items.push(self.node_of(event, span)?),
            }
        }
    }

    fn map(&mut self, style: StructureStyle, span: Span) -> anyhow::Result<Node> {
        let (mut entries, mut end) = (Vec::<Entry>::new(), None);
        // A ConfigMap can have 60,000 keys, so they are not compared with each other.
        let (mut keys, mut has_merged) = (HashSet::new(), false);
        loop {
            let (event, key_span) = self.event()?;
            if matches!(event, Event::MappingEnd) {
                let source = self.extent(style, span, key_span, end);
                return Ok(Node::read(NodeValue::Map(entries), source));
            }
            let range = self.range(key_span);
            let (key, is_merge) = self.key(event, key_span)?;
            let mut value = self.node()?;
            end = Some(value.source.as_ref().map_or(0, |source| source.span.end).max(range.end));
            if is_merge {
                self.merge(&mut entries, value, range.start)?;
                let own = entries.iter().filter(|entry| entry.source.is_some());
                (keys, has_merged) = (own.map(|entry| entry.key.clone()).collect(), true);
                continue;
            }
            if !keys.insert(key.clone()) {
                let why = format!("duplicate key {key:?}; remove one of the two");
                bail!(self.error(range.start, &why));
            }
            if value.is_null_or_empty() && !value.source.as_ref().is_some_and(|source| source.alias) {
                value.spelling = Some(self.spelling(range.end, &value).into());
            }
            if has_merged {
                entries.retain(|entry| entry.key != key);
            }
            entries.push(Entry { key, value, source: Some(range) });
        }
    }

    /// The key of an entry, and whether it is a merge key.
    fn key(&mut self, event: Event<'t>, span: Span) -> anyhow::Result<(String, bool)> {
        let start = self.start(span);
        let Event::Scalar(text, style, anchor, tag) = event else {
            bail!(self.error(start, "the key is a list or a map; write a string"));
        };
        let is_plain = style == ScalarStyle::Plain && tag.is_none();
        let node = match is_plain {
            true if self.range(span).is_empty() => NodeValue::Plain(String::new()).into(),
            true => NodeValue::Plain(text.to_string()).into(),
            false => self.scalar(&text, style, tag.as_deref(), span)?,
        };
        let key = match &node.value {
            NodeValue::Plain(plain) => scalar::key(plain),
            _ => node.as_str().map(str::to_owned),
        };
        let Some(key) = key else {
            bail!(self.error(start, "kubectl rejects this key; put it in quotes"));
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (NodeValue::Text(key.clone()).into(), 1));
        }
        Ok((key, is_plain && text == "<<"))
    }

    /// Text from the end of a key to the end of its value. For an absent value, the parser may give a position in a later line.
    fn spelling(&self, key_end: usize, value: &Node) -> &'t str {
        let rest = &self.text[key_end..];
        let value = value.source.as_ref().map(|source| &source.span).filter(|span| !span.is_empty());
        if let Some(span) = value {
            return &rest[..span.end - key_end];
        }
        let blanks = rest.len() - rest.trim_start().len();
        let mut end = if rest[blanks..].starts_with(':') { blanks + 1 } else { 0 };
        // An absent value may have a tag or an anchor.
        while let Some(property) = rest[end..].trim_start_matches(' ').strip_prefix(['!', '&']) {
            let after =
                property.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(property.len());
            end = rest.len() - property.len() + after;
        }
        &rest[..end]
    }

    /// Adds the entries of a merge key's maps. As in kubectl, they replace earlier keys, and the first map of a list takes
    /// precedence.
    fn merge(&self, entries: &mut Vec<Entry>, node: Node, at: usize) -> anyhow::Result<()> {
        let maps = match node.value {
            NodeValue::List(maps) => maps,
            _ => vec![node],
        };
        for map in maps.into_iter().rev() {
            let NodeValue::Map(merged) = map.value else {
                bail!(self.error(at, "<< needs a map or a list of maps; remove any other value"));
            };
            for entry in merged {
                let merged = Entry { source: None, ..entry };
                match entries.iter_mut().find(|own| own.key == merged.key) {
                    Some(own) => *own = merged,
                    None => entries.push(merged),
                }
            }
        }
        Ok(())
    }

    /// Range from the opening to the closing bracket, or from the first item to the end of the last one.
    fn extent(&self, style: StructureStyle, start: Span, end: Span, last: Option<usize>) -> Origin {
        let flow = style == StructureStyle::Flow;
        let start = self.start(start);
        let end = if flow { self.range(end).end } else { last.unwrap_or(start) };
        Origin { span: start..end, flow, alias: false }
    }

    /// Rejects escapes that only JSON has, because kubectl rejects them in YAML.
    fn check_escapes(&self, span: &Range<usize>) -> anyhow::Result<()> {
        let mut at = span.start;
        while let Some(next) = self.text[at..span.end].find('\\') {
            let escape = &self.text.as_bytes()[at + next + 1..];
            let is_surrogate =
                matches!(escape, [b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
            let why = "kubectl reads this escape only in JSON; write the character itself";
            ensure!(!is_surrogate && !escape.starts_with(b"/"), self.error(at + next, why));
            at += next + 1 + usize::from(escape.starts_with(b"\\"));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> anyhow::Result<Node> {
        let span = self.range(span);
        let plain = style == ScalarStyle::Plain;
        if style == ScalarStyle::DoubleQuoted && !self.json {
            self.check_escapes(&span)?;
        }
        let text = match plain {
            // The parser gives a tilde for an absent value.
            true if span.is_empty() => String::new(),
            false if self.json => json::string(&self.text[span.clone()]),
            _ => text.to_owned(),
        };
        let tag = tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:").unwrap_or_default());
        let resolved = match tag.as_deref() {
            None => resolve(&text).filter(|_| plain),
            Some("int" | "float" | "bool" | "null") => resolve(&text),
            Some("binary") => {
                bail!(self.error(span.start, "kubectl decodes !!binary; write the text without the tag"))
            }
            // `!!str 1` and `!mine 1` are strings.
            Some(_) => None,
        };
        let has_type_of_tag = match (tag.as_deref(), resolved) {
            (Some("int"), value) => matches!(value, Some(Scalar::Integer(_))),
            (Some("float"), value) => matches!(value, Some(Scalar::Integer(_) | Scalar::Float(_))),
            (Some("bool"), value) => matches!(value, Some(Scalar::Bool(_))),
            (Some("null"), value) => value == Some(Scalar::Null),
            _ => true,
        };
        ensure!(
            has_type_of_tag,
            self.error(span.start, "the value does not have the type of its tag; remove the tag")
        );
        let is_json = resolved.is_none_or(Scalar::is_json) && !(self.json && plain && resolved.is_none());
        ensure!(is_json, self.error(span.start, "JSON has no such number; put it in quotes"));
        let value = if resolved.is_some() { NodeValue::Plain(text) } else { NodeValue::Text(text) };
        Ok(Node::read(value, Origin { span, flow: false, alias: false }))
    }
}
