//! The webhook changes a desktop pod.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::{process::Process, tls::Certificate};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use vdi_metrics::contract::METRICS_PATH;

use crate::{build_folder, scrape};

/// Sends the pod to the server and shows what the server adds. Returns the pod with these additions.
pub(crate) fn show(pod: &Value) -> Result<Value> {
    println!(
        "\n1. A desktop pod is created: the webhook gets the request of an API server. It adds the lines with +.\n"
    );
    let certificate = Certificate::for_loopback()?;
    let server = Process::spawn(&mut serve(&certificate)?);
    let admitted = admit(&certificate, address(&server, "webhook")?, pod)?;
    show_difference(pod, &admitted)?;
    let decisions = scrape(&certificate.get(address(&server, "metrics")?, METRICS_PATH)?.body)?;
    let injected = [("outcome", "injected"), ("reason", "opted_in")];
    ensure!(
        decisions.value("vdi_metrics_admission_decisions_total", &injected) == Some(1.0),
        "the decision is not counted"
    );
    println!("\n   vdi_metrics_admission_decisions_total{{outcome=\"injected\",reason=\"opted_in\"}} 1");
    Ok(admitted)
}

fn serve(certificate: &Certificate) -> Result<Command> {
    let mut command = Command::new(build_folder()?.join("vdi-metrics"));
    command.arg("serve").arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    // The demo must not use a cluster that this machine has configured, so no API server can check a token.
    command.args(["--metrics-authentication", "none"]);
    command.env_clear().env("KUBECONFIG", "/nonexistent");
    Ok(command)
}

fn address(server: &Process, name: &str) -> Result<SocketAddr> {
    let line = server.logged(&format!("server=\"{name}\""));
    Ok(line.split("address=").nth(1).context("no address in the log")?.trim().parse()?)
}

/// Sends the review and applies the patch of the answer, as an API server does.
fn admit(certificate: &Certificate, webhook: SocketAddr, pod: &Value) -> Result<Value> {
    let request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "desktops",
        "object": pod,
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let response = certificate.post(webhook, "/mutate", "application/json", &review.to_string())?;
    ensure!(response.status == 200, "the webhook answered {}: {}", response.status, response.body);
    let answer: Value = serde_json::from_str(&response.body)?;
    let patch = answer["response"]["patch"].as_str().context("the webhook sent no patch")?;
    let mut admitted = pod.clone();
    json_patch::patch(
        &mut admitted,
        &serde_json::from_slice::<json_patch::Patch>(&BASE64_STANDARD.decode(patch)?)?,
    )?;
    Ok(admitted)
}

fn show_difference(before: &Value, after: &Value) -> Result<()> {
    let (before, after) = (serde_saphyr::to_string(before)?, serde_saphyr::to_string(after)?);
    let difference = TextDiff::from_lines(&before, &after);
    ensure!(
        difference.iter_all_changes().all(|change| change.tag() != ChangeTag::Delete),
        "the patch removes something from the pod"
    );
    for change in difference.iter_all_changes() {
        let (sign, colour) = if change.tag() == ChangeTag::Insert { ("+", "\x1b[32m") } else { (" ", "") };
        let (colour, plain) = if colours() { (colour, "\x1b[0m") } else { ("", "") };
        println!("   {colour}{sign} {}{plain}", change.value().trim_end());
    }
    Ok(())
}

fn colours() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
}
