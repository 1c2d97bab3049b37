//! `docs/metrics.md` is written from the catalogues: `BLESS=1` writes it, otherwise it is compared.

use std::{fmt::Write, fs, path::Path};

use prometheus::proto::MetricType;
use vdi_metrics::{
    admission::metrics::Metrics, runtime::admin, sessions::metrics::ROWS, sidecar::catalogue::CATALOGUE,
};

/// Name, kind, labels, help.
type Row = (String, MetricType, Vec<String>, String);

#[test]
fn the_metric_reference_is_the_catalogues() {
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
        "# Metrics\n\nWritten from the catalogues by `BLESS=1 make suite`; do not edit. Prometheus adds `namespace`, `pod` and\n\
         `container` to what it scrapes, and its own `job`, `instance`, `service` and `endpoint`. What is not known has no series, and a label without value is left out.\n",
    );
    table(&mut page, "Of the sidecar, one set per session", sidecar);
    table(&mut page, "Of the server, on sessions", sessions);
    table(&mut page, "Of the server, on itself", own);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        page,
        "BLESS=1 make suite writes {}",
        path.display()
    );
}

fn table(page: &mut String, title: &str, rows: impl Iterator<Item = Row>) {
    write!(page, "\n## {title}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n").unwrap();
    for (name, kind, labels, help) in rows {
        let kind = format!("{kind:?}").to_lowercase();
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
}
