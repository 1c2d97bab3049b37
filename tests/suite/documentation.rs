//! Pages that explain a closed vocabulary explain all of it.

use std::{fs, path::Path};

#[test]
fn the_readme_explains_every_reason() {
    let readme = read("README.md");
    for reason in vdi_metrics::admission::SkipReason::ALL {
        assert!(readme.contains(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
}

#[test]
fn the_gpu_page_explains_every_label_value() {
    use vdi_metrics::sidecar::attribution::{
        Confidence, NotApplicable, Scope, Sharing, Strategy, UnavailableReason,
    };

    let page = read("docs/gpu.md");
    for value in Confidence::ALL {
        assert!(page.contains(&format!("`{}`", value.as_str())), "{}", value.as_str());
    }
    let values = [
        NotApplicable::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>(),
        UnavailableReason::ALL.iter().map(|value| value.as_str()).collect(),
        Sharing::ALL.iter().map(|value| value.as_str()).collect(),
        Strategy::ALL.iter().map(|value| value.as_str()).collect(),
    ];
    for value in values.concat() {
        assert!(page.contains(&format!("\n| `{value}` |")), "{value} has no row");
    }
    for scope in Scope::ALL {
        assert!(page.contains(&format!("`scope=\"{}\"`", scope.as_str())), "{}", scope.as_str());
    }
}

fn read(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}
