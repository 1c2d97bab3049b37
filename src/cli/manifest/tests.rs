//! Generated documents in every formatting, and generated changes: the written text parses as the changed tree.

use super::{
    Manifest, emit,
    node::{Entry, Node, NodeValue},
    parse, yaml,
};

/// Strings that some YAML readers parse as another type.
const TEXTS: [&str; 42] = [
    "",
    " ",
    "a",
    "a b",
    "a: b",
    "a:",
    ":a",
    "a # b",
    "# a",
    "- a",
    "-",
    "-c",
    "--flag",
    "---",
    "...",
    "yes",
    "No",
    "null",
    "~",
    "1",
    "1.5",
    "0x1f",
    "0777",
    "1e3",
    "1_0",
    "24Mi",
    "12:30",
    "2026-11-24",
    ".inf",
    "<<",
    "=",
    "{a",
    "[b]",
    "a, b",
    "&a",
    "*a",
    "!a",
    "'a' \"b\"",
    "b\\n",
    "\té\u{1f600}\u{85}\u{2028}\u{feff}\u{7f}\0",
    "one\ntwo\n\n  three\n",
    "\n x\n",
];

/// Null, bools and numbers in various notations.
const PLAINS: [&str; 10] =
    ["null", "~", "true", "Off", "0", "-7", "1.50", "1e3", "0x1F", "123456789012345678901234567890"];

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

// === impl Random ===

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn node(&mut self, depth: usize) -> Node {
        let size = self.below(4);
        match self.below(if depth == 0 { 2 } else { 5 }) {
            0 => NodeValue::Plain(PLAINS[self.below(PLAINS.len())].to_owned()).into(),
            1 => Node::text(TEXTS[self.below(TEXTS.len())]),
            2 => NodeValue::List((0..size).map(|_| self.node(depth - 1)).collect()).into(),
            _ => self.map(depth - 1, size),
        }
    }

    fn map(&mut self, depth: usize, size: usize) -> Node {
        let mut map = Node::map();
        for _ in 0..size {
            let (key, value) = (TEXTS[self.below(TEXTS.len() - 3)], self.node(depth));
            if key != "<<" {
                map.add(&[key], value);
            }
        }
        map
    }

    /// A document in block or flow style, with comments and indentation of any width.
    fn block(&mut self, node: &Node, indent: usize, out: &mut String) {
        let margin = " ".repeat(indent);
        match &node.value {
            NodeValue::Map(entries) if !entries.is_empty() => {
                for Entry { key, value, .. } in entries {
                    self.comment(indent, out);
                    let key = emit::flow_key(key, self.below(2) == 0);
                    out.push_str(&format!("{margin}{key}:"));
                    self.value(value, indent, out);
                }
            }
            NodeValue::List(items) if !items.is_empty() => {
                for item in items {
                    self.comment(indent, out);
                    out.push_str(&format!("{margin}-"));
                    self.value(item, indent + 1, out);
                }
            }
            _ => self.value(node, indent, out),
        }
    }

    fn value(&mut self, node: &Node, indent: usize, out: &mut String) {
        let inner = match &node.value {
            NodeValue::List(items) if !items.is_empty() => indent + self.below(3),
            NodeValue::Map(entries) if !entries.is_empty() => indent + 1 + self.below(4),
            _ => 0,
        };
        if inner == 0 || self.below(3) == 0 {
            out.push_str(&format!(" {}", emit::flow(node, self.below(2) == 0)));
            out.push_str(["\n", " # after\n", "\n\n"][self.below(3)]);
            return;
        }
        out.push_str(["\n", " # above\n"][self.below(2)]);
        self.block(node, inner, out);
    }

    fn comment(&mut self, indent: usize, out: &mut String) {
        if self.below(4) == 0 {
            out.push_str(&format!("{}# - a: comment\n", " ".repeat(indent)));
        }
    }

    /// Adds, removes or replaces one node at a random position.
    fn change(&mut self, node: &mut Node) {
        let (added, action) = (self.node(2), self.below(4));
        let children: Vec<&mut Node> = match &mut node.value {
            NodeValue::Map(entries) => entries.iter_mut().map(|entry| &mut entry.value).collect(),
            NodeValue::List(items) => items.iter_mut().collect(),
            _ => vec![],
        };
        let deeper = self.below(children.len() + 1);
        if let Some(node) = children.into_iter().nth(deeper) {
            return self.change(node);
        }
        match (&mut node.value, action) {
            (NodeValue::Map(_), 0 | 1) => node.add(&["vdi-metrics.io/added"], added).unwrap(),
            (NodeValue::List(_), 0 | 1) => node.add(&["-"], added).unwrap(),
            (NodeValue::Map(entries), 2) if !entries.is_empty() => {
                _ = entries.remove(self.below(entries.len()))
            }
            (NodeValue::List(items), 2) if !items.is_empty() => _ = items.remove(self.below(items.len())),
            _ => *node = added,
        }
    }
}

fn read(text: &str) -> Node {
    let mut documents = parse::documents(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).root
}

#[test]
fn the_written_text_parses_as_the_changed_tree() {
    let (mut random, mut changed, mut rewritten) = (Random(1), 0, 0);
    for _ in 0..3_000 {
        let mut expected = random.map(3, 4);
        let mut text = String::new();
        random.block(&expected, 0, &mut text);
        text =
            [text.clone(), text.trim_end().to_owned(), text.replace('\n', "\r\n")][random.below(3)].clone();
        assert_eq!(read(&text).json(), expected.json(), "{text}");
        let mut manifest = Manifest::read("generated", text.clone()).unwrap();
        assert_eq!(manifest.spliced(), (text.clone(), vec![]));
        random.change(&mut manifest.documents[0].root);
        expected = manifest.documents[0].root.clone();
        let (written, documents) = manifest.spliced();
        assert_eq!(read(&written), expected, "{text}\n=>\n{written}");
        changed += usize::from(written != text);
        rewritten += documents.len();
    }
    assert!(changed > 2_500, "{changed} were changed");
    assert!(rewritten * 10 < changed, "{rewritten} of {changed} were rewritten");
}

#[test]
fn emitted_text_is_read_back_as_the_same_tree() {
    let mut random = Random(2);
    for _ in 0..2_000 {
        let node = random.node(3);
        let text = yaml(&node);
        assert_eq!(read(&text), node, "{text}");
        for text in [emit::json(&node), emit::flow(&node, true)] {
            let json: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(
                json,
                serde_json::from_str::<serde_json::Value>(&serde_json::to_string(&node).unwrap()).unwrap()
            );
        }
    }
}

#[test]
fn another_yaml_reader_reads_strings_as_strings() {
    for text in TEXTS {
        let node = Node::from(&serde_json::json!({text: [text]}));
        let read: serde_json::Value = serde_saphyr::from_str(&yaml(&node)).unwrap();
        assert_eq!(read, serde_json::json!({text: [text]}), "{}", yaml(&node));
    }
}
