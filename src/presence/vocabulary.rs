//! The closed vocabularies of presence: each variant is a label value.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Where the sidecar reads the sockets; values of the label `source`, best first.
    pub enum PresenceSource {
        /// A dump by the kernel: `NETLINK_SOCK_DIAG`.
        SockDiag = "sock_diag",
        /// The files `/proc/net/tcp` and `/proc/net/tcp6`: no bytes and no round-trip times.
        Proc = "proc",
        /// No source can be read.
        None = "none",
        /// Presence is switched off: nothing is read.
        Off = "off",
    }
}

vocabulary! {
    /// How viewers connect; values of the label `transport`.
    pub enum Transport {
        /// Over TCP, or no viewer is connected.
        Tcp = "tcp",
        /// Probably over UDP, where the sidecar cannot count viewers.
        Udp = "udp",
    }
}

vocabulary! {
    /// How reliable the number of viewers is; values of the label `confidence`.
    pub enum PresenceConfidence {
        /// The kernel gives every value that the rules need.
        Good = "good",
        /// A rule used a weaker value.
        Low = "low",
    }
}

vocabulary! {
    /// Why a better source is not used; values of the label `reason`.
    pub enum PassedReason {
        /// The security policy forbids it (SELinux, seccomp).
        NotPermitted = "not_permitted",
        /// The kernel does not have it (gVisor, a missing module).
        NotSupported = "not_supported",
        /// The file does not exist or cannot be read, or the kernel reported another error.
        Unreadable = "unreadable",
        /// The answer does not follow the format.
        Malformed = "malformed",
    }
}
