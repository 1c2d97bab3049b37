//! Kubernetes quantities, exact to a thousandth. The API server compares limits with the same precision.

use std::{
    fmt,
    iter::{Sum, repeat_n},
    ops::{Add, Neg},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in thousandths of its unit. Smaller fractions are rounded up in magnitude, as in Kubernetes. An amount that does not
/// fit, above 10^35, is the largest one that fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

/// Suffixes and their value in thousandths, the largest first.
const BINARY: [(&str, i128); 6] = [
    ("Ei", 1000 << 60),
    ("Pi", 1000 << 50),
    ("Ti", 1000 << 40),
    ("Gi", 1000 << 30),
    ("Mi", 1000 << 20),
    ("Ki", 1000 << 10),
];
/// Suffixes and their value in thousandths, the largest first.
const DECIMAL: [(&str, i128); 8] = [
    ("E", 1000 * 10_i128.pow(18)),
    ("P", 1000 * 10_i128.pow(15)),
    ("T", 1000 * 10_i128.pow(12)),
    ("G", 1000 * 10_i128.pow(9)),
    ("M", 1000 * 10_i128.pow(6)),
    ("k", 1000 * 10_i128.pow(3)),
    ("", 1000),
    ("m", 1),
];

/// Number of zeros after which any positive amount has reached its maximum.
const MAX_ZEROS: usize = 40;

/// Number of digits that always fit into 64 bits.
const MAX_SHORT: usize = 18;

// === impl Quantity ===

impl Quantity {
    /// The largest amount that Kubernetes promises to handle.
    pub const MAX: Self = Self(1000 * i64::MAX as i128);

    /// A number of thousandths.
    #[must_use]
    pub const fn thousandths(count: i128) -> Self {
        Self(count)
    }

    /// A number of MiB.
    #[must_use]
    pub const fn mebibytes(count: i128) -> Self {
        Self(count * (1000 << 20))
    }

    /// Parses the Kubernetes notation: `100m`, `1.5`, `24Mi`, `1e3`; `None` for any other text. A text with a suffix and no digit
    /// is 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
        if text.is_empty() || fraction.contains('.') {
            return None;
        }
        let (unit, exponent) = scale(suffix)?;
        let amount = thousandths(integer, fraction, unit, exponent);
        let amount = if suffix.ends_with('i') { amount.min(Self::MAX.0) } else { amount };
        Some(Self(if negative { -amount } else { amount }))
    }

    /// The amount multiplied by a factor.
    #[must_use]
    pub const fn times(self, factor: Self) -> Self {
        Self(self.0.saturating_mul(factor.0) / 1000)
    }

    /// Whether the amount is above 0.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

/// The value of a suffix: thousandths, to multiply by a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let entry = BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix);
    match (entry, suffix) {
        (Some((_, thousandths)), _) => Some((*thousandths, 0)),
        (None, "u") => Some((1, -3)),
        (None, "n") => Some((1, -6)),
        (None, _) => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "Kubernetes keeps the lower 32 bits too")]
            Some((1, (exponent as i32).saturating_add(3)))
        }
    }
}

/// `integer.fraction` times `unit` times ten to the power of `exponent`, rounded up. Either the unit is 1 or the exponent is 0.
fn thousandths(integer: &str, fraction: &str, unit: i128, exponent: i32) -> i128 {
    // Almost every amount is a short integer, and 64-bit arithmetic needs a fraction of the time.
    if exponent == 0 && fraction.is_empty() && integer.len() <= MAX_SHORT {
        return integer.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')) as i128 * unit;
    }
    let digits = || integer.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0'));
    let count = integer.len() + fraction.len();
    // The number of digits before the decimal point, after the exponent has moved the point.
    let before = usize::try_from(integer.len() as i64 + i64::from(exponent)).unwrap_or(0);
    let zeros = before.saturating_sub(count).min(MAX_ZEROS);
    let above = digits().take(before).chain(repeat_n(0, zeros));
    let above = above.fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
    // The loop goes from the last digit to the first. Rounding up at each step has the same result as rounding up at the end.
    let below = digits().rev().take(count.saturating_sub(before));
    let below = below.fold(0, |rest, digit| (digit * unit + rest + 9) / 10);
    above.saturating_mul(unit).saturating_add(below)
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::default(), Add::add)
    }
}

/// Writes the quantity with the largest suffix that gives an integer. Binary suffixes take precedence.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sizes are compared first, because a 128-bit remainder is slow.
        let fits = |(_, thousandths): &&(&str, i128)| {
            self.0.unsigned_abs() >= thousandths.unsigned_abs() && self.0 % thousandths == 0
        };
        let (suffix, thousandths) = BINARY.iter().chain(&DECIMAL).find(fits).unwrap_or(&("", 1000));
        write!(f, "{}{suffix}", self.0 / thousandths)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A string, with or without blanks around it, or a plain number such as `2` for two CPUs.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;

        impl de::Visitor<'_> for QuantityVisitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 100m or 24Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text.trim()).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(i128::from(number) * 1000))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(i128::from(number) * 1000))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(QuantityVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read_as_the_api_server_reads_it() {
        let rows = include_str!("../../tests/quantities.tsv").lines().filter(|line| !line.starts_with('#'));
        for (spelling, thousandths) in rows.map(|row| row.split_once('\t').unwrap()) {
            let read = serde_json::from_str::<Quantity>(spelling).ok();
            let expected = match thousandths {
                "invalid" => None,
                amount => Some(Quantity(amount.parse().unwrap_or(i128::MAX))),
            };
            // `\u0031` is a digit in JSON, but the API server does not decode the escape.
            assert!(read == expected || spelling.contains('\\'), "{spelling} is read as {read:?}");
        }
    }

    #[test]
    fn a_number_is_read_as_its_text() {
        for (number, thousandths) in
            [("2", 2000), ("-1", -1000), ("1.5", 1500), ("1e-4", 1), ("1e20", 100_000 * 10_i128.pow(18))]
        {
            assert_eq!(serde_json::from_str::<Quantity>(number).unwrap(), Quantity(thousandths), "{number}");
        }
    }

    #[test]
    fn an_annotation_has_no_blanks() {
        assert_eq!(Quantity::parse(" 1"), None);
    }

    #[test]
    fn a_quantity_is_written_with_the_largest_suffix() {
        for text in ["100m", "1", "24Mi", "1536Mi", "1Gi", "1M", "0", "1500m"] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Quantity::parse("0.5").unwrap().to_string(), "500m");
        assert_eq!(Quantity::parse("1024Mi").unwrap().to_string(), "1Gi");
        for amount in [i128::MAX, -i128::MAX] {
            assert_eq!(Quantity::parse(&Quantity(amount).to_string()), Some(Quantity(amount)));
        }
    }
}
