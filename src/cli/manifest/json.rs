//! Strings of JSON. The YAML parser rejects characters and escapes that JSON allows in a string.

/// Replaces each byte inside the strings of a JSON text by `x`, so that all positions stay the same.
pub(super) fn masked(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mask = |byte: u8| {
        let is_quote = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        in_string ^= is_quote;
        if in_string && !is_quote { 'x' } else { char::from(byte) }
    };
    json.bytes().map(mask).collect()
}

/// Decodes a JSON string. As in kubectl, half of a surrogate pair becomes U+FFFD.
pub(super) fn string(quoted: &str) -> String {
    let mut rest = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    let mut units = vec![];
    while let Some((text, escape)) = rest.split_once('\\') {
        units.extend(text.encode_utf16());
        let (unit, length) = unit(escape);
        units.push(unit);
        rest = &escape[length..];
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

/// The UTF-16 unit of an escape, and its length in bytes, without the backslash.
fn unit(escape: &str) -> (u16, usize) {
    let unit = match escape.as_bytes() {
        [b'u', ..] => return (u16::from_str_radix(&escape[1..5], 16).unwrap_or_default(), 5),
        [b'b', ..] => 0x08,
        [b'f', ..] => 0x0c,
        [b'n', ..] => b'\n',
        [b'r', ..] => b'\r',
        [b't', ..] => b'\t',
        [other, ..] => *other,
        [] => return (0, 0),
    };
    (unit.into(), 1)
}
