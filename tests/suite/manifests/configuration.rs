//! The configuration file that is shipped, against the type that reads it.

use std::fs;

use serde_json::json;
use vdi_metrics::admission::{
    Settings,
    gpu_names::{PART_ANNOTATIONS, RESOURCES},
};

use super::reading::{root, yaml};

#[test]
fn the_configuration_file_contains_every_default() {
    let file = root().join("manifests/server/config.yaml");
    assert_eq!(vdi_metrics::webhook::configuration::read(&file).unwrap(), Settings::default());
    let shipped = yaml("manifests/server/config.yaml").remove(0);
    let mut defaults = serde_json::to_value(Settings::default()).unwrap();
    // These fields are not serialized.
    defaults["paused"] = json!(false);
    defaults["labelValues"] = json!({"templates": [], "pools": []});
    assert_eq!(shipped, defaults, "a field is missing");
}

#[test]
fn the_configuration_file_lists_every_name_that_requests_a_gpu() {
    let text = fs::read_to_string(root().join("manifests/server/config.yaml")).unwrap();
    let is_separator = |c: char| c.is_whitespace() || ",()".contains(c);
    let words: Vec<_> = text.split(is_separator).map(|word| word.trim_end_matches('.')).collect();
    let resources = RESOURCES.iter().map(|(name, _)| name);
    for name in resources.chain(PART_ANNOTATIONS) {
        assert!(words.contains(name), "{name} is missing");
    }
}
