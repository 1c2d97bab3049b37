//! The exit code and the structured output of `explain`.

use serde_json::{Value, json};

use super::program::run;

#[test]
fn the_exit_code_of_explain_shows_whether_every_pod_is_injected() {
    let pod = |labels: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": {"containers": []}}).to_string()
    };
    for (labels, code) in [(json!({"vdi-metrics.io/inject": "enabled"}), 0), (json!({}), 3)] {
        let finished = run(&["explain", "-", "-o", "json"], pod(labels).as_bytes());
        assert_eq!(finished.code, code, "{}", finished.stderr);
        let explanation: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(explanation[0]["injected"], code == 0);
        assert_eq!(explanation[0]["webhooks"].as_array().unwrap().len(), 2);
        assert_eq!(explanation[0]["adds"]["container"]["name"].is_string(), code == 0, "{explanation}");
        let yaml = run(&["explain", "-", "-o", "yaml"], pod(explanation[0]["webhooks"].clone()).as_bytes());
        assert!(yaml.stdout.starts_with("- object: pod/x\n"), "{}", yaml.stdout);
    }
}
