//! One HTTP request over a connection of its own: blocking, no redirects, nothing hidden.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent.
    pub body: String,
}

/// A server that is silent for so long fails the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    request(address, "GET", path)
}

/// A request without a body.
pub fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<Response> {
    exchange(
        connect(address)?,
        &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
    )
}

/// Connects, with a limit on every wait.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a whole request, head and body, that asks for the connection to be closed; reads until it is.
pub fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Response> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other(format!("not an HTTP response: {answer:?}")))
}

// === impl Response ===

impl Response {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Response {
        status: status.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?,
        headers: headers.lines().map(header).collect::<Option<_>>()?,
        body: body.to_owned(),
    })
}
