//! Writes JSON values as CEL expressions.

use serde_json::Value;

/// A value in the answer to an example pod, and the CEL expression that replaces it.
#[derive(Debug)]
pub(super) struct Placeholder {
    pub(super) value: Value,
    pub(super) expression: String,
}

/// Maximum length of an expression on one line.
const WIDTH: usize = 96;

/// An operation of a JSON Patch; path and value are expressions.
pub(super) fn add(path: &str, value: &str) -> String {
    format!("JSONPatch{{op: \"add\", path: {path}, value: {value}}}")
}

/// A list with the operation if the condition is true, otherwise an empty list.
pub(super) fn when(condition: &str, operation: &str) -> String {
    format!("({condition} ? [{operation}] : [])")
}

/// Joins operations and lists of operations into one list.
pub(super) fn sum(operations: &[String]) -> String {
    let list = |operation: &String| match operation.starts_with('(') {
        true => operation.clone(),
        false => format!("[{operation}]"),
    };
    operations.iter().map(list).collect::<Vec<_>>().join(" +\n")
}

/// A string literal. JSON and CEL have the same escapes.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression for any of the patterns, as a literal. A `*` in a pattern matches any characters.
pub(super) fn any_of<'p>(patterns: impl Iterator<Item = &'p str>) -> String {
    let patterns: Vec<_> = patterns.map(|pattern| pattern.replace('.', "\\.").replace('*', ".*")).collect();
    text(&format!("^({})$", patterns.join("|")))
}

/// A literal of any value, with placeholders replaced by their expressions.
pub(super) fn literal(value: &Value, placeholders: &[Placeholder]) -> String {
    if let Some(placeholder) = placeholders.iter().find(|placeholder| placeholder.value == *value) {
        return placeholder.expression.clone();
    }
    let item = |value: &Value| match value {
        Value::String(_) => literal(value, placeholders),
        _ => format!("dyn({})", literal(value, placeholders)),
    };
    match value {
        Value::Array(items) => enclosed('[', &items.iter().map(item).collect::<Vec<_>>(), ']'),
        Value::Object(fields) => {
            let all_text = fields.values().all(Value::is_string);
            let entry = |(key, value): (&String, &Value)| match all_text {
                true => format!("{}: {}", text(key), literal(value, placeholders)),
                false => format!("{}: dyn({})", text(key), literal(value, placeholders)),
            };
            enclosed('{', &fields.iter().map(entry).collect::<Vec<_>>(), '}')
        }
        scalar => scalar.to_string(),
    }
}

fn enclosed(open: char, items: &[String], close: char) -> String {
    let line = format!("{open}{}{close}", items.join(", "));
    if line.len() <= WIDTH && !line.contains('\n') {
        return line;
    }
    let indented = items.join(",\n").replace('\n', "\n  ");
    format!("{open}\n  {indented}\n{close}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_different_types_are_wrapped_in_dyn() {
        let placeholders = [Placeholder { value: json!(9478), expression: "variables.port".to_owned() }];
        for (value, cel) in [
            (json!("it's \"so\"\n"), r#""it's \"so\"\n""#),
            (json!({"a": "b", "c": "d"}), r#"{"a": "b", "c": "d"}"#),
            (json!({"a": "b", "c": true}), r#"{"a": dyn("b"), "c": dyn(true)}"#),
            (json!(["a", "b"]), r#"["a", "b"]"#),
            (json!([{"a": []}]), r#"[dyn({"a": dyn([])})]"#),
            (json!({"port": 9478}), r#"{"port": dyn(variables.port)}"#),
        ] {
            assert_eq!(literal(&value, &placeholders), cel);
        }
    }
}
