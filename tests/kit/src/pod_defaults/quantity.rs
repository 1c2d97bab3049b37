//! Kubernetes quantities, parsed and formatted as in `apimachinery/pkg/api/resource`. This code is independent of the product's
//! code, because tests compare the two.

use serde_json::Value;

/// The canonical form of a quantity. A value that is not a quantity is returned unchanged.
pub(super) fn canonical(quantity: &Value) -> Value {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    let Some((nano, form)) = parse(&text) else { return quantity.clone() };
    // The API server rounds the amounts of a resource list up to a thousandth.
    let milli = nano.div_euclid(1_000_000) + i128::from(nano.rem_euclid(1_000_000) != 0);
    let (units, rest) = (milli / 1000, milli % 1000);
    match form {
        _ if rest != 0 => format!("{milli}m"),
        Form::Binary if units >= 1024 => scaled(units, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
        Form::Exponent => scaled(units, 1000, &["", "e3", "e6", "e9", "e12", "e15", "e18"]),
        Form::Binary | Form::Decimal => scaled(units, 1000, &["", "k", "M", "G", "T", "P", "E"]),
    }
    .into()
}

#[derive(Clone, Copy)]
pub(super) enum Form {
    Decimal,
    Binary,
    Exponent,
}

fn scaled(mut number: i128, base: i128, suffixes: &[&str]) -> String {
    let mut step = 0;
    while number != 0 && number % base == 0 && step + 1 < suffixes.len() {
        (number, step) = (number / base, step + 1);
    }
    format!("{number}{}", suffixes[step])
}

/// The amount in billionths, and the quantity's form. An amount above 10^29 is the largest one that fits.
pub(super) fn parse(text: &str) -> Option<(i128, Form)> {
    let text = text.trim().trim_start_matches('+');
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = format!("{integer}{fraction}").parse::<i128>().ok()?;
    let (scale, form) = match suffix {
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => {
            let power = "KMGTPE".find(&suffix[..1])? + 1;
            (1_000_000_000 * 1024_i128.pow(u32::try_from(power).ok()?), Form::Binary)
        }
        _ => {
            let step =
                ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].iter().position(|known| *known == suffix);
            let (power, form) = match step {
                Some(step) => (i32::try_from(step).ok()? * 3 - 9, Form::Decimal),
                None => (suffix.strip_prefix(['e', 'E'])?.parse().ok()?, Form::Exponent),
            };
            (10_i128.saturating_pow(u32::try_from(power + 9).ok()?), form)
        }
    };
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let product = digits.saturating_mul(scale);
    let amount = product / divisor + i128::from(product % divisor != 0);
    // Only amounts with a binary suffix have a maximum: 2^63-1.
    let maximum = if matches!(form, Form::Binary) { 1_000_000_000 * i128::from(i64::MAX) } else { i128::MAX };
    Some((amount.min(maximum), form))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_formatted_as_in_kubernetes() {
        for (text, expected) in [
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("1.5Gi", "1536Mi"),
            ("0", "0"),
            ("1000", "1k"),
            ("2e3", "2e3"),
            ("0.0001", "1m"),
            ("100m", "100m"),
            ("24Mi", "24Mi"),
            ("0.5Ki", "512"),
            ("8Ei", "9223372036854775807"),
            (" +1 ", "1"),
        ] {
            assert_eq!(canonical(&json!(text)), expected, "{text}");
        }
        assert_eq!(canonical(&json!("lots")), "lots");
    }
}
