//! Trees as text: YAML as kubectl's users write it, and JSON.

use super::{
    node::{Entry, Node, Value},
    scalar::resolve,
};

/// Pretty JSON, with a newline at the end.
pub(super) fn json(node: &Node) -> String {
    #[expect(
        clippy::expect_used,
        reason = "keys are strings, and numbers were found to be JSON's when they were read"
    )]
    let json = serde_json::to_string_pretty(node).expect("a tree of JSON serialises");
    json + "\n"
}

/// A document, without the line that introduces it.
pub(in crate::cli) fn yaml(node: &Node) -> String {
    block(node, 0, 0)
}

/// The lines of a list or map at this indentation; `dashes` is how much further the items of lists in it stand.
pub(super) fn block(node: &Node, indent: usize, dashes: usize) -> String {
    let margin = " ".repeat(indent);
    let entry = |Entry { key, value, .. }: &Entry| {
        format!("{margin}{}:{}\n", scalar(key), after_key(value, indent, dashes))
    };
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries.iter().map(entry).collect(),
        Value::List(items) if !items.is_empty() => {
            items.iter().map(|node| format!("{margin}- {}\n", after_dash(node, indent + 2, dashes))).collect()
        }
        _ => format!("{margin}{}\n", inline(node, indent.max(2))),
    }
}

/// What follows `key:`, without a newline at the end.
pub(super) fn after_key(node: &Node, indent: usize, dashes: usize) -> String {
    let deeper = match &node.value {
        Value::Map(entries) if !entries.is_empty() => 2,
        Value::List(items) if !items.is_empty() => dashes,
        _ => return format!(" {}", inline(node, indent + 2)),
    };
    format!("\n{}", block(node, indent + deeper, dashes).trim_end_matches('\n'))
}

fn after_dash(node: &Node, indent: usize, dashes: usize) -> String {
    let lines = block(node, indent, dashes);
    lines.trim_end_matches('\n')[indent..].to_owned()
}

/// A scalar, with its lines at this indentation if it is spelt as lines; else as in brackets.
fn inline(node: &Node, indent: usize) -> String {
    match &node.value {
        Value::Text(text) => literal(text, indent).unwrap_or_else(|| scalar(text)),
        _ => flow(node, false),
    }
}

/// In brackets, on one line.
pub(super) fn flow(node: &Node, json: bool) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match &node.value {
        Value::Plain(plain) if json => resolve(plain).unwrap_or_default(),
        Value::Plain(plain) if plain.is_empty() => "null".to_owned(),
        Value::Plain(plain) => plain.clone(),
        Value::Text(text) => flow_key(text, json),
        Value::List(items) => format!("[{}]", join(items.iter().map(|item| flow(item, json)).collect())),
        Value::Map(entries) => {
            let entry =
                |entry: &Entry| format!("{}: {}", flow_key(&entry.key, json), flow(&entry.value, json));
            format!("{{{}}}", join(entries.iter().map(entry).collect()))
        }
    }
}

/// A key or a string, in brackets.
pub(super) fn flow_key(text: &str, json: bool) -> String {
    if json { quoted(text) } else { scalar(text) }
}

/// Lines as lines, where that is all there is to them.
fn literal(text: &str, indent: usize) -> Option<String> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let sound =
        |line: &str| !line.ends_with([' ', '\t']) && !line.contains(|c: char| is_hidden(c) && c != '\t');
    let starts_at_the_margin = !body.starts_with([' ', '\t', '\n']);
    if !text.contains('\n') || body.ends_with('\n') || !starts_at_the_margin || !body.split('\n').all(sound) {
        return None;
    }
    let margin = " ".repeat(indent);
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("\n{margin}{line}") };
    let lines: String = body.split('\n').map(line).collect();
    Some(format!("|{}{lines}", if text.len() == body.len() { "-" } else { "" }))
}

/// Without quotes where every reader takes it for this string, also where older ones see dates and numbers to base 60.
fn scalar(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./@%+-$()<>=;".contains(c);
    let option = ["--", "-"].iter().find_map(|dashes| text.strip_prefix(dashes));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/".contains(c))
        || option.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    // `24Mi` is nobody's number, and 0x1f and 1e3 are.
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

/// In single quotes where that spares backslashes.
fn in_quotes(text: &str) -> String {
    let spares = text.contains(['"', '\\']) && !text.contains(is_hidden);
    if spares { format!("'{}'", text.replace('\'', "''")) } else { quoted(text) }
}

/// In double quotes, with what cannot be seen escaped: JSON and YAML alike.
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
