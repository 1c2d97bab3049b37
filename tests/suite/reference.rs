//! `docs/metrics.md` lists the metrics of all catalogues. With `BLESS=1` the test writes the page, otherwise it compares it.

use std::{fmt::Write, fs, path::Path};

use prometheus::proto::MetricType;
use vdi_metrics::{
    admission::metrics::Metrics, runtime::admin, sessions::metrics::ROWS, sidecar::catalogue::CATALOGUE,
};

/// Name, kind, labels and help of a metric.
type MetricRow = (String, MetricType, Vec<String>, String);

#[test]
fn metrics_page_lists_every_metric_of_the_catalogues() {
    let owned = |labels: &[&str]| labels.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sidecar = CATALOGUE.iter().map(|row| (row.name.into(), row.kind, owned(row.labels), row.help.into()));
    let sessions = ROWS.iter().map(|row| (row.name.into(), row.kind, owned(row.labels), row.help.into()));
    let registry = admin::registry().unwrap();
    Metrics::register(&registry).unwrap();
    let own = registry.gather().into_iter().map(|family| {
        let labels = family.get_metric()[0].get_label().iter().map(|label| label.name().to_owned()).collect();
        (family.name().to_owned(), family.get_field_type(), labels, family.help().to_owned())
    });
    let mut page = String::from(
        "# Metrics\n\nDo not edit this page: `BLESS=1 make suite` writes it from the catalogues in the code. Prometheus adds the labels `namespace`,\n\
         `pod`, `container`, `job`, `instance`, `service` and `endpoint`. A metric without a known value has no series, and a label without a value is left out.\n",
    );
    table(&mut page, "Metrics of the sidecar, one set per session", sidecar);
    table(&mut page, "Metrics of the server about sessions", sessions);
    table(&mut page, "Metrics of the server about itself", own);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        page,
        "run `BLESS=1 make suite` to write {}",
        path.display()
    );
}

fn table(page: &mut String, title: &str, rows: impl Iterator<Item = MetricRow>) {
    write!(page, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
    for (name, kind, labels, help) in rows {
        let kind = format!("{kind:?}").to_lowercase();
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
}
