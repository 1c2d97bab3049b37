//! The configuration file that is shipped, against the type that reads it.

use vdi_metrics::admission::Settings;

use super::reading::{root, yaml};

#[test]
fn the_configuration_file_contains_every_default() {
    let file = root().join("manifests/server/config.yaml");
    assert_eq!(vdi_metrics::webhook::configuration::read(&file).unwrap(), Settings::default());
    let shipped = yaml("manifests/server/config.yaml").remove(0);
    assert_eq!(shipped, serde_json::to_value(Settings::default()).unwrap(), "a field is missing");
}
