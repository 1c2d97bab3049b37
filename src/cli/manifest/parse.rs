//! Parses text into trees, with the position of every node.

use std::{collections::HashMap, ops::Range};

use anyhow::{anyhow, bail, ensure};
use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StructureStyle, Tag};

use super::{
    node::{Entry, Node, NodeValue, Origin},
    scalar::resolve,
};

/// Maximum number of nodes of a document after its aliases are resolved. Without this bound, nested aliases could fill the
/// memory. The API server accepts 3 MiB, which have fewer nodes.
const MAX_NODES: usize = 1 << 20;

/// The documents of `text`, each with its range.
pub(super) fn documents(text: &str) -> anyhow::Result<Vec<(Range<usize>, Node)>> {
    let mut options = Options::default();
    // The default depends on the parser's features, which another crate could enable.
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = TreeReader { events, anchors: HashMap::new(), nodes: 0, number: 1 };
    let mut roots: Vec<(usize, Node)> = vec![];
    loop {
        match reader.event()? {
            (Event::DocumentStart(..), span) => {
                (reader.anchors, reader.nodes, reader.number) = (HashMap::new(), 0, roots.len() + 1);
                roots.push((bytes(span).start, reader.node()?));
            }
            (Event::StreamEnd, _) => break,
            _ => {}
        }
    }
    let ends: Vec<_> = roots.iter().skip(1).map(|(start, _)| *start).chain([text.len()]).collect();
    Ok(roots.into_iter().zip(ends).map(|((start, node), end)| (start..end, node)).collect())
}

struct TreeReader<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> {
    events: E,
    anchors: HashMap<usize, (Node, usize)>,
    /// Number of nodes of the document so far.
    nodes: usize,
    /// Number of the document, from 1.
    number: usize,
}

/// An error with its position.
fn error_at(number: usize, mark: &Marker, why: &str) -> anyhow::Error {
    anyhow!("document {number}, line {}, column {}: {why}", mark.line(), mark.col() + 1)
}

#[expect(clippy::expect_used, reason = "the parser sets byte offsets for every span of a str")]
fn bytes(span: Span) -> Range<usize> {
    span.byte_range().expect("spans of a str have byte offsets")
}

// === impl TreeReader ===

impl<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> TreeReader<'t, E> {
    fn event(&mut self) -> anyhow::Result<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let why = format!("not valid YAML: {}", error.info());
                Err(error_at(self.number, error.marker(), &why))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self) -> anyhow::Result<Node> {
        let (event, span) = self.event()?;
        self.node_of(event, span)
    }

    fn node_of(&mut self, event: Event<'t>, span: Span) -> anyhow::Result<Node> {
        let before = self.nodes;
        self.nodes += 1;
        ensure!(
            self.nodes <= MAX_NODES,
            error_at(
                self.number,
                &span.start,
                "too many nodes after its aliases are resolved; use fewer aliases"
            )
        );
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref(), span)),
            Event::SequenceStart(style, anchor, _) => (anchor, self.list(style, span)?),
            Event::MappingStart(style, anchor, _) => (anchor, self.map(style, span)?),
            _ => bail!(error_at(self.number, &span.start, "a value is missing")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> anyhow::Result<Node> {
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            bail!(error_at(
                self.number,
                &span.start,
                "an alias must not be inside the node that it refers to"
            ));
        };
        self.nodes += nodes;
        ensure!(
            self.nodes <= MAX_NODES,
            error_at(
                self.number,
                &span.start,
                "too many nodes after its aliases are resolved; use fewer aliases"
            )
        );
        let source = Origin { span: bytes(span), flow: false, alias: true };
        Ok(Node { value: node.value.clone(), source: Some(source) })
    }

    fn list(&mut self, style: StructureStyle, span: Span) -> anyhow::Result<Node> {
        let mut items = vec![];
        loop {
            match self.event()? {
                (Event::SequenceEnd, end) => {
                    let last = items.last().and_then(|item: &Node| item.source.as_ref());
                    let source = extent(style, span, end, last.map(|last| last.span.end));
                    return Ok(Node { value: NodeValue::List(items), source: Some(source) });
                }
                (event, span) => items.push(self.node_of(event, span)?),
            }
        }
    }

    fn map(&mut self, style: StructureStyle, span: Span) -> anyhow::Result<Node> {
        let (mut entries, mut merged, mut end) = (Vec::<Entry>::new(), vec![], None);
        loop {
            let (event, key_span) = self.event()?;
            let Event::Scalar(key, key_style, ..) = event else {
                if event == Event::MappingEnd {
                    let source = extent(style, span, key_span, end);
                    merge(&mut entries, merged);
                    return Ok(Node { value: NodeValue::Map(entries), source: Some(source) });
                }
                bail!(error_at(
                    self.number,
                    &key_span.start,
                    "a key that is not a string; write it as a string"
                ));
            };
            let value = self.node()?;
            let key_range = bytes(key_span);
            end = Some(value.source.as_ref().map_or(0, |source| source.span.end).max(key_range.end));
            if key == "<<" && key_style == ScalarStyle::Plain {
                merged.push(value);
                continue;
            }
            if entries.iter().any(|entry| entry.key == key) {
                let why = format!("duplicate key {key:?}; remove one of the two");
                bail!(error_at(self.number, &key_span.start, &why));
            }
            entries.push(Entry { key: key.into_owned(), value, source: Some(key_range) });
        }
    }
}

/// Appends the entries of merge keys. The map's own entries take precedence.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Node>) {
    let maps = merged.into_iter().flat_map(|node| match node.value {
        NodeValue::List(maps) => maps,
        _ => vec![node],
    });
    for map in maps {
        let NodeValue::Map(more) = map.value else { continue };
        for entry in more {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(Entry { source: None, ..entry });
            }
        }
    }
}

/// Range from the opening to the closing bracket, or from the first item to the end of the last one.
fn extent(style: StructureStyle, start: Span, end: Span, last: Option<usize>) -> Origin {
    let flow = style == StructureStyle::Flow;
    let start = bytes(start).start;
    let end = if flow { bytes(end).end } else { last.unwrap_or(start) };
    Origin { span: start..end, flow, alias: false }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
    let span = bytes(span);
    // The parser gives a tilde for an absent value.
    let text = if span.is_empty() && style == ScalarStyle::Plain { "" } else { text };
    let plain = match tag {
        None => style == ScalarStyle::Plain,
        // `!!int "1"` is a number, `!!str 1` and `!mine 1` are not.
        Some(tag) => tag.core_suffix().is_some_and(|suffix| !matches!(suffix, "str" | "binary")),
    };
    let value = if plain && resolve(text).is_some() {
        NodeValue::Plain(text.to_owned())
    } else {
        NodeValue::Text(text.to_owned())
    };
    Node { value, source: Some(Origin { span, flow: false, alias: false }) }
}
