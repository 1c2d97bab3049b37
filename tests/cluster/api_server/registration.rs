//! The server's own certificate: the first installation, rotations under load, crashes, and whatever damages the Secret or the
//! webhook configuration.

mod damage;
mod files;
mod installation;
mod load;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::cluster::{TestCluster, eventually};

use self::{installation::Installation, load::Load};
use crate::support::common::{MINUTE, report};

pub(crate) use damage::TESTS as DAMAGE_TESTS;
pub(crate) use files::TESTS as FILES_TESTS;

tests![
    two_racing_replicas_make_one_certificate_and_refuse_no_pod,
    certificate_and_ca_are_renewed_under_load_without_a_failed_call,
    a_leader_killed_after_any_write_leaves_a_state_from_which_the_next_goes_on,
];

/// Aim for the time from the start of the servers to the first sidecar.
const FIRST_SIDECAR: Duration = Duration::from_secs(15);

async fn two_racing_replicas_make_one_certificate_and_refuse_no_pod(_: &TestCluster) -> Result<()> {
    let installation = Installation::new(&[]).await?;
    let began = Instant::now();
    installation.start_both().await?;
    installation.until_injected("the first installation").await?;
    let took = began.elapsed();
    ensure!(took < FIRST_SIDECAR, "the first sidecar after {took:?}");
    // The replica that lost the race uses the certificate of the other one.
    let authorities = pem::parse_many(installation.stored("ca.crt").await?)?;
    ensure!(authorities.len() == 1, "{} CAs", authorities.len());
    let resources = installation.secret().await?.context("no Secret")?.metadata.resource_version;
    for _ in 0..100 {
        installation.is_injected().await?;
    }
    let later = installation.secret().await?.context("no Secret")?.metadata.resource_version;
    ensure!(resources == later, "the Secret was written again");
    report(&format!("first sidecar {took:.1?} after the start of both replicas"));
    Ok(())
}

/// The shortest lifetimes at which the steps of a rotation do not overlap: a CA is renewed after 90 s, and a rotation takes 25 s.
const LIFETIMES: [&str; 4] = ["--certificate-lifetime", "45s", "--ca-lifetime", "135s"];

/// The time for a rotation of the CA.
const ROTATION: Duration = Duration::from_secs(180);

async fn certificate_and_ca_are_renewed_under_load_without_a_failed_call(_: &TestCluster) -> Result<()> {
    let installation = Installation::new(&LIFETIMES).await?;
    installation.start_both().await?;
    installation.until_injected("the first installation").await?;
    installation.until_both_ready().await?;
    // Calls before the first certificate have failed.
    let before = failed_calls(&installation).await?;
    let first = installation.stored("ca.crt").await?;
    let load = Load::start(&installation);
    let mut certificates = vec![];
    eventually("another CA has replaced the first one", ROTATION, || async {
        let authorities = installation.stored("ca.crt").await?;
        ensure!(pem::parse_many(&authorities)?.len() == 1 && authorities != first, "the rotation continues");
        Ok(())
    })
    .await?;
    certificates.push(installation.stored("tls.crt").await?);
    eventually("the certificate is renewed once more", MINUTE, || async {
        ensure!(installation.stored("tls.crt").await? != certificates[0], "the certificate is the same");
        Ok(())
    })
    .await?;
    let created = load.stop().await?;
    let failed = failed_calls(&installation).await? - before;
    ensure!(failed == 0.0, "{failed} of {created} calls failed");
    ensure!(created > 1000, "only {created} pods");
    report(&format!("{created} pods during the rotation, none without a sidecar"));
    Ok(())
}

/// Calls of the webhook that failed, by the API server's metrics.
async fn failed_calls(installation: &Installation) -> Result<f64> {
    let open = installation.api_server_counts("apiserver_admission_webhook_fail_open_count").await?;
    Ok(open + installation.api_server_counts("apiserver_admission_webhook_rejection_count").await?)
}

/// A CA is renewed after 40 s.
const SHORT_LIFETIMES: [&str; 4] = ["--certificate-lifetime", "30s", "--ca-lifetime", "90s"];

/// The writes of a first installation and of a rotation: Secret, caBundle, Secret, caBundle, Secret, Secret, caBundle.
const KILLS: usize = 7;

async fn a_leader_killed_after_any_write_leaves_a_state_from_which_the_next_goes_on(
    _: &TestCluster,
) -> Result<()> {
    let installation = Installation::new(&SHORT_LIFETIMES).await?;
    installation.start_both().await?;
    let mut seen = installation.written().await?;
    for kill in 0..KILLS {
        let what = format!("write {kill}");
        seen = eventually(what, ROTATION, || async {
            let written = installation.written().await?;
            ensure!(written != seen, "the leader writes nothing");
            Ok(written)
        })
        .await?;
        let leader = installation.leader().await.unwrap_or(kill % 2);
        installation.kill(leader);
        installation.start(leader).await?;
    }
    installation.until_injected("after the last kill").await?;
    let trusted = pem::parse_many(installation.stored("ca.crt").await?)?.len();
    ensure!(trusted <= 3, "{trusted} CAs are trusted");
    Ok(())
}
