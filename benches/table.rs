//! Tables for people: a column for each contender, ours first, and behind each figure how many times ours it is.

use std::fmt::Write as _;

/// Figures of several contenders.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

/// What was set out to be reached, and what was.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) at_most: f64,
    pub(crate) found: f64,
}

/// Nothing where there are none.
pub(crate) fn print_aims(aims: &[Aim]) {
    if aims.is_empty() {
        return;
    }
    println!("{:<76} {:>8} {:>9}", "aim", "at most", "found");
    for Aim { what, at_most, found } in aims {
        let verdict = if found <= at_most { "met" } else { "missed" };
        println!("{what:<76} {at_most:>8.2} {found:>9.2}  {verdict}");
    }
}

/// The value below which this part of the sorted values lies.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((part * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

// === impl Table ===

impl Table {
    pub(crate) fn new<'a>(title: &str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = columns.into_iter().map(str::to_owned).collect();
        Self { title: title.to_owned(), columns, rows: vec![] }
    }

    pub(crate) fn row(&mut self, name: &str, values: impl IntoIterator<Item = Option<f64>>) {
        self.rows.push((name.to_owned(), values.into_iter().collect()));
    }

    pub(crate) fn print(&self) {
        let head = self.columns.iter().fold(format!("{:<44}", self.title), |mut line, column| {
            let _ = write!(line, " {column:>20}");
            line
        });
        println!("{head}");
        for (name, values) in &self.rows {
            let ours = values.first().copied().flatten();
            let cells = values.iter().fold(String::new(), |mut line, value| {
                let _ = write!(line, " {:>20}", cell(*value, ours));
                line
            });
            println!("{name:<44}{cells}");
        }
        println!();
    }
}

fn cell(value: Option<f64>, ours: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let ratio = ours.filter(|ours| *ours > 0.0).map(|ours| format!(" ({:>5.2})", value / ours));
    format!("{value:.2}{}", ratio.unwrap_or_default())
}
