//! The entries of the live webhook configuration that call this server.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{
    certificates::{CertificatePair, certificates, trusts},
    stored,
};

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveEntry {
    name: String,
    /// The host of the server as the API server verifies it: the DNS name of the Service, or the host of the URL.
    pub(super) host: String,
    bundle: Vec<u8>,
    /// The certificates of the bundle.
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

/// The entries with these names. Other entries of the configuration belong to other programs.
pub(super) fn entries(configuration: &MutatingWebhookConfiguration, names: &[&str]) -> Vec<LiveEntry> {
    let all = configuration.webhooks.iter().flatten();
    all.filter(|entry| names.contains(&entry.name.as_str())).map(LiveEntry::of).collect()
}

/// Whether every entry trusts the certificate at this Unix time.
pub(super) fn all_trust(entries: &[LiveEntry], pair: &CertificatePair, now: i64) -> bool {
    entries.iter().all(|entry| trusts(&entry.trusted, pair, &entry.host, now))
}

/// Whether every entry has this CA certificate.
pub(super) fn all_have(entries: &[LiveEntry], authority: &CertificateDer<'_>) -> bool {
    entries.iter().all(|entry| entry.trusted.contains(authority))
}

/// The CA certificates of all entries.
pub(super) fn authorities(entries: &[LiveEntry]) -> impl Iterator<Item = &CertificateDer<'static>> {
    entries.iter().flat_map(|entry| &entry.trusted)
}

/// The server-side apply that gives the entries this bundle; none if they have it. It names nothing else of the entries, so their other fields
/// stay with their owners.
pub(super) fn apply(
    configuration: &str,
    entries: &[LiveEntry],
    bundle: &[CertificateDer<'_>],
) -> Option<Value> {
    let text = stored::bundle(bundle);
    let differs = entries.iter().any(|entry| entry.bundle != text.as_bytes());
    let encoded = k8s_openapi::ByteString(text.into_bytes());
    let entry = |entry: &LiveEntry| json!({"name": entry.name, "clientConfig": {"caBundle": encoded}});
    differs.then(|| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": configuration},
            "webhooks": entries.iter().map(entry).collect::<Vec<_>>(),
        })
    })
}

// === impl LiveEntry ===

impl LiveEntry {
    fn of(entry: &MutatingWebhook) -> Self {
        let client = &entry.client_config;
        let bundle = client.ca_bundle.as_ref().map_or_else(Vec::new, |bundle| bundle.0.clone());
        let trusted = certificates(&bundle).unwrap_or_default();
        Self { name: entry.name.clone(), host: host(client), bundle, trusted }
    }
}

/// The host that the API server verifies; empty if there is none.
fn host(client: &WebhookClientConfig) -> String {
    let service =
        client.service.as_ref().map(|service| format!("{}.{}.svc", service.name, service.namespace));
    let url = || {
        let url: axum::http::Uri = client.url.as_deref()?.parse().ok()?;
        Some(url.host()?.trim_matches(['[', ']']).to_owned())
    };
    service.or_else(url).unwrap_or_default()
}
