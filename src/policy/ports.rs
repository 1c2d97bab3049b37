//! Variables of the policy about the declared ports of a pod. `admission::decide` decides the same.

use super::cel::{any_of, text};
use crate::admission::{MAX_PORTS, PORTS_WITHOUT_VIEWERS, settings::PresenceSetting};

/// Names and expressions. They use the variables `containers`, `presence` and `running`.
pub(super) fn of() -> Vec<(&'static str, String)> {
    vec![("tcpPorts", tcp_ports()), ("desktopPorts", desktop_ports())]
}

/// The TCP ports of the containers beside the sidecar, without those for metrics and probes.
fn tcp_ports() -> String {
    format!(
        "variables.running.map(c, c.?ports.orValue([])\n  .filter(p, {})\n  \
         .map(p, int(p.?containerPort.orValue(0)))).flatten()",
        may_have_viewers()
    )
}

/// Value of the sidecar's environment variable for the ports; empty if the sidecar does not get the variable. The number of ports is
/// checked first, because the cost of `distinct` and of `sort` is the square of the number.
fn desktop_ports() -> String {
    format!(
        "variables.presence == {} || size(variables.tcpPorts) > {MAX_PORTS} ||\n  \
         variables.containers.exists(c, !c.?ports.orValue([]).exists(p, {})) ? \"\"\n\
         : variables.tcpPorts.distinct().sort().map(p, string(p)).join(\",\")",
        text(PresenceSetting::Off.as_str()),
        may_have_viewers()
    )
}

/// Whether the port `p` is a TCP port for other clients than those of metrics and probes.
fn may_have_viewers() -> String {
    format!(
        "p.?protocol.orValue(\"\") in [\"\", \"TCP\"] && !p.?name.orValue(\"\").matches({})",
        any_of(PORTS_WITHOUT_VIEWERS.into_iter())
    )
}
