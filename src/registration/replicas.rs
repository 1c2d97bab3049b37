//! Asks every replica which CA its certificate has, with a TLS handshake.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, api::ListParams};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// Timeout of a handshake.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Number of handshakes at the same time.
const CONCURRENT: usize = 8;

/// Label of an EndpointSlice with the name of its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The addresses of the replicas behind these Services. Replicas that are not ready, or that end, are among them.
async fn addresses(client: Client, services: &BTreeSet<String>) -> kube::Result<BTreeSet<SocketAddr>> {
    let names: Vec<_> = services.iter().map(String::as_str).collect();
    let selector = format!("{SERVICE_LABEL} in ({})", names.join(","));
    let slices: Api<EndpointSlice> = Api::default_namespaced(client);
    let slices = slices.list(&ListParams::default().labels(&selector)).await?;
    Ok(slices.items.iter().flat_map(addresses_of).collect())
}

fn addresses_of(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    let ports: Vec<u16> = ports.collect();
    let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses = texts.filter_map(|address| address.parse::<IpAddr>().ok());
    addresses.flat_map(|address| ports.iter().map(move |port| (address, *port).into())).collect()
}

/// The replicas behind these Services that do not serve a certificate of one of these CAs for this name. None if no replica is known.
///
/// # Errors
/// Fails if the addresses cannot be listed.
pub(super) async fn without(
    client: Client,
    services: &BTreeSet<String>,
    authorities: &[CertificateDer<'static>],
    name: &str,
) -> kube::Result<Option<Vec<SocketAddr>>> {
    let addresses = addresses(client, services).await?;
    if addresses.is_empty() {
        return Ok(None);
    }
    let Some((connector, name)) = connector(authorities, name) else {
        return Ok(Some(addresses.into_iter().collect()));
    };
    let asked = stream::iter(addresses).map(|address| {
        let (connector, name) = (connector.clone(), name.clone());
        async move { (address, serves(&connector, name, address).await) }
    });
    let answers = asked.buffer_unordered(CONCURRENT).collect::<Vec<_>>().await;
    Ok(Some(answers.into_iter().filter(|(_, serves)| !serves).map(|(address, _)| address).collect()))
}

/// A client that trusts only these CAs.
fn connector(
    authorities: &[CertificateDer<'static>],
    name: &str,
) -> Option<(TlsConnector, ServerName<'static>)> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).ok()?;
    Some((TlsConnector::from(Arc::new(config)), name))
}

async fn serves(connector: &TlsConnector, name: ServerName<'static>, address: SocketAddr) -> bool {
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(name, stream).await
    };
    matches!(timeout(TIMEOUT, handshake).await, Ok(Ok(_)))
}
