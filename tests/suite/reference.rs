//! `docs/metrics.md` lists the metrics of all catalogues. With `BLESS=1` the test writes the page, otherwise it compares it.

use std::{fmt::Write, fs, path::Path};

use prometheus::proto::MetricType;
use vdi_metrics::{
    breaker, coverage, metrics_access, node, presence, registration,
    runtime::{admin, catalogue, https},
    sessions,
    sidecar::catalogue::CATALOGUE,
    webhook,
};

/// Name, kind, labels and help of a metric.
type MetricRow = (String, MetricType, Vec<String>, String);

#[test]
fn metrics_page_lists_every_metric_of_the_catalogues() {
    let own = [
        rows(admin::ROWS),
        rows(breaker::metrics::ROWS),
        rows(https::metrics::ROWS),
        rows(metrics_access::metrics::ROWS),
        rows(registration::metrics::ROWS),
        rows(sessions::replica::metrics::ROWS),
        rows(webhook::metrics::ROWS),
    ]
    .concat();
    let mut page = String::from(
        "# Metrics\n\nDo not edit this page: `BLESS=1 make suite` writes it from the catalogues in the code. Prometheus adds the labels `namespace`,\n\
         `pod`, `container`, `job`, `instance`, `service` and `endpoint`. The metrics about sessions of the server have `instance=\"vdi-metrics-ledger\"` and neither `pod` nor `container`, because\n\
         the next replica that leads continues their series. A metric without a known value has no series, and a label without a value is left out.\n",
    );
    let sidecar = [rows(CATALOGUE), rows(presence::catalogue::ROWS)].concat();
    table(&mut page, "Metrics of the sidecar, one set per session", sidecar);
    table(&mut page, "Metrics of the node agent, one set per GPU node", rows(node::catalogue::CATALOGUE));
    let blocked = rows(breaker::metrics::LEADER_ROWS);
    let sessions =
        [rows(sessions::metrics::ROWS), blocked, rows(sessions::allocation::metrics::ROWS)].concat();
    table(&mut page, "Metrics of the server about sessions", sessions);
    let title = "Metrics of the server about pods without a sidecar, only from the replica that leads";
    table(&mut page, title, rows(coverage::metrics::ROWS));
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

fn rows<S: ?Sized>(catalogue: &[catalogue::Row<S>]) -> Vec<MetricRow> {
    let labels = |row: &catalogue::Row<S>| row.labels.iter().map(ToString::to_string).collect();
    catalogue.iter().map(|row| (row.name.into(), row.kind, labels(row), row.help.into())).collect()
}

fn table(page: &mut String, title: &str, rows: Vec<MetricRow>) {
    write!(page, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
    for (name, kind, labels, help) in rows {
        let kind = format!("{kind:?}").to_lowercase();
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
}
