//! Messages of an agent that cannot start.

use std::{net::TcpListener, process::Command};

use fake_nvml::Scenario;

use super::node_fixture::*;

#[test]
fn an_agent_that_cannot_start_names_the_flag_and_the_remedy_in_one_line() {
    let node = Node::new(&Scenario::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let root = node.kubelet_root().display().to_string();
    let with_root =
        |flag: &str, value: &str| ["--kubelet-root", &root, flag, value].map(str::to_owned).to_vec();
    for (arguments, message) in [
        (
            vec!["--kubelet-root".to_owned(), "/absent".to_owned()],
            "/absent/pods: No such file or directory (os error 2); check --kubelet-root",
        ),
        (with_root("--proc", "/absent"), "/absent/self: entity not found; check --proc"),
        (with_root("--listen", &address), "--listen: cannot listen on 127.0.0.1:"),
        (
            with_root("--listen", &address),
            "Address already in use (os error 98); end the other program, or use another address",
        ),
        (with_root("--interval", "4"), "--interval is 4; use a number of seconds from 5 to 300"),
        (with_root("--devices", "card0"), "--devices has \"card0\"; use UUIDs"),
    ] {
        let listen = if arguments.contains(&address) { vec![] } else { vec!["--listen", "127.0.0.1:0"] };
        let output =
            Command::new(env!("CARGO_BIN_EXE_vdi-metrics-node")).args(listen).args(&arguments).output();
        let output = output.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), log.lines().count()), (Some(1), 1), "{log}");
        assert!(log.contains(message), "{message}: {log}");
    }
}
