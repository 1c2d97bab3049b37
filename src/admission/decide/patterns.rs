//! Patterns of names.

/// Whether the name matches a pattern with at most one `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    // Most patterns differ from the name within a few bytes, so the `*` is not searched first.
    let pairs = pattern.bytes().zip(name.bytes());
    let common = pairs.take_while(|(one, other)| one == other && *one != b'*').count();
    match (&pattern.as_bytes()[common..], &name.as_bytes()[common..]) {
        ([b'*', end @ ..], rest) => rest.ends_with(end),
        (rest_of_pattern, rest) => rest_of_pattern.is_empty() && rest.is_empty(),
    }
}
