//! The ValidatingAdmissionPolicy that warns about session pods without a valid sidecar.

use serde_json::json;
use vdi_metrics::contract::{self, key};

use super::reading::{list, object, text};

/// Compares the two bindings of the policy with the two entries of the webhook.
#[test]
fn the_warning_policy_selects_the_pods_of_the_webhook() {
    let webhook = object("MutatingWebhookConfiguration", "vdi-metrics");
    let [by_namespace, by_pod] = list(&webhook["webhooks"]) else { panic!("two entries") };
    let policy = &object("ValidatingAdmissionPolicy", "vdi-metrics")["spec"];
    assert_eq!(policy["matchConstraints"]["namespaceSelector"], by_pod["namespaceSelector"]);
    assert_eq!(policy["matchConstraints"]["resourceRules"], by_pod["rules"]);
    assert_eq!(policy["matchConstraints"]["matchPolicy"], by_pod["matchPolicy"]);
    assert_eq!(policy["failurePolicy"], "Ignore");
    let (conditions, skipped) = list(&policy["matchConditions"]).split_at(2);
    assert_eq!(conditions, list(&by_pod["matchConditions"]));
    let not_skipped =
        format!("!object.metadata.?annotations[?'{}'].orValue('').startsWith('skipped: ')", key::STATUS);
    assert_eq!(skipped, [json!({"name": "not-skipped", "expression": not_skipped})]);

    // The API server applies the selectors of the policy and of the binding together.
    for (binding, entry) in [("vdi-metrics-by-namespace", by_namespace), ("vdi-metrics-by-pod", by_pod)] {
        let binding = &object("ValidatingAdmissionPolicyBinding", binding)["spec"];
        assert_eq!(binding["policyName"], "vdi-metrics");
        assert_eq!(binding["validationActions"], json!(["Warn", "Audit"]), "the policy must reject nothing");
        let selected = |selector: &str| {
            let expressions = binding["matchResources"][selector]["matchExpressions"].as_array();
            let of_all = list(&policy["matchConstraints"][selector]["matchExpressions"]);
            [expressions.map_or(&[][..], Vec::as_slice), of_all].concat()
        };
        assert_eq!(selected("namespaceSelector"), list(&entry["namespaceSelector"]["matchExpressions"]));
        assert_eq!(binding["matchResources"]["objectSelector"], entry["objectSelector"]);
    }
}

#[test]
fn each_message_of_the_warning_policy_fits_in_one_line() {
    let policy = &object("ValidatingAdmissionPolicy", "vdi-metrics")["spec"];
    let container = format!("c.?name.orValue('') == '{}'", contract::CONTAINER);
    let variables = list(&policy["variables"]).iter().map(|variable| text(&variable["expression"]));
    assert!(variables.into_iter().all(|expression| expression.contains(&container)));
    for validation in list(&policy["validations"]) {
        let message = text(&validation["message"]);
        assert!(message.starts_with("vdi-metrics: ") && message.chars().count() <= 120, "{message}");
    }
    let label = format!("object.metadata.?labels[?'{}'].orValue('') == 'true'", key::INJECTED);
    let expressions = list(&policy["validations"]).iter().map(|validation| text(&validation["expression"]));
    assert!(expressions.into_iter().any(|expression| expression.ends_with(&label)));
}
