//! The rights that the webhook gives to the sidecar: a user without a name, no capability, no new privileges.

use std::{ffi::OsString, fs};

use kit::network::POD;

use super::desktop_pod::*;
use crate::sidecar::{driver_scenarios::busy_gpu, pod_fixture::PodFixture};

/// Starts the program `$0` with these rights. A copy of it is necessary, because the user may not enter each folder above the
/// original.
const START: &str = "folder=$(dirname \"$VDI_METRICS_ROOT\") && chmod 755 \"$folder\" && install -m 755 \"$0\" \"$folder/sidecar\" \
    && chmod 666 \"$VDI_METRICS_ROOT/dev/termination-log\" \
    && exec setpriv --reuid=65532 --regid=65532 --clear-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all \
        --no-new-privs \"$folder/sidecar\"";

#[test]
fn the_dump_needs_no_rights() {
    let wrapper = ["sh", "-c", START].map(OsString::from).to_vec();
    let Some(pod) = DesktopPod::start_with(&PodFixture::wrapped(wrapper), &busy_gpu(), &[]) else { return };
    check_rights(pod.sidecar.process.id());
    let server = pod.listen("::", PORT);
    let mut links = [pod.connect(&server, POD[0]), pod.connect(&server, POD[1])];
    links[0].send(123_456);
    links[1].receive(7890);
    pod.viewers_until(2);
    let seen = pod.scrape_until("the bytes", |seen| {
        (seen.value(TRANSMITTED, &[]), seen.value(RECEIVED, &[])) == (Some(123_456.0), Some(7890.0))
    });
    let good = [("source", "sock_diag"), ("transport", "tcp"), ("confidence", "good")];
    assert_eq!(seen.value(INFO, &good), Some(1.0));
    assert!(seen.value(RTT, &[]).is_some());
}

fn check_rights(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap().to_owned()
    };
    assert_eq!(value("Uid"), "65532\t65532\t65532\t65532");
    assert_eq!(value("NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
}
