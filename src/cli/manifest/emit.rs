//! Writes trees as YAML, formatted as usual for Kubernetes, and as JSON.

use super::{
    node::{Entry, Node, NodeValue},
    scalar::{resolve, spelled},
};

/// Indented JSON, with a newline at the end.
pub(super) fn json(node: &Node) -> String {
    #[expect(
        clippy::expect_used,
        reason = "keys are strings, and the parser accepts only numbers that JSON can express"
    )]
    let json = serde_json::to_string_pretty(node).expect("a JSON tree can be serialized");
    json + "\n"
}

/// A YAML document, without the `---` line.
pub(in crate::cli) fn yaml(node: &Node) -> String {
    block(node, 0, 0)
}

/// Lines of a list or map with this indentation. `dashes` is the additional indentation of list items below a key.
pub(super) fn block(node: &Node, indent: usize, dashes: usize) -> String {
    let margin = " ".repeat(indent);
    let entry = |Entry { key, value, .. }: &Entry| {
        format!("{margin}{}:{}\n", scalar(key), after_key(value, indent, dashes))
    };
    match &node.value {
        NodeValue::Map(entries) if !entries.is_empty() => entries.iter().map(entry).collect(),
        NodeValue::List(items) if !items.is_empty() => {
            items.iter().map(|node| format!("{margin}- {}\n", after_dash(node, indent + 2, dashes))).collect()
        }
        _ => format!("{margin}{}\n", inline(node, indent.max(2))),
    }
}

/// The text after `key:`, without a newline at the end.
pub(super) fn after_key(node: &Node, indent: usize, dashes: usize) -> String {
    let deeper = match &node.value {
        NodeValue::Map(entries) if !entries.is_empty() => 2,
        NodeValue::List(items) if !items.is_empty() => dashes,
        _ => return format!(" {}", inline(node, indent + 2)),
    };
    format!("\n{}", block(node, indent + deeper, dashes).trim_end_matches('\n'))
}

fn after_dash(node: &Node, indent: usize, dashes: usize) -> String {
    let lines = block(node, indent, dashes);
    lines.trim_end_matches('\n')[indent..].to_owned()
}

/// A scalar: a multi-line string as a block with this indentation, everything else in flow style.
fn inline(node: &Node, indent: usize) -> String {
    match &node.value {
        NodeValue::Text(text) => literal(text, indent).unwrap_or_else(|| scalar(text)),
        _ => flow(node, false),
    }
}

/// Flow style: on one line, with brackets.
pub(super) fn flow(node: &Node, json: bool) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match &node.value {
        NodeValue::Plain(plain) if json => spelled(plain),
        NodeValue::Plain(plain) if plain.is_empty() => "null".to_owned(),
        NodeValue::Plain(plain) => plain.clone(),
        NodeValue::Text(text) => flow_key(text, json),
        NodeValue::List(items) => format!("[{}]", join(items.iter().map(|item| flow(item, json)).collect())),
        NodeValue::Map(entries) => {
            let entry =
                |entry: &Entry| format!("{}: {}", flow_key(&entry.key, json), flow(&entry.value, json));
            format!("{{{}}}", join(entries.iter().map(entry).collect()))
        }
    }
}

/// A key or a string in flow style.
pub(super) fn flow_key(text: &str, json: bool) -> String {
    if json { quoted(text) } else { scalar(text) }
}

/// A multi-line string as a literal block (`|`), if a block can express it.
fn literal(text: &str, indent: usize) -> Option<String> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let is_printable =
        |line: &str| !line.ends_with([' ', '\t']) && !line.contains(|c: char| is_hidden(c) && c != '\t');
    let starts_with_text = !body.starts_with([' ', '\t', '\n']);
    if !text.contains('\n')
        || body.ends_with('\n')
        || !starts_with_text
        || !body.split('\n').all(is_printable)
    {
        return None;
    }
    let margin = " ".repeat(indent);
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("\n{margin}{line}") };
    let lines: String = body.split('\n').map(line).collect();
    Some(format!("|{}{lines}", if text.len() == body.len() { "-" } else { "" }))
}

/// Writes the string without quotes if every YAML reader then reads the same string. Older readers also parse dates and
/// numbers to base 60.
fn scalar(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./@%+-$()<>=;".contains(c);
    let option = ["--", "-"].iter().find_map(|dashes| text.strip_prefix(dashes));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/".contains(c))
        || option.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    // No reader parses `24Mi` as a number, but some readers parse `0x1f` and `1e3`.
    let number_like = text.starts_with(|c: char| c.is_ascii_digit())
        && (text.starts_with("0x")
            || text.starts_with("0o")
            || text.starts_with("0b")
            || !text.ends_with(|c: char| c.is_ascii_alphabetic()));
    let colons = text.split(':').all(|part| !part.is_empty() && part.chars().all(|c| inner(c) || c == ' '));
    let spaces = !text.ends_with(' ') && !text.contains(": ") && !text.contains("  ");
    if starts && colons && spaces && !number_like && resolve(text).is_none() {
        text.to_owned()
    } else {
        in_quotes(text)
    }
}

/// Writes the string in single quotes if that avoids backslashes, otherwise in double quotes.
fn in_quotes(text: &str) -> String {
    let avoids_backslashes = text.contains(['"', '\\']) && !text.contains(is_hidden);
    if avoids_backslashes { format!("'{}'", text.replace('\'', "''")) } else { quoted(text) }
}

/// Writes the string in double quotes, with invisible characters escaped; valid in JSON and in YAML.
fn quoted(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    if !quoted.contains(is_hidden) {
        return quoted;
    }
    let mut units = [0; 2];
    quoted
        .chars()
        .map(|c| match is_hidden(c) {
            true => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            false => c.to_string(),
        })
        .collect()
}

/// Control characters, other line ends, and the byte order mark.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
