//! A strict reader of the text exposition format 0.0.4. It also rejects what Prometheus only happens to tolerate.

use std::collections::BTreeMap;

/// A parsed exposition.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The families in the order of the text.
    pub families: Vec<Family>,
    series: Vec<Series>,
}

/// A metric with its `# HELP` and `# TYPE` lines.
#[derive(Debug)]
pub struct Family {
    /// The name without a suffix.
    pub name: String,
    /// The unescaped help text.
    pub help: String,
    /// `counter`, `gauge`, `histogram`, `summary` or `untyped`.
    pub kind: String,
}

/// Sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name with its suffix, such as `_bucket`.
    pub name: String,
    /// The label values by label name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

// === impl Exposition ===

impl Exposition {
    /// Parses `text`.
    ///
    /// # Errors
    /// The first line with an error, and the error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').ok_or("the last line has no line end")?;
        let mut exposition = Self::default();
        for (index, line) in text.split('\n').enumerate() {
            exposition.line(line).map_err(|error| format!("line {}: {error}: {line:?}", index + 1))?;
        }
        Ok(exposition)
    }

    /// The value of the series of `name` that has at least these labels; `None` if no series or several match.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &&Series| {
            labels.iter().all(|(name, value)| series.labels.get(*name).is_some_and(|label| label == value))
        };
        let mut matching = self.series(name).filter(has);
        matching.next().filter(|_| matching.next().is_none()).map(|series| series.value)
    }

    /// All series with exactly this name.
    pub fn series(&self, name: &str) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| series.name == name)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.help(rest)
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            self.kind(rest)
        } else {
            self.sample(line)
        }
    }

    fn help(&mut self, line: &str) -> Result<(), String> {
        let (name, help) = line.split_once(' ').ok_or("help without text")?;
        if self.families.iter().any(|family| family.name == name) {
            return Err("a second help, or a family that is not in one group".to_owned());
        }
        let (name, help) = (valid_name(name)?, unescape(help, false)?);
        self.families.push(Family { name, help, kind: String::new() });
        Ok(())
    }

    fn kind(&mut self, line: &str) -> Result<(), String> {
        let (name, kind) = line.split_once(' ').ok_or("type without a kind")?;
        let family =
            self.families.last_mut().filter(|family| family.name == name).ok_or("type without its help")?;
        if !family.kind.is_empty() || !KINDS.contains(&kind) {
            return Err("a second type, or an unknown one".to_owned());
        }
        family.kind = kind.to_owned();
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let series = series(line)?;
        let family = self.families.last().ok_or("a series before any type")?;
        if !suffixes(&family.kind).iter().any(|suffix| series.name.strip_suffix(suffix) == Some(&family.name))
        {
            return Err(format!("a series outside its family; the current family is `{}`", family.name));
        }
        if self.series(&series.name).any(|other| other.labels == series.labels) {
            return Err("the same series twice".to_owned());
        }
        self.series.push(series);
        Ok(())
    }
}

const KINDS: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "" => &[],
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["", "_sum", "_count"],
        _ => &[""],
    }
}

/// Parses `name{label="value",...} number`. A timestamp is an error: the project's programs never send one.
fn series(line: &str) -> Result<Series, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = valid_name(&line[..end])?;
    let mut rest = &line[end..];
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
            let close = closing_quote(after).ok_or("a label value without a closing quote")?;
            if labels.insert(valid_label(label)?, unescape(&after[..close], true)?).is_some() {
                return Err(format!("label `{label}` occurs twice"));
            }
            rest = &after[close + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    Ok(Series { name, labels, value: number(value)? })
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse().map_err(|_| format!("`{text}` is not a number"))
        }
        _ => Err(format!("`{text}` is not a number")),
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, quoted: bool) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quoted => '"',
                other => return Err(format!("unknown escape {other:?}")),
            },
            c => c,
        });
    }
    Ok(plain)
}

fn valid_name(name: &str) -> Result<String, String> {
    valid(name, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn valid_label(name: &str) -> Result<String, String> {
    valid(name, |c| c.is_ascii_alphanumeric() || c == '_')
}

fn valid(name: &str, allowed: impl Fn(char) -> bool) -> Result<String, String> {
    let is_valid =
        !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit());
    is_valid.then(|| name.to_owned()).ok_or_else(|| format!("`{name}` is not a valid name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_info What \\\\ it is.\n# TYPE a_info gauge\na_info{x=\"1\",y=\"q\\\"\\n\"} 1\na_info 0.5\n\
                        # HELP b_seconds B.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 2\n\
                        b_seconds_sum 3e-7\nb_seconds_count 2\n";

    #[test]
    fn a_valid_exposition_is_parsed() {
        let read = Exposition::parse(GOOD).unwrap();
        assert_eq!(read.value("a_info", &[("y", "q\"\n")]), Some(1.0));
        assert_eq!(read.value("a_info", &[]), None, "two series match");
        assert_eq!(read.value("b_seconds_sum", &[]), Some(3e-7));
        assert_eq!(read.series("a_info").count(), 2);
        assert_eq!(read.families[0].help, "What \\ it is.");
        assert_eq!(read.families[1].kind, "histogram");
    }

    #[test]
    fn format_errors_are_reported() {
        let head = "# HELP a A.\n# TYPE a gauge\n";
        for (broken, expected) in [
            ("a 1", "no line end"),
            ("b 1\n", "outside its family"),
            ("a 1\na 2\n", "twice"),
            ("a{x=\"1\",x=\"2\"} 1\n", "`x` occurs twice"),
            ("a{x=\"1} 1\n", "without a closing quote"),
            ("a{1x=\"1\"} 1\n", "not a valid name"),
            ("a{x=\"\\t\"} 1\n", "unknown escape"),
            ("a one\n", "not a number"),
            ("a 1 1700000000000\n", "not a number"),
            ("\n", "no value"),
            ("# HELP a A.\n", "second help"),
            ("# TYPE a gauge\n", "second type"),
            ("# HELP b B.\n# TYPE b meter\n", "unknown"),
            ("# HELP b B.\n# TYPE b histogram\nb 1\n", "outside its family"),
        ] {
            let error = Exposition::parse(&format!("{head}{broken}")).unwrap_err();
            assert!(error.contains(expected), "{broken:?}: {error}");
        }
    }
}
