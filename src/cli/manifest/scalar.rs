//! Reads scalars without quotes as kubectl does: `yes` is a bool, a leading zero means octal, and a key is the string of its
//! value. The API server gets 64-bit integers and floats; a float that is a whole number has no fraction.

/// The value of a scalar without quotes that is not a string.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    /// From -2^63 to 2^64 - 1.
    Integer(i128),
    Float(f64),
}

/// The value of a scalar without quotes; `None` if it is a string.
pub(super) fn resolve(plain: &str) -> Option<Scalar> {
    Some(match plain {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return number(plain),
    })
}

/// JSON text of a scalar that is not a string, as kubectl sends it to the API server.
pub(super) fn sent(plain: &str) -> String {
    resolve(plain).map_or_else(|| "null".to_owned(), Scalar::json)
}

/// JSON text of a scalar that is not a string, with every digit that the text has.
pub(super) fn spelled(plain: &str) -> String {
    let is_json = plain.parse::<serde_json::Number>().is_ok();
    if is_json { plain.to_owned() } else { sent(plain) }
}

/// The string that kubectl reads for a key without quotes; `None` if kubectl rejects the key.
pub(super) fn key(plain: &str) -> Option<String> {
    match resolve(plain) {
        None => Some(plain.to_owned()),
        Some(Scalar::Null) => None,
        Some(Scalar::Bool(value)) => Some(value.to_string()),
        Some(Scalar::Integer(value)) => i64::try_from(value).ok().map(|value| value.to_string()),
        Some(Scalar::Float(value)) => Some(key_of_float(value)),
    }
}

fn number(plain: &str) -> Option<Scalar> {
    match plain.chars().next()? {
        '.' => float(plain),
        '+' | '-' | '0'..='9' => {
            let digits = plain.replace('_', "");
            integer(&digits).map(Scalar::Integer).or_else(|| float(&digits))
        }
        _ => None,
    }
}

/// Parses an integer of 64 bits: decimal, hexadecimal, octal (a leading zero is enough, as in YAML 1.1) or binary.
fn integer(text: &str) -> Option<i128> {
    const PREFIXES: [(&str, u32); 7] =
        [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2), ("0", 8)];
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefixed = PREFIXES.iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
    let (rest, radix) = prefixed.filter(|(rest, _)| !rest.is_empty()).unwrap_or((digits, 10));
    let magnitude = u64::from_str_radix(rest, radix).ok().filter(|_| !rest.starts_with(['+', '-']))?;
    let value = i128::from(magnitude) * if text.starts_with('-') { -1 } else { 1 };
    // Only a number without a sign may need the 64th bit.
    let fits = digits == text || i64::try_from(value).is_ok();
    fits.then_some(value)
}

fn float(text: &str) -> Option<Scalar> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let value: f64 = is_decimal.then(|| text.parse().ok())??;
    value.is_finite().then_some(Scalar::Float(value))
}

/// The shortest text that is the same number as a float of 32 bits, in the format of `%g` in C.
fn key_of_float(value: f64) -> String {
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..6 => value.to_string(),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

// === impl Scalar ===

impl Scalar {
    /// Whether JSON has such a value.
    pub(super) fn is_json(self) -> bool {
        !matches!(self, Self::Float(value) if !value.is_finite())
    }

    fn json(self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => match i64::try_from(value) {
                Ok(value) => value.to_string(),
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "kubectl reads a number above 2^63 as a float"
                )]
                Err(_) => json_of_float(value as f64),
            },
            Self::Float(value) => json_of_float(value),
        }
    }
}

/// Text of a float. It has an exponent only where Go writes one: below 1e-6 and from 1e21.
fn json_of_float(value: f64) -> String {
    match value.abs() {
        // The API server reads minus zero as zero.
        0.0 => "0".to_owned(),
        1e-6..1e21 => value.to_string(),
        _ => format!("{value:e}"),
    }
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
            ("0", "0"),
            ("1", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("-0.50", "-0.5"),
            ("1.0", "1"),
            ("1.00065e+09", "1000650000"),
            ("6.901e+03", "6901"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854776000"),
            ("18446744073709551615", "18446744073709552000"),
            ("-9223372036854775809", "-9223372036854776000"),
            ("123456789012345678901234567890", "1.2345678901234568e29"),
            ("1e3", "1000"),
            ("1e21", "1e21"),
            ("0.0000001", "1e-7"),
            ("1e-400", "0"),
            ("0777", "511"),
            ("08", "8"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("-0b11", "-3"),
            ("1_000", "1000"),
            ("+7", "7"),
            (".5", "0.5"),
            ("1.", "1"),
        ] {
            assert!(resolve(plain).is_some(), "{plain}");
            assert_eq!(sent(plain), json, "{plain}");
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
            "e3",
            "1e400",
            "_1",
            "inf",
            "+18446744073709551615x",
        ] {
            assert_eq!(resolve(plain), None, "{plain}");
        }
    }

    #[test]
    fn a_key_is_the_string_of_its_value() {
        for (plain, text) in [
            ("on", Some("true")),
            ("n", Some("false")),
            ("08", Some("8")),
            ("1_000", Some("1000")),
            ("0x1F", Some("31")),
            ("1.0", Some("1")),
            ("1.10", Some("1.1")),
            ("1000000.0", Some("1e+06")),
            ("0.00001", Some("1e-05")),
            (".inf", Some(".inf")),
            ("12:30", Some("12:30")),
            ("~", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(key(plain).as_deref(), text, "{plain}");
        }
    }

    #[test]
    fn a_number_keeps_its_digits_where_json_has_them() {
        for (plain, json) in
            [("1.50", "1.50"), ("1.00065e+09", "1.00065e+09"), ("1.", "1"), ("0x10", "16"), ("", "null")]
        {
            assert_eq!(spelled(plain), json, "{plain}");
        }
    }
}
