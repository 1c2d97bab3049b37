//! Client certificates on the webhook.

use std::{fs, io, path::Path};

use kit::{
    http::{self, Response},
    process::eventually,
    tls::{
        ClientOptions,
        client_certificate::{ClientAuthority, ClientCertificate},
    },
};
use rustls::version::{TLS12, TLS13};

use super::{Server, review, serve};

fn start(ca: &Path) -> Server {
    Server::start_with(&["--client-ca", ca.to_str().unwrap()], "/nonexistent")
}

fn mutate(server: &Server, options: ClientOptions<'_>) -> io::Result<Response> {
    let body = review();
    let length = body.len();
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let stream = server.certificate.connect_as(server.webhook, options)?;
    http::exchange(stream, &format!("{head}content-length: {length}\r\n\r\n{body}"))
}

fn mutate_with(server: &Server, certificate: Option<&ClientCertificate>) -> io::Result<u16> {
    mutate(server, ClientOptions { certificate, ..ClientOptions::default() }).map(|response| response.status)
}

#[test]
fn only_a_client_with_a_certificate_of_the_authority_gets_an_answer() {
    let (own, foreign) = (ClientAuthority::create().unwrap(), ClientAuthority::create().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    fs::write(&ca, own.pem()).unwrap();
    let server = start(&ca);
    let (accepted, rejected) =
        (own.issue("kube-apiserver").unwrap(), foreign.issue("kube-apiserver").unwrap());
    for versions in [&[&TLS12], &[&TLS13]] {
        let with = |certificate| ClientOptions { versions, certificate, ..ClientOptions::default() };
        assert_eq!(mutate(&server, with(Some(&accepted))).unwrap().status, 200);
        for certificate in [None, Some(&rejected)] {
            let error = mutate(&server, with(certificate)).unwrap_err();
            assert!(error.to_string().contains("alert"), "{error}");
        }
    }
    let metrics = server.exposition();
    let failed = [("listener", "webhook"), ("reason", "handshake_failed")];
    assert_eq!(metrics.value("vdi_metrics_https_connections_closed_total", &failed), Some(4.0));
    assert_eq!(metrics.value("vdi_metrics_admission_refusals_total", &[("reason", "malformed")]), Some(0.0));
}

#[test]
fn a_changed_file_is_used_without_a_restart_and_an_invalid_one_is_not() {
    let (old, new) = (ClientAuthority::create().unwrap(), ClientAuthority::create().unwrap());
    let (with_old, with_new) = (old.issue("kube-apiserver").unwrap(), new.issue("kube-apiserver").unwrap());
    let folder = tempfile::tempdir().unwrap();
    // As the kubelet changes a mounted file: by swapping a link.
    let write = |name: &str, content: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("ca.crt"), content).unwrap();
        let link = folder.path().join("next");
        std::os::unix::fs::symlink(name, &link).unwrap();
        fs::rename(link, folder.path().join("data")).unwrap();
    };
    write("1", &old.pem());
    let server = start(&folder.path().join("data/ca.crt"));
    assert_eq!(mutate_with(&server, Some(&with_old)).unwrap(), 200);
    assert!(mutate_with(&server, Some(&with_new)).is_err());

    write("2", &(old.pem() + &new.pem()));
    eventually("the new authority", || mutate_with(&server, Some(&with_new)).ok());
    assert_eq!(mutate_with(&server, Some(&with_old)).unwrap(), 200, "the old one is still in the file");
    write("3", "rubbish");
    server.process.logged("the previous content stays active");
    assert_eq!(mutate_with(&server, Some(&with_new)).unwrap(), 200);
    write("4", &new.pem());
    eventually("the old authority is gone", || mutate_with(&server, Some(&with_old)).is_err().then_some(()));
    assert_eq!(mutate_with(&server, Some(&with_new)).unwrap(), 200);
}

#[test]
fn an_unusable_file_is_an_error_of_the_start() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    for (content, cause) in [
        (None, "No such file"),
        (Some(""), "no root trust anchors"),
        (Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "base64"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "BadEncoding"),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let output = serve(&server.certificate).arg("--client-ca").arg(&file).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        let expected = format!("cannot use {} of --client-ca; expected PEM certificates", file.display());
        assert!(log.contains(&expected) && log.contains(cause), "{cause}: {log}");
    }
}
