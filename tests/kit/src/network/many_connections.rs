//! Many established connections in the network namespace of the calling thread.
#![allow(clippy::unwrap_used, reason = "only tests use this module, and they fail by panicking")]

use std::net::{TcpListener, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections, each with two sockets in the state ESTABLISHED. They exist as long as this value.
#[derive(Debug)]
pub struct ManyConnections {
    _listeners: Vec<TcpListener>,
    _clients: Vec<TcpStream>,
}

/// Connections of one listener. They are never accepted, so their sockets need no file descriptor. std's queue has 128 places.
const QUEUE: usize = 100;

// === impl ManyConnections ===

impl ManyConnections {
    /// Connects on the loopback device.
    ///
    /// # Panics
    /// If this process may not have so many open files.
    pub fn create(connections: usize) -> Self {
        raise_limit_of_files(connections);
        let listeners: Vec<_> =
            (0..connections.div_ceil(QUEUE)).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |number: usize| listeners[number / QUEUE].local_addr().unwrap();
        let clients = (0..connections).map(|number| TcpStream::connect(address(number)).unwrap()).collect();
        Self { _clients: clients, _listeners: listeners }
    }
}

/// Other tests of this process may have a few hundred open files.
fn raise_limit_of_files(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = connections as u64 + 2000;
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "`ulimit -Hn` must be at least {needed}");
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).unwrap();
}
