//! The skip reasons in the README.

use std::fs;

use vdi_metrics::admission::SkipReason;

#[test]
fn the_readme_lists_the_reasons_that_are_never_annotated() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let reasons = SkipReason::ALL.into_iter().filter(|reason| !reason.is_annotated());
    let reasons: Vec<_> = reasons.map(|reason| format!("`{}`", reason.as_str())).collect();
    let sentence = format!("The annotation never contains these reasons: {}.", reasons.join(", "));
    let text = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&sentence), "README.md lacks: {sentence}");
}
