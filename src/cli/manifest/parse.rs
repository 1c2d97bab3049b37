//! From text to trees, with the place of every node.

use std::{collections::HashMap, ops::Range};

use anyhow::{anyhow, bail, ensure};
use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StructureStyle, Tag};

use super::{
    node::{Entry, Node, Source, Value},
    scalar::resolve,
};

/// Most nodes that a document can have with its aliases resolved: what nests aliases in aliases to fill the memory ends
/// here. The API server takes 3 MiB, which is fewer.
const MOST_NODES: usize = 1 << 20;

/// The documents of `text`, each with its place.
pub(super) fn documents(text: &str) -> anyhow::Result<Vec<(Range<usize>, Node)>> {
    let mut options = Options::default();
    // Whether comments are events would else be up to whoever enables the parser's features.
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { events, anchors: HashMap::new(), nodes: 0, number: 1 };
    let mut found: Vec<(usize, Node)> = vec![];
    loop {
        match reader.event()? {
            (Event::DocumentStart(..), span) => {
                (reader.anchors, reader.nodes, reader.number) = (HashMap::new(), 0, found.len() + 1);
                found.push((bytes(span).start, reader.node()?));
            }
            (Event::StreamEnd, _) => break,
            _ => {}
        }
    }
    let ends: Vec<_> = found.iter().skip(1).map(|(start, _)| *start).chain([text.len()]).collect();
    Ok(found.into_iter().zip(ends).map(|((start, node), end)| (start..end, node)).collect())
}

struct Reader<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> {
    events: E,
    anchors: HashMap<usize, (Node, usize)>,
    /// In this document.
    nodes: usize,
    /// Of the document.
    number: usize,
}

/// Where and why.
fn place(number: usize, mark: &Marker, why: &str) -> anyhow::Error {
    anyhow!("document {number}, line {}, column {}: {why}", mark.line(), mark.col() + 1)
}

#[expect(clippy::expect_used, reason = "the parser says so of every span of a str")]
fn bytes(span: Span) -> Range<usize> {
    span.byte_range().expect("spans of a str have byte offsets")
}

// === impl Reader ===

impl<'t, E: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> Reader<'t, E> {
    fn event(&mut self) -> anyhow::Result<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(place(self.number, error.marker(), &error.info())),
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
            self.nodes <= MOST_NODES,
            place(self.number, &span.start, "too much in it; its aliases multiply")
        );
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref(), span)),
            Event::SequenceStart(style, anchor, _) => (anchor, self.list(style, span)?),
            Event::MappingStart(style, anchor, _) => (anchor, self.map(style, span)?),
            _ => bail!(place(self.number, &span.start, "a value is missing")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> anyhow::Result<Node> {
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            bail!(place(self.number, &span.start, "an alias inside of what it stands for"));
        };
        self.nodes += nodes;
        ensure!(
            self.nodes <= MOST_NODES,
            place(self.number, &span.start, "too much in it; its aliases multiply")
        );
        let source = Source { span: bytes(span), flow: false, alias: true };
        Ok(Node { value: node.value.clone(), source: Some(source) })
    }

    fn list(&mut self, style: StructureStyle, span: Span) -> anyhow::Result<Node> {
        let mut items = vec![];
        loop {
            match self.event()? {
                (Event::SequenceEnd, end) => {
                    let last = items.last().and_then(|item: &Node| item.source.as_ref());
                    let source = extent(style, span, end, last.map(|last| last.span.end));
                    return Ok(Node { value: Value::List(items), source: Some(source) });
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
                    return Ok(Node { value: Value::Map(entries), source: Some(source) });
                }
                bail!(place(self.number, &key_span.start, "a key that is no text; write it as text"));
            };
            let value = self.node()?;
            let place_of_key = bytes(key_span);
            end = Some(value.source.as_ref().map_or(0, |source| source.span.end).max(place_of_key.end));
            if key == "<<" && key_style == ScalarStyle::Plain {
                merged.push(value);
                continue;
            }
            if entries.iter().any(|entry| entry.key == key) {
                let why = format!("the key {key:?} is there twice; leave one of them");
                bail!(place(self.number, &key_span.start, &why));
            }
            entries.push(Entry { key: key.into_owned(), value, source: Some(place_of_key) });
        }
    }
}

/// The entries of merge keys, behind the map's own and below them.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Node>) {
    let maps = merged.into_iter().flat_map(|node| match node.value {
        Value::List(maps) => maps,
        _ => vec![node],
    });
    for map in maps {
        let Value::Map(more) = map.value else { continue };
        for entry in more {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(Entry { source: None, ..entry });
            }
        }
    }
}

/// From the opening bracket to the closing one, or from the first item to the end of the last.
fn extent(style: StructureStyle, start: Span, end: Span, last: Option<usize>) -> Source {
    let flow = style == StructureStyle::Flow;
    let start = bytes(start).start;
    let end = if flow { bytes(end).end } else { last.unwrap_or(start) };
    Source { span: start..end, flow, alias: false }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
    let span = bytes(span);
    // The parser spells what is not there with a tilde.
    let text = if span.is_empty() && style == ScalarStyle::Plain { "" } else { text };
    let plain = match tag {
        None => style == ScalarStyle::Plain,
        // `!!int "1"` is a number, `!!str 1` and `!mine 1` are not.
        Some(tag) => tag.core_suffix().is_some_and(|suffix| !matches!(suffix, "str" | "binary")),
    };
    let value = if plain && resolve(text).is_some() {
        Value::Plain(text.to_owned())
    } else {
        Value::Text(text.to_owned())
    };
    Node { value, source: Some(Source { span, flow: false, alias: false }) }
}
