//! A client that behaves like the API server: HTTP/1.1 over TLS 1.3, persistent connections, no session resumption.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use kit::{http, tls::Certificate};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Opens connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

/// A persistent connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

/// The HTTP request with a review.
pub(crate) fn request(review: &[u8]) -> Vec<u8> {
    let length = review.len();
    let head = format!(
        "POST /mutate?timeout=2s HTTP/1.1\r\nHost: vdi-metrics-webhook.vdi-metrics.svc:443\r\n\
         User-Agent: kube-apiserver-admission\r\nContent-Length: {length}\r\nAccept: application/json, */*\r\n\
         Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    [head.as_bytes(), review].concat()
}

// === impl Client ===

impl Client {
    pub(crate) fn new(certificate: &Certificate, address: SocketAddr) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate.cert())?)?;
        let mut provider = ring::default_provider();
        // The suite that Go prefers on hardware with AES instructions.
        provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), address })
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        let client = ClientConnection::new(Arc::clone(&self.config), self.address.ip().into())?;
        let socket = http::connect(self.address)?;
        socket.set_nodelay(true)?;
        Ok(Connection { stream: StreamOwned::new(client, socket), received: Vec::new() })
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request and returns the body of the response, whose status must be 200.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        self.received.clear();
        let head = self.receive_until(0, b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&self.received[..head]).to_ascii_lowercase();
        ensure!(text.starts_with("http/1.1 200"), "the response is {text:?}");
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        match header("content-length:") {
            Some(length) => {
                let end = head + length.parse::<usize>()?;
                self.receive(end)?;
                Ok(self.received[head..end].to_vec())
            }
            None => self.chunks(head),
        }
    }

    fn chunks(&mut self, mut at: usize) -> Result<Vec<u8>> {
        let mut body = vec![];
        loop {
            let data = self.receive_until(at, b"\r\n")?;
            let size = std::str::from_utf8(&self.received[at..data - 2])?;
            let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
            self.receive(data + size + 2)?;
            body.extend_from_slice(&self.received[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Receives up to the first `end` at or after `from`, and returns the position after it.
    fn receive_until(&mut self, from: usize, end: &[u8]) -> io::Result<usize> {
        loop {
            let position = self.received[from..].windows(end.len()).position(|window| window == end);
            if let Some(at) = position {
                return Ok(from + at + end.len());
            }
            self.receive(self.received.len() + 1)?;
        }
    }

    fn receive(&mut self, length: usize) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        while self.received.len() < length {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        }
        Ok(())
    }
}
