//! JSON as CEL.

use serde_json::Value;

/// A value that stands for an expression.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) value: Value,
    pub(super) expression: String,
}

/// Lines up to this long are not broken.
const WIDTH: usize = 96;

/// An operation of a JSON Patch; path and value are expressions.
pub(super) fn add(path: &str, value: &str) -> String {
    format!("JSONPatch{{op: \"add\", path: {path}, value: {value}}}")
}

/// A list of the operation where the condition holds, else an empty one.
pub(super) fn when(condition: &str, operation: &str) -> String {
    format!("({condition} ? [{operation}] : [])")
}

/// One list of all of them: operations, and lists of them.
pub(super) fn sum(operations: &[String]) -> String {
    let list = |operation: &String| match operation.starts_with('(') {
        true => operation.clone(),
        false => format!("[{operation}]"),
    };
    operations.iter().map(list).collect::<Vec<_>>().join(" +\n")
}

/// A string. JSON's escapes are CEL's.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// Any value, with expressions in the place of what stands for them.
pub(super) fn literal(value: &Value, holes: &[Hole]) -> String {
    if let Some(hole) = holes.iter().find(|hole| hole.value == *value) {
        return hole.expression.clone();
    }
    let item = |value: &Value| match value {
        Value::String(_) => literal(value, holes),
        _ => format!("dyn({})", literal(value, holes)),
    };
    match value {
        Value::Array(items) => enclosed('[', &items.iter().map(item).collect::<Vec<_>>(), ']'),
        Value::Object(fields) => {
            let all_text = fields.values().all(Value::is_string);
            let entry = |(key, value): (&String, &Value)| match all_text {
                true => format!("{}: {}", text(key), literal(value, holes)),
                false => format!("{}: dyn({})", text(key), literal(value, holes)),
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
    fn maps_and_lists_are_of_one_type() {
        let holes = [Hole { value: json!(9478), expression: "variables.port".to_owned() }];
        for (value, cel) in [
            (json!("it's \"so\"\n"), r#""it's \"so\"\n""#),
            (json!({"a": "b", "c": "d"}), r#"{"a": "b", "c": "d"}"#),
            (json!({"a": "b", "c": true}), r#"{"a": dyn("b"), "c": dyn(true)}"#),
            (json!(["a", "b"]), r#"["a", "b"]"#),
            (json!([{"a": []}]), r#"[dyn({"a": dyn([])})]"#),
            (json!({"port": 9478}), r#"{"port": dyn(variables.port)}"#),
        ] {
            assert_eq!(literal(&value, &holes), cel);
        }
    }
}
