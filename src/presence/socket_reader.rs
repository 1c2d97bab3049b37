//! Reads the sockets from the best source that works.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    diag_message::DiagError,
    proc_net, sock_diag,
    sockets::Sockets,
    track::SocketRead,
    udp_rate::UdpRate,
    vocabulary::{PassedReason, PresenceSource},
};

/// The sources, and what they gave at the last read.
#[derive(Debug)]
pub(super) struct SocketReader {
    /// The folder `/proc/net`.
    folder: PathBuf,
    /// Why `sock_diag` is not used, and when it was tried.
    sock_diag_failure: Option<(PassedReason, Instant)>,
    /// The source of the last read that has read sockets.
    source: Option<PresenceSource>,
    udp_rate: UdpRate,
}

/// Time until a source is tried again that a policy forbids or the kernel does not have. An operator can change the policy.
const RETRY: Duration = Duration::from_secs(600);

/// Maximum bytes of a file: about 7000 sockets.
const MAX_BYTES: u64 = 1 << 20;

/// Transient errors: `EINTR`, `EAGAIN`, `ENOMEM`, `ENFILE`, `EMFILE`, `ENOBUFS`. The next read tries again.
const TRANSIENT: [i32; 6] = [4, 11, 12, 23, 24, 105];

/// `EPERM`, `EACCES`: SELinux and seccomp.
const NOT_PERMITTED: [i32; 2] = [1, 13];

/// `ENOENT`, `EINVAL`, `ENOSYS`, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`, `EOPNOTSUPP`, `EAFNOSUPPORT`: gVisor, or a kernel without
/// `inet_diag`.
const NOT_SUPPORTED: [i32; 7] = [2, 22, 38, 93, 94, 95, 97];

// === impl SocketReader ===

impl SocketReader {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, sock_diag_failure: None, source: None, udp_rate: UdpRate::default() }
    }

    /// Reads the sockets. None after a transient failure.
    pub(super) fn read(&mut self, at: Instant) -> Option<SocketRead> {
        let snmp = self.text("snmp").map(|file| file.text).unwrap_or_default();
        let has_connection = proc_net::snmp_value(&snmp, "Tcp", "CurrEstab") != Some(0);
        let (sockets, passed) = match self.source {
            // Without an established socket in this network namespace there is no viewer.
            Some(_) if !has_connection => (Some(Sockets::default()), self.sock_diag_reason()),
            _ => self.sockets(at)?,
        };
        let source = self.source.filter(|_| sockets.is_some()).unwrap_or(PresenceSource::None);
        Some(SocketRead { source, passed, sockets, streams_udp: self.streams_udp(&snmp, at) })
    }

    #[expect(clippy::type_complexity, reason = "the two parts of a `SocketRead`")]
    fn sockets(&mut self, at: Instant) -> Option<(Option<Sockets>, Vec<(PresenceSource, PassedReason)>)> {
        let is_due =
            self.sock_diag_failure.is_none_or(|(_, tried)| at.saturating_duration_since(tried) >= RETRY);
        if is_due {
            match sock_diag::dump().map_err(passed_reason) {
                Ok(sockets) => {
                    (self.sock_diag_failure, self.source) = (None, Some(PresenceSource::SockDiag));
                    return Some((Some(sockets), vec![]));
                }
                Err(None) => return None,
                Err(Some(reason)) => self.sock_diag_failure = Some((reason, at)),
            }
        }
        let mut passed = self.sock_diag_reason();
        let sockets = match self.proc_sockets() {
            Ok(sockets) => Some(sockets),
            Err(reason) => {
                passed.push((PresenceSource::Proc, reason?));
                None
            }
        };
        self.source = sockets.as_ref().map(|_| PresenceSource::Proc);
        Some((sockets, passed))
    }

    fn sock_diag_reason(&self) -> Vec<(PresenceSource, PassedReason)> {
        self.sock_diag_failure.iter().map(|(reason, _)| (PresenceSource::SockDiag, *reason)).collect()
    }

    /// The sockets of the files, or the reason why they cannot be read; no reason if the failure is transient.
    fn proc_sockets(&self) -> Result<Sockets, Option<PassedReason>> {
        let mut sockets = Sockets::default();
        for name in ["tcp6", "tcp"] {
            let file = match self.text(name) {
                // A node can have IPv6 switched off.
                Err(error) if name == "tcp6" && error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(|error| unreadable(&error))?,
            };
            proc_net::add_tcp(&file.text, &mut sockets).map_err(|_| Some(PassedReason::Malformed))?;
            sockets.is_truncated |= file.is_truncated;
        }
        Ok(sockets)
    }

    /// Whether the pod probably streams over UDP. The kernel searches a table of the node for the sockets, so they are read only if the
    /// rate is that of a stream. It counts the datagrams of IPv4 and IPv6 separately.
    fn streams_udp(&mut self, snmp: &str, at: Instant) -> bool {
        let v4 = proc_net::snmp_value(snmp, "Udp", "OutDatagrams");
        let v6 = match self.text("snmp6") {
            Ok(file) => proc_net::snmp6_value(&file.text, "Udp6OutDatagrams"),
            // A node can have IPv6 switched off.
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(0),
        };
        let has_rate = self.udp_rate.observe(v4.zip(v6).map(|(v4, v6)| v4.saturating_add(v6)), at);
        let has_server =
            |name| self.text(name).is_ok_and(|file| proc_net::has_udp_server(&file.text) == Ok(true));
        has_rate && (has_server("udp") || has_server("udp6"))
    }

    fn text(&self, name: &str) -> io::Result<ProcFile> {
        let mut text = String::new();
        File::open(self.folder.join(name))?.take(MAX_BYTES).read_to_string(&mut text)?;
        let is_truncated = text.len() as u64 == MAX_BYTES;
        if is_truncated {
            text.truncate(text.rfind('\n').unwrap_or(0));
        }
        Ok(ProcFile { text, is_truncated })
    }
}

/// Complete lines of a file.
struct ProcFile {
    text: String,
    is_truncated: bool,
}

/// Why a file is not used; none if the failure is transient.
fn unreadable(error: &io::Error) -> Option<PassedReason> {
    let is_transient = error.raw_os_error().is_some_and(|number| TRANSIENT.contains(&number));
    (!is_transient).then_some(PassedReason::Unreadable)
}

/// Why `sock_diag` is not used; none if the failure is transient.
fn passed_reason(error: DiagError) -> Option<PassedReason> {
    match error {
        DiagError::Interrupted => None,
        DiagError::Errno(number) if TRANSIENT.contains(&number) => None,
        DiagError::Errno(number) if NOT_PERMITTED.contains(&number) => Some(PassedReason::NotPermitted),
        DiagError::Errno(number) if NOT_SUPPORTED.contains(&number) => Some(PassedReason::NotSupported),
        DiagError::Errno(_) => Some(PassedReason::Unreadable),
        DiagError::Malformed => Some(PassedReason::Malformed),
    }
}

#[cfg(test)]
mod tests;
