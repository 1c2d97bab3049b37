//! Requests that are answered, patched, skipped or rejected.

use std::path::Path;

use serde_json::{Value, json};
use vdi_metrics::admission::{Injector, Namespaces, Settings};

use super::case::{respond_with_defaults, review};

#[test]
fn a_pod_that_declares_every_port_is_skipped() {
    let settings = Settings::parse("sidecar: {port: 65534}", Path::new("config.yaml")).unwrap();
    let decide = |ports: Value| {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "desktop", "ports": ports}]}});
        let body = serde_json::to_vec(&review(&pod)).unwrap();
        Injector::new(settings.clone()).admit(&body, &Namespaces::default()).unwrap().outcome.to_string()
    };
    let port = |number: u16| json!({"containerPort": number});
    assert_eq!(decide(json!([port(65534)])), "injected");
    assert_eq!(decide(json!([port(65534), port(65535)])), "skipped: no_free_port");
}

#[test]
fn a_pod_that_cannot_be_parsed_is_skipped() {
    let (decision, patch) = (json!("skipped: undecodable"), Value::Null);
    for object in
        [json!(null), json!(7), json!({}), json!({"spec": {"containers": "none"}}), json!({"spec": null})]
    {
        let response = respond_with_defaults(&review(&object));
        assert_eq!(
            (&response["auditAnnotations"]["decision"], &response["patch"]),
            (&decision, &patch),
            "{object}"
        );
        assert!(response["warnings"].is_array());
    }
}

#[test]
fn only_requests_that_create_a_pod_are_patched() {
    let pod = json!({"metadata": {}, "spec": {"containers": []}});
    for (field, value) in [
        ("operation", json!("UPDATE")),
        ("subResource", json!("ephemeralcontainers")),
        ("kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
        ("kind", json!(null)),
        ("object", json!(null)),
    ] {
        let mut review = review(&pod);
        // A deletion has no object.
        review["request"]["operation"] = json!(if field == "object" { "DELETE" } else { "CREATE" });
        review["request"][field] = value;
        let response = respond_with_defaults(&review);
        assert_eq!(response["auditAnnotations"]["decision"], "skipped: not_a_pod", "{field}");
        assert_eq!(response["patch"], Value::Null);
    }
}

#[test]
fn an_invalid_envelope_gets_an_error_with_the_cause() {
    let injector = Injector::new(Settings::default());
    let valid = review(&json!({"spec": {}}));
    let with = |field: &str, value: Value| {
        let mut review = valid.clone();
        *review.pointer_mut(field).unwrap() = value;
        review.to_string()
    };
    for (body, cause) in [
        (String::new(), "EOF"),
        ("[]".into(), "expected struct"),
        ("{\"kind\": 1".into(), "invalid type"),
        (with("/apiVersion", json!("admission.k8s.io/v1beta1")), "found admission.k8s.io/v1beta1"),
        (with("/kind", json!("Pod")), "found admission.k8s.io/v1 Pod"),
        (with("/request", json!(null)), "no request"),
        (with("/request/uid", json!("")), "no request with a uid"),
    ] {
        let error = injector.admit(body.as_bytes(), &Namespaces::default()).unwrap_err().to_string();
        assert!(error.contains(cause), "{body}: {error}");
    }
    let latin1 = b"{\"apiVersion\": \"\xe9\"}";
    assert!(injector.admit(latin1, &Namespaces::default()).is_err());
}
