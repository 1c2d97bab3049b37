//! Finds the field because of which an object or a pod cannot be read, its value and the remedy.
//!
//! An error of serde_json has no path. So after a failure the JSON is parsed a second time, with a deserializer that records the
//! path. A readable pod is parsed once.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use super::{object::StrictObject, text::StringMap, view::PodView};

/// A field that cannot be read. Contains the object's keys but not its strings, because a string can be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableField {
    /// Keys and indices from the object to the field, without control characters.
    path: Vec<String>,
    /// Value of the field and the remedy, in words for users.
    problem: String,
}

/// The fields that every object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the fields are only parsed")]
struct ObjectView<'a> {
    #[serde(borrow)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<StrictObject<ObjectMetadataView<'a>>>,
    /// Only lists have this field.
    items: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the fields are only parsed")]
struct ObjectMetadataView<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    generate_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    labels: Option<StringMap<'a>>,
    #[serde(borrow)]
    annotations: Option<StringMap<'a>>,
}

/// Names of types in serde's errors, each with the words for users. Other names stay as they are.
const TYPES: [(&str, &str); 9] = [
    ("Quantity", "a quantity such as 100m or 24Mi"),
    ("a string", "a string in quotes"),
    ("a boolean", "true or false without quotes"),
    ("a sequence", "a list"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number without quotes"),
    ("u64", "a whole number without quotes"),
    ("i32", "a whole number without quotes"),
    ("i64", "a whole number without quotes"),
];

/// Starts of serde's errors whose path ends at the parent of the field, each with the words for users.
const FIELD_ERRORS: [(&str, &str); 2] =
    [("missing field `", "is missing: add it"), ("duplicate field `", "occurs twice: remove one of the two")];

/// Maximum length of a message. Keys of annotations can be long.
const MAX_TEXT: usize = 400;

/// Maximum length of a number in a message.
const MAX_NUMBER: usize = 16;

// === impl UnreadableField ===

impl UnreadableField {
    /// The first field of a pod that cannot be read.
    #[must_use]
    pub fn of_pod(json: &[u8]) -> Option<Self> {
        Self::of::<PodView<'_>>(json)
    }

    /// The first field that cannot be read, among those that every object has.
    #[must_use]
    pub fn of_object(json: &[u8]) -> Option<Self> {
        Self::of::<ObjectView<'_>>(json)
    }

    /// The first field that cannot be read if the object is parsed as the type `T`.
    #[must_use]
    pub fn of<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let error = serde_path_to_error::deserialize::<_, StrictObject<T>>(&mut deserializer).err()?;
        let text = error.inner().to_string();
        let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
        let steps = error.path().iter().filter_map(step);
        let field_error = FIELD_ERRORS.iter().find_map(|(start, problem)| {
            let field = text.strip_prefix(start)?.trim_end_matches('`');
            Some((field.to_owned(), (*problem).to_owned()))
        });
        let (field, problem) = match field_error {
            Some((field, problem)) => (Some(field), problem),
            None => (None, problem(error.inner(), text, value_at(json, error.path()))),
        };
        Some(Self { path: steps.chain(field).collect(), problem })
    }

    /// A required field that is absent.
    #[must_use]
    pub fn missing(path: &[String]) -> Self {
        Self::new("is missing: add it").within(path)
    }

    /// A field whose value must be a map and is not. `json` is the value.
    #[must_use]
    pub fn not_a_map(path: &[String], json: &[u8]) -> Self {
        Self::new(wrong_type(&String::from_utf8_lossy(json), "a map")).within(path)
    }

    /// The object itself, if it is absent or is not UTF-8.
    pub(in crate::admission) fn unknown() -> Self {
        Self::new("is missing or is not UTF-8")
    }

    /// Keys and indices from the object to the field.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Extends the path of the field to the root of the document. `path` is the path from the root to the object.
    #[must_use]
    pub fn within(self, path: &[String]) -> Self {
        let path = path.iter().map(|step| printable(step)).chain(self.path).collect();
        Self { path, ..self }
    }

    /// The message in at most `max` characters. If the path is too long, its middle is left out.
    pub(in crate::admission) fn text(&self, max: usize) -> String {
        let Self { path, problem } = self;
        format!("{} {problem}", shortened(&field_path(path), max.saturating_sub(problem.len() + 1)))
    }

    fn new(problem: impl Into<String>) -> Self {
        Self { path: vec![], problem: problem.into() }
    }
}

/// The message for users and logs.
impl fmt::Display for UnreadableField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(MAX_TEXT))
    }
}

/// A path as Kubernetes writes it: `spec.containers[0].name`, `metadata.annotations[prometheus.io/port]`.
#[must_use]
pub fn field_path(path: &[String]) -> String {
    if path.is_empty() {
        return "the object".to_owned();
    }
    let mut text = String::new();
    for step in path {
        let is_name = step.starts_with(|c: char| c.is_ascii_alphabetic())
            && step.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match (is_name, text.is_empty()) {
            (true, true) => text += step,
            (true, false) => text += &format!(".{step}"),
            (false, _) => text += &format!("[{step}]"),
        }
    }
    text
}

/// What is wrong with the field, and the remedy. `text` is serde's message, `value` the JSON of the field.
fn problem(error: &serde_json::Error, text: &str, value: Option<&str>) -> String {
    match (text.rsplit_once(", expected "), value) {
        (Some((found, expected)), _) if found.starts_with("invalid value: string") => {
            format!("is not valid: write {expected}")
        }
        (Some((_, expected)), Some(value)) => wrong_type(value, expected),
        (None, _) if !error.is_data() => format!("cannot be read: {text}"),
        // Any other message may contain a string of the object, which can be a secret.
        _ => "cannot be read".to_owned(),
    }
}

fn wrong_type(value: &str, expected: &str) -> String {
    let value = match value.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "a map",
        _ => value.get(..MAX_NUMBER).unwrap_or(value),
    };
    let expected = match TYPES.iter().find(|(serde, _)| *serde == expected) {
        Some((_, written)) => written,
        // serde names a struct of this program or of the Kubernetes API.
        None if expected.starts_with("struct ") || expected.starts_with(char::is_uppercase) => "a map",
        None => expected,
    };
    format!("is {value}: write {expected}")
}

/// The JSON text at the end of a path.
fn value_at<'a>(json: &'a [u8], path: &Path) -> Option<&'a str> {
    let root: &RawValue = serde_json::from_slice(json).ok()?;
    let value = path.iter().try_fold(root, |value, segment| match segment {
        Segment::Seq { index } => {
            serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(*index).copied()
        }
        Segment::Map { key } => {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()).ok()?.remove(key)
        }
        _ => None,
    });
    value.map(RawValue::get)
}

fn step(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(printable(key)),
        _ => None,
    }
}

/// Escapes control characters and characters that are not ASCII.
fn printable(key: &str) -> String {
    key.escape_default().to_string()
}

/// Shortens a text in ASCII to at most `max` characters. Leaves out the middle.
fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return text.into();
    }
    let kept = max.saturating_sub(3);
    let (head, tail) = (kept / 2, kept - kept / 2);
    format!("{}...{}", &text[..head], &text[text.len() - tail..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_at_most_the_given_length_and_no_control_character() {
        let long = "x".repeat(500);
        for key in [&*long, "\u{1b}[2J\n", "ä/ö", "a]b", ""] {
            let pod = serde_json::json!({"metadata": {"annotations": {key: 8080}}, "spec": {}});
            let field = UnreadableField::of_pod(pod.to_string().as_bytes()).unwrap();
            let text = field.text(107);
            assert!(text.len() <= 107 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
            assert!(text.starts_with("metadata.annotations"), "{text}");
            assert!(text.ends_with(" is 8080: write a string in quotes"), "{text}");
        }
    }

    #[test]
    fn a_text_describes_errors_that_are_no_wrong_type() {
        for (pod, expected) in [
            (r#"{"spec": {}, "spec": {}}"#, "spec occurs twice: remove one of the two"),
            (r#"{"metadata": {}}"#, "spec is missing: add it"),
            (r#"{"spec": {"containers": [{}]}}"#, "spec.containers[0].name is missing: add it"),
            (r#"{"spec": {"activeDeadlineSeconds": 1e400}}"#, "spec.activeDeadlineSeconds cannot be read: "),
            (r#"{"spec": {"os": {"name": "\ud800"}}}"#, "spec.os.name cannot be read: "),
            (r#"{"metadata": {"labels": {"\ud800": "a"}}}"#, "metadata.labels cannot be read: "),
            (r#"{"spec": "secret"#, "spec cannot be read: EOF"),
            (r#"{"spec": "secret""#, "spec cannot be read"),
            ("", "the object cannot be read: EOF"),
        ] {
            let text = UnreadableField::of_pod(pod.as_bytes()).unwrap().to_string();
            assert!(text.starts_with(expected), "{pod}: {text}");
        }
    }
}
