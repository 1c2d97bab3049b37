//! Text tables: a column per contender, the product first, and after each figure its ratio to the product's.

use std::fmt::Write as _;

/// Figures of several contenders.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

/// An upper limit that the project has set itself, and the measured value.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) max: f64,
    pub(crate) measured: f64,
}

/// Prints the targets, if there are any.
pub(crate) fn print_targets(targets: &[Target]) {
    if targets.is_empty() {
        return;
    }
    println!("{:<76} {:>8} {:>9}", "target", "at most", "measured");
    for Target { what, max, measured } in targets {
        let result = if measured <= max { "met" } else { "not met" };
        println!("{what:<76} {max:>8.2} {measured:>9.2}  {result}");
    }
}

/// The value at this fraction of the sorted values.
pub(crate) fn quantile(values: &mut [f64], fraction: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((fraction * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
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
            let first = values.first().copied().flatten();
            let cells = values.iter().fold(String::new(), |mut line, value| {
                let _ = write!(line, " {:>20}", cell(*value, first));
                line
            });
            println!("{name:<44}{cells}");
        }
        println!();
    }
}

fn cell(value: Option<f64>, first: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let ratio = first.filter(|first| *first > 0.0).map(|first| format!(" ({:>5.2})", value / first));
    format!("{value:.2}{}", ratio.unwrap_or_default())
}
