//! A strict reader of the text exposition format 0.0.4: what Prometheus lets pass by luck is an error here.

use std::collections::BTreeMap;

/// A whole exposition.
#[derive(Debug, Default)]
pub struct Exposition {
    /// In their order.
    pub families: Vec<Family>,
    series: Vec<Series>,
}

/// What `# HELP` and `# TYPE` say of one metric.
#[derive(Debug)]
pub struct Family {
    /// Without suffix.
    pub name: String,
    /// Unescaped help text.
    pub help: String,
    /// `counter`, `gauge`, `histogram`, `summary` or `untyped`.
    pub kind: String,
}

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// With suffix, such as `_bucket`.
    pub name: String,
    /// By label name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

// === impl Exposition ===

impl Exposition {
    /// Reads `text`.
    ///
    /// # Errors
    /// The first line that breaks the format, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').ok_or("the last line has no end")?;
        let mut exposition = Self::default();
        for (index, line) in text.split('\n').enumerate() {
            exposition.line(line).map_err(|error| format!("line {}: {error}: {line:?}", index + 1))?;
        }
        Ok(exposition)
    }

    /// The value of the one series of `name` that has at least these labels; `None` where there is none or several.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &&Series| {
            labels.iter().all(|(name, value)| series.labels.get(*name).is_some_and(|known| known == value))
        };
        let mut found = self.series(name).filter(has);
        found.next().filter(|_| found.next().is_none()).map(|series| series.value)
    }

    /// Every series of exactly that name.
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
            return Err("a second help, or a group in two places".to_owned());
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
            return Err(format!("a series outside its group, which is `{}`", family.name));
        }
        if self.series(&series.name).any(|known| known.labels == series.labels) {
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

/// `name{label="value",...} number`, without a timestamp: none of our programs sends one.
fn series(line: &str) -> Result<Series, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = valid_name(&line[..end])?;
    let mut rest = &line[end..];
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
            let close = closing_quote(after).ok_or("a label value without an end")?;
            if labels.insert(valid_label(label)?, unescape(&after[..close], true)?).is_some() {
                return Err(format!("label `{label}` twice"));
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
            text.parse().map_err(|_| format!("`{text}` is no number"))
        }
        _ => Err(format!("`{text}` is no number")),
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
    let fine =
        !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit());
    fine.then(|| name.to_owned()).ok_or_else(|| format!("`{name}` is no name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_info What \\\\ it is.\n# TYPE a_info gauge\na_info{x=\"1\",y=\"q\\\"\\n\"} 1\na_info 0.5\n\
                        # HELP b_seconds B.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 2\n\
                        b_seconds_sum 3e-7\nb_seconds_count 2\n";

    #[test]
    fn what_is_written_is_read() {
        let read = Exposition::parse(GOOD).unwrap();
        assert_eq!(read.value("a_info", &[("y", "q\"\n")]), Some(1.0));
        assert_eq!(read.value("a_info", &[]), None, "two series have no one value");
        assert_eq!(read.value("b_seconds_sum", &[]), Some(3e-7));
        assert_eq!(read.series("a_info").count(), 2);
        assert_eq!(read.families[0].help, "What \\ it is.");
        assert_eq!(read.families[1].kind, "histogram");
    }

    #[test]
    fn what_breaks_the_format_is_refused() {
        let head = "# HELP a A.\n# TYPE a gauge\n";
        for (broken, complaint) in [
            ("a 1", "no end"),
            ("b 1\n", "outside its group"),
            ("a 1\na 2\n", "twice"),
            ("a{x=\"1\",x=\"2\"} 1\n", "`x` twice"),
            ("a{x=\"1} 1\n", "without an end"),
            ("a{1x=\"1\"} 1\n", "no name"),
            ("a{x=\"\\t\"} 1\n", "unknown escape"),
            ("a one\n", "no number"),
            ("a 1 1700000000000\n", "no number"),
            ("\n", "no value"),
            ("# HELP a A.\n", "second help"),
            ("# TYPE a gauge\n", "second type"),
            ("# HELP b B.\n# TYPE b meter\n", "unknown"),
            ("# HELP b B.\n# TYPE b histogram\nb 1\n", "outside its group"),
        ] {
            let error = Exposition::parse(&format!("{head}{broken}")).unwrap_err();
            assert!(error.contains(complaint), "{broken:?}: {error}");
        }
    }
}
