//! The skip reasons in the documents.

use std::{fs, path::Path};

use vdi_metrics::admission::SkipReason;

#[test]
fn the_documents_list_the_reasons_that_are_never_annotated() {
    let reasons = SkipReason::ALL.into_iter().filter(|reason| !reason.is_annotated());
    let reasons: Vec<_> = reasons.map(|reason| format!("`{}`", reason.as_str())).collect();
    let sentence = format!("The annotation never contains these reasons: {}.", reasons.join(", "));
    for page in ["README.md", "docs/cli.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&sentence), "{page} lacks: {sentence}");
    }
}
