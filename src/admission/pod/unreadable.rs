//! Why an object or a pod cannot be read: the field, its value and the remedy.
//!
//! An error of serde_json has no path. Therefore, after a failure, the text is parsed again with a deserializer that records the
//! path. A readable pod is parsed once.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use super::{object::StrictObject, text::StringMap, view::PodView};

/// A field that cannot be read. Contains no string of the object except keys: a string can be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableField {
    /// Keys and indices from the object to the field, without control characters.
    path: Vec<String>,
    /// The value and the remedy.
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

/// Types as serde names them, and as a user writes them. The names of other types need no translation.
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

/// Errors about a field that serde reports at the object of the field.
const FIELD_ERRORS: [(&str, &str); 2] = [
    ("missing field `", "is missing: add it"),
    ("duplicate field `", "is there twice: remove one of the two"),
];

/// Maximum length of the text for users: keys of annotations can be long.
const MAX_TEXT: usize = 400;

/// Maximum length of a number in the text.
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

    /// The first field that cannot be read as a part of the type `T`.
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

    /// A field that the object does not have.
    #[must_use]
    pub fn missing(path: &[String]) -> Self {
        Self::new("is missing: add it").within(path)
    }

    /// A field with another type than a map. `json` is its value.
    #[must_use]
    pub fn not_a_map(path: &[String], json: &[u8]) -> Self {
        Self::new(wrong_type(&String::from_utf8_lossy(json), "a map")).within(path)
    }

    /// The object itself, if its text cannot be parsed again.
    pub(in crate::admission) fn unknown() -> Self {
        Self::new("is missing or is not UTF-8")
    }

    /// Keys and indices from the object to the field.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The field, with a path that begins at the document. `path` leads from the document to the object.
    #[must_use]
    pub fn within(self, path: &[String]) -> Self {
        let path = path.iter().map(|step| printable(step)).chain(self.path).collect();
        Self { path, ..self }
    }

    /// The text in at most `max` characters. The middle of a path that is too long is left out.
    pub(in crate::admission) fn text(&self, max: usize) -> String {
        let Self { path, problem } = self;
        format!("{} {problem}", shortened(&field_path(path), max.saturating_sub(problem.len() + 1)))
    }

    fn new(problem: impl Into<String>) -> Self {
        Self { path: vec![], problem: problem.into() }
    }
}

/// The text for users and logs.
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

/// `text` is serde's text of the error.
fn problem(error: &serde_json::Error, text: &str, value: Option<&str>) -> String {
    match (text.rsplit_once(", expected "), value) {
        (Some((found, expected)), _) if found.starts_with("invalid value: string") => {
            format!("is not valid: write {expected}")
        }
        (Some((_, expected)), Some(value)) => wrong_type(value, expected),
        (None, _) if !error.is_data() => format!("cannot be read: {text}"),
        // The text can contain a string of the object. Only the text of a syntax error cannot.
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
        // A struct of this program or of the Kubernetes API.
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

/// ASCII without control characters.
fn printable(key: &str) -> String {
    key.escape_default().to_string()
}

/// `text`, which is ASCII, in at most `max` characters.
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
            (r#"{"spec": {}, "spec": {}}"#, "spec is there twice: remove one of the two"),
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
