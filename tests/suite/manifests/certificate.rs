//! The certificate: the names in the manifests, and the components of `certs/`.

use clap::Parser;
use serde_json::{Value, json};
use vdi_metrics::{
    cli::Cli,
    registration::{SECRET, SERVICE},
};

use super::reading::{list, object, text, yaml};

/// The name that the API server and Prometheus verify.
fn host() -> String {
    let service = object("Service", SERVICE);
    format!("{SERVICE}.{}.svc", text(&service["metadata"]["namespace"]))
}

#[test]
fn prometheus_verifies_the_servers_own_certificate() {
    let tls = &object("ServiceMonitor", "vdi-metrics-server")["spec"]["endpoints"][0]["tlsConfig"];
    assert_eq!(tls["serverName"], host());
    assert_eq!(tls["ca"]["secret"], json!({"name": SECRET, "key": "ca.crt"}));
}

#[test]
fn with_files_the_server_reads_the_mounted_secret() {
    let component = yaml("certs/files/kustomization.yaml").remove(0);
    let [patch] = list(&component["patches"]) else { panic!("one patch") };
    let mut deployment = object("Deployment", text(&patch["target"]["name"]));
    let operations: json_patch::Patch = serde_saphyr::from_str(text(&patch["patch"])).unwrap();
    json_patch::patch(&mut deployment, &operations).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let arguments: Vec<&str> = list(&pod["containers"][0]["args"]).iter().map(text).collect();
    Cli::try_parse_from([&["vdi-metrics"], arguments.as_slice()].concat()).unwrap();
    for (flag, file) in [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key"), ("--tls-ca", "ca.crt")] {
        assert!(arguments.contains(&format!("{flag}=/tls/{file}").as_str()), "{arguments:?}");
    }
    let mount = list(&pod["containers"][0]["volumeMounts"]).last().unwrap();
    assert_eq!(mount, &json!({"name": "tls", "mountPath": "/tls", "readOnly": true}));
    let volume = list(&pod["volumes"]).last().unwrap();
    assert_eq!(volume, &json!({"name": "tls", "secret": {"secretName": SECRET}}));
}

#[test]
fn cert_manager_issues_the_certificate_for_the_name_of_the_service() {
    let component = yaml("certs/cert-manager/kustomization.yaml").remove(0);
    assert_eq!(component["components"], json!(["../files"]));
    let objects = yaml("certs/cert-manager/certificates.yaml");
    let certificate =
        |name: &str| objects.iter().find(|it| it["kind"] == "Certificate" && it["metadata"]["name"] == name);
    let leaf = &certificate("vdi-metrics-tls").unwrap()["spec"];
    assert_eq!((&leaf["secretName"], &leaf["dnsNames"]), (&json!(SECRET), &json!([host()])));
    let authority = &certificate("vdi-metrics-ca").unwrap()["spec"];
    let hours = |value: &Value| text(value).strip_suffix('h').unwrap().parse::<u32>().unwrap();
    assert!(hours(&leaf["renewBefore"]) * 3 == hours(&leaf["duration"]));
    assert!(hours(&authority["duration"]) > 10 * hours(&leaf["duration"]));
    for spec in [leaf, authority] {
        // AKS's API server fails the handshake with Ed25519.
        assert_eq!(
            (&spec["privateKey"]["algorithm"], &spec["privateKey"]["size"]),
            (&json!("ECDSA"), &json!(256))
        );
    }
    let issuer = objects
        .iter()
        .find(|it| it["kind"] == "Issuer" && it["metadata"]["name"] == leaf["issuerRef"]["name"]);
    assert_eq!(issuer.unwrap()["spec"]["ca"]["secretName"], authority["secretName"]);
}
