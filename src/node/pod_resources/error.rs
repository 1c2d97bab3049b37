//! Why the kubelet's list could not be read, and what to do.

use std::{
    error::Error,
    fmt, fs, io, iter,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{Code, Status};

use crate::runtime::vocabulary::vocabulary;

/// A call that gave no list.
#[derive(Debug)]
pub(in crate::node) struct ListError {
    socket: PathBuf,
    pub(in crate::node) failure: ListFailure,
    cause: String,
}

vocabulary! {
    /// The kinds of failure. Each has its own remedy.
    pub(in crate::node) enum ListFailure {
        /// The socket does not exist.
        NoSocket = "no_socket",
        /// The file is not a socket.
        NotASocket = "not_a_socket",
        /// The agent may not use the socket.
        Forbidden = "forbidden",
        /// No program listens on the socket.
        NotListening = "not_listening",
        /// The connection could not be opened for another reason.
        ConnectFailed = "connect_failed",
        /// No complete answer came in time.
        Timeout = "timeout",
        /// The program that listens does not offer the call.
        Unimplemented = "unimplemented",
        /// The kubelet rejected the call because it gets too many.
        RateLimited = "rate_limited",
        /// The answer has too many bytes.
        TooLarge = "too_large",
        /// The answer is not a list.
        Malformed = "malformed",
        /// The call failed for another reason.
        CallFailed = "call_failed",
    }
}

// === impl ListError ===

impl ListError {
    /// The connection to the socket failed.
    pub(super) fn connect(socket: &Path, error: &io::Error) -> Self {
        let failure = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ListFailure::NoSocket,
            io::ErrorKind::PermissionDenied => ListFailure::Forbidden,
            // The kernel also refuses a connection to a file of another type.
            io::ErrorKind::ConnectionRefused if !is_socket(socket) => ListFailure::NotASocket,
            io::ErrorKind::ConnectionRefused => ListFailure::NotListening,
            _ => ListFailure::ConnectFailed,
        };
        Self::new(socket, failure, error.to_string())
    }

    /// The call over an open connection failed.
    pub(super) fn call(socket: &Path, status: &Status) -> Self {
        let failure = match status.code() {
            Code::Unimplemented => ListFailure::Unimplemented,
            Code::ResourceExhausted => ListFailure::RateLimited,
            Code::OutOfRange => ListFailure::TooLarge,
            Code::DataLoss => ListFailure::Malformed,
            _ => ListFailure::CallFailed,
        };
        Self::new(socket, failure, text(status))
    }

    /// The call took longer than `limit`.
    pub(super) fn timeout(socket: &Path, limit: Duration) -> Self {
        Self::new(socket, ListFailure::Timeout, format!("no complete answer within {limit:?}"))
    }

    fn new(socket: &Path, failure: ListFailure, cause: String) -> Self {
        Self { socket: socket.to_owned(), failure, cause }
    }
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// The reason in a status. If the connection failed, only the last source has the reason.
fn text(status: &Status) -> String {
    let sources = iter::successors(status.source(), |&error| error.source());
    match sources.last() {
        Some(error) => format!("the connection failed: {error}"),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { socket, failure, cause } = self;
        write!(f, "cannot list the devices of pods at {}: {cause}; {}", socket.display(), failure.remedy())
    }
}

impl Error for ListError {}

// === impl ListFailure ===

impl ListFailure {
    const fn remedy(self) -> &'static str {
        match self {
            Self::NoSocket => "check the kubelet root, and that its folder pod-resources is mounted",
            Self::NotASocket => "check the kubelet root; this file does not belong to the kubelet",
            Self::Forbidden => {
                "run the agent with UID 0; on a node with SELinux, with a type that may connect to the kubelet"
            }
            // A mount of the socket itself stays at the socket of the kubelet before its restart.
            Self::NotListening => {
                "check that the kubelet runs; mount the folder pod-resources, not the socket"
            }
            Self::ConnectFailed => "check the kubelet root and the limits of the agent's container",
            Self::Timeout => "check the load of the node and the log of the kubelet",
            Self::Unimplemented => {
                "use Kubernetes 1.33 or newer, and check that the socket is in the folder pod-resources"
            }
            Self::RateLimited => "find the program on this node that calls the pod-resources API too often",
            Self::TooLarge => "configure the device plugins to offer fewer devices",
            Self::Malformed => "check that this version of vdi-metrics supports the version of the kubelet",
            Self::CallFailed => "check that the kubelet listens on this socket, and the log of the kubelet",
        }
    }
}
