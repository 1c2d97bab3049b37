//! Kubernetes quantities, exact to a thousandth. The API server compares limits with the same precision.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, Neg},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in thousandths of its unit. Smaller fractions are rounded up, as in Kubernetes.
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

/// Maximum number of digits. Kubernetes limits amounts to 2^63-1; a longer number is not a realistic quantity.
const MAX_DIGITS: usize = 18;

// === impl Quantity ===

impl Quantity {
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

    /// Parses the Kubernetes notation: `100m`, `1.5`, `24Mi`, `1e3`; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (amount, decimals) = digits(number)?;
        let (per_unit, unit_divisor) = scale(suffix)?;
        let amount = i128::from(amount).checked_mul(per_unit)?;
        // The divisor is 1 for nearly every quantity, and a 128-bit division costs more than the rest of the function.
        let rounded = match (decimals, unit_divisor) {
            (0, 1) => amount,
            _ => {
                let divisor = 10_i128.checked_pow(decimals)?.checked_mul(unit_divisor)?;
                amount.checked_add(divisor - 1)? / divisor
            }
        };
        Some(Self(if negative { -rounded } else { rounded }))
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

/// The digits of a number without the decimal point, and how many digits follow the point.
fn digits(number: &str) -> Option<(u64, u32)> {
    let (mut amount, mut decimals, mut count, mut point) = (0_u64, 0, 0, false);
    for byte in number.bytes() {
        match byte {
            b'0'..=b'9' if count < MAX_DIGITS => {
                (amount, count) = (amount * 10 + u64::from(byte - b'0'), count + 1);
                decimals += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    (count > 0).then_some((amount, decimals))
}

/// The value of a suffix in thousandths, and a divisor for suffixes below a thousandth.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let entry = BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix);
    match (entry, suffix) {
        (Some((_, thousandths)), _) => Some((*thousandths, 1)),
        (None, "u") => Some((1, 1000)),
        (None, "n") => Some((1, 1_000_000)),
        (None, _) => exponent(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

fn exponent(power: i32) -> Option<(i128, i128)> {
    let factor = |power: i32| 10_i128.checked_pow(u32::try_from(power).ok().filter(|power| *power <= 18)?);
    let power = power.checked_add(3)?;
    if power < 0 { Some((1, factor(-power)?)) } else { Some((factor(power)?, 1)) }
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

/// A string, or a plain number such as `2` for two CPUs.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;

        impl de::Visitor<'_> for QuantityVisitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 100m or 24Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
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
    fn parse_accepts_the_notation_of_kubernetes_only() {
        for (text, thousandths) in [
            ("100m", 100),
            ("1", 1000),
            ("0.5", 500),
            ("1.", 1000),
            (".5", 500),
            ("1e3", 1_000_000),
            ("2E-1", 200),
            ("100u", 1),
            ("1n", 1),
            ("24Mi", 24_000 << 20),
            ("1G", 1_000_000_000_000),
            ("-1", -1000),
        ] {
            assert_eq!(Quantity::parse(text), Some(Quantity(thousandths)), "{text}");
        }
        for text in ["", "m", "10 m", "10mb", "1.2.3", "0x1", "1e", "9999999999999999999", "1e99", "--1"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_quantity_is_written_with_the_largest_suffix() {
        for text in ["100m", "1", "24Mi", "1536Mi", "1Gi", "1M", "0", "1500m"] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Quantity::parse("0.5").unwrap().to_string(), "500m");
        assert_eq!(Quantity::parse("1024Mi").unwrap().to_string(), "1Gi");
    }
}
