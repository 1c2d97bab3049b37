//! The file with the pod's annotations, as the kubelet writes it (downward API): lines `key="value"`.

/// The value of an annotation; none if the pod does not have it. Escapes are not decoded, because no valid value of the annotations
/// that are read has one.
///
/// # Errors
/// Fails if the file is not complete: the missing part may contain the annotation.
pub fn value<'t>(text: &'t str, key: &str) -> Result<Option<&'t str>, String> {
    if !text.trim_end().is_empty() && !text.trim_end().ends_with('"') {
        return Err("the last line has no closing quotation mark".to_owned());
    }
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix("=\""));
    value
        .map(|value| {
            value.strip_suffix('"').ok_or_else(|| format!("the value of {key} has no closing quotation mark"))
        })
        .transpose()
}

/// The keys of the annotations.
pub fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_once("=\"")).map(|(key, _)| key)
}
