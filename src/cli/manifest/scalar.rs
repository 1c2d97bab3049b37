//! Reads scalars without quotes as kubectl does: in YAML 1.1 `yes` is a bool and a leading zero means octal.

/// The JSON text of a scalar without quotes; `None` if it is a string.
pub(super) fn resolve(plain: &str) -> Option<String> {
    let json = match plain {
        "" | "~" | "null" | "Null" | "NULL" => "null",
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => "true",
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => "false",
        _ => return number(plain),
    };
    Some(json.to_owned())
}

fn number(plain: &str) -> Option<String> {
    if !plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    // A valid JSON number keeps its text, also a very large number.
    if plain.parse::<serde_json::Number>().is_ok() {
        return Some(plain.to_owned());
    }
    let digits = plain.replace('_', "");
    let (sign, digits) = match digits.strip_prefix(['-', '+']) {
        Some(rest) => (if digits.starts_with('-') { "-" } else { "" }, rest),
        None => ("", &*digits),
    };
    integer(digits).map(|integer| format!("{sign}{integer}")).or_else(|| fraction(sign, digits))
}

/// Hexadecimal, octal (a leading zero is enough, as in YAML 1.1) and binary.
fn integer(digits: &str) -> Option<u64> {
    const PREFIXES: [(&str, u32); 8] =
        [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2), ("0", 8), ("", 10)];
    let (rest, radix) =
        PREFIXES.iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)))?;
    let unsigned = !rest.starts_with(['+', '-']);
    unsigned.then(|| u64::from_str_radix(rest, *radix).ok())?
}

fn fraction(sign: &str, digits: &str) -> Option<String> {
    let is_decimal = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let number: f64 = is_decimal.then(|| format!("{sign}{digits}").parse().ok())??;
    serde_json::Number::from_f64(number).map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_read_as_kubectl_reads_them() {
        for (plain, json) in [
            ("", "null"),
            ("~", "null"),
            ("yes", "true"),
            ("Off", "false"),
            ("1", "1"),
            ("-0.50", "-0.50"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1e3", "1e3"),
            ("0777", "511"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("-0b11", "-3"),
            ("1_000", "1000"),
            ("+7", "7"),
            (".5", "0.5"),
            ("1.", "1.0"),
        ] {
            assert_eq!(resolve(plain).as_deref(), Some(json), "{plain}");
        }
        for plain in [
            "yep",
            "1.2.3",
            "24Mi",
            "100m",
            "-",
            "--1",
            "0x",
            "1-2",
            "12:30",
            "2026-01-01",
            "0b2",
            "+-1",
            ".",
            ".inf",
            "e3",
        ] {
            assert_eq!(resolve(plain), None, "{plain}");
        }
    }
}
