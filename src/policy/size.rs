//! Expressions for the size of a pod: see `admission::patch::size`. CEL cannot see the length of the pod's JSON, so the
//! expressions count the strings that can be long.

use serde_json::json;

use super::cel::literal;
use crate::{
    admission::{
        Injector, MAX_ANNOTATION_BYTES, MAX_POD_BYTES, Outcome, SkipReason, settings::ScrapeAnnotations,
    },
    contract::{METRICS_PATH, key},
};

/// Whether the strings of the pod are so long that the pod gets no patch.
pub(super) fn is_too_large() -> String {
    format!(
        "variables.all.map(c, {} + {}\n+ c.?env.orValue([]).map(e, {} + {}).sum()).sum()\n+ {} > {MAX_POD_BYTES}",
        texts("c.?command"),
        texts("c.?args"),
        bytes("e.name"),
        bytes("e.?value.orValue(\"\")"),
        annotations_without(&[]),
    )
}

/// Whether the annotations exceed their limit with the annotations of the sidecar.
pub(super) fn annotations_are_full(injector: &Injector) -> String {
    let status = Outcome::Injected.to_string();
    let written = key::CONFIG.len() + injector.hash().len() + key::STATUS.len() + status.len();
    let scraping = match injector.settings().scrape_annotations {
        ScrapeAnnotations::Auto => format!(
            " + (variables.unscraped ? {} + size(string(variables.port)) : 0)",
            SCRAPE_KEYS + "true".len() + METRICS_PATH.len()
        ),
        ScrapeAnnotations::Never => String::new(),
    };
    format!(
        "{} + {written}{scraping} > {MAX_ANNOTATION_BYTES}",
        annotations_without(&[key::CONFIG, key::STATUS])
    )
}

/// Number of bytes of the keys `prometheus.io/scrape`, `prometheus.io/port` and `prometheus.io/path`.
const SCRAPE_KEYS: usize = 20 + 18 + 18;

/// Whether a skipped pod gets the status annotation.
pub(super) fn is_marked() -> String {
    let unmarked = SkipReason::ALL.into_iter().filter(|reason| !reason.is_annotated());
    let unmarked: Vec<_> = unmarked.map(SkipReason::as_str).collect();
    format!(
        "!variables.tooLarge && !(variables.reason in {})\n&& {} + {} + size(\"skipped: \" + variables.reason) <= {MAX_ANNOTATION_BYTES}",
        literal(&json!(unmarked), &[]),
        annotations_without(&[key::STATUS]),
        key::STATUS.len(),
    )
}

/// Number of bytes of all annotations except those with these keys.
fn annotations_without(keys: &[&str]) -> String {
    format!(
        "variables.annotations.filter(k, !(k in {})).map(k, {} + {}).sum()",
        literal(&json!(keys), &[]),
        bytes("k"),
        bytes("variables.annotations[k]")
    )
}

fn texts(list: &str) -> String {
    format!("{list}.orValue([]).map(t, {}).sum()", bytes("t"))
}

fn bytes(text: &str) -> String {
    format!("size(bytes({text}))")
}
