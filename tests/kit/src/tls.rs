//! A server certificate for loopback, and the client that trusts it. Every test generates a new one, so no key is in the
//! repository.

pub mod client_certificate;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring, pki_types::CertificateDer,
};
use tempfile::TempDir;

use client_certificate::ClientCertificate;

use crate::http::{self, Response};

/// A self-signed certificate and its key, in two PEM files with the names in a mounted Secret.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
    trusted: CertificateDer<'static>,
}

/// A TLS connection of a client.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// How a client connects.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions<'c> {
    /// The versions of TLS.
    pub versions: &'c [&'static SupportedProtocolVersion],
    /// The client's certificate.
    pub certificate: Option<&'c ClientCertificate>,
    /// The client's address.
    pub source: Ipv4Addr,
}

// === impl ClientOptions ===

impl Default for ClientOptions<'_> {
    fn default() -> Self {
        Self { versions: ALL_VERSIONS, certificate: None, source: Ipv4Addr::LOCALHOST }
    }
}

// === impl Certificate ===

impl Certificate {
    /// Generates a certificate for 127.0.0.1.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn for_loopback() -> anyhow::Result<Self> {
        Self::in_folder(&std::env::temp_dir())
    }

    /// Like [`Self::for_loopback`], with the files in a new folder in `parent`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn in_folder(parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(parent)?;
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(folder.path().join("tls.crt"), pair.cert.pem())?;
        fs::write(folder.path().join("tls.key"), pair.signing_key.serialize_pem())?;
        Ok(Self { folder, trusted: pair.cert.der().clone() })
    }

    /// The PEM file of the certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The PEM file of the private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// Connects to a server and accepts only this certificate.
    ///
    /// # Errors
    /// When no server listens. The TLS handshake follows with the first byte.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TlsStream> {
        self.over(http::connect(address)?, ClientOptions::default())
    }

    /// Connects to a server with these options, and accepts only this certificate.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_as(&self, address: SocketAddr, options: ClientOptions<'_>) -> io::Result<TlsStream> {
        self.over(http::connect_from(options.source, address)?, options)
    }

    fn over(&self, stream: TcpStream, options: ClientOptions<'_>) -> io::Result<TlsStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(options.versions)
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let config = match options.certificate {
            Some(client) => config
                .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
                .map_err(io::Error::other)?,
            None => config.with_no_client_auth(),
        };
        let name = stream.peer_addr()?.ip().into();
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(client, stream))
    }

    /// `GET path` over TLS.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn get(&self, address: SocketAddr, path: &str) -> io::Result<Response> {
        self.request(address, "GET", path, &[])
    }

    /// A request over TLS with these headers and without a body.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn request(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
        http::exchange(self.connect(address)?, &head)
    }

    /// `POST path` over TLS.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn post(
        &self,
        address: SocketAddr,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> io::Result<Response> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n"
        );
        http::exchange(self.connect(address)?, &(head + body))
    }
}
