//! Whatever damages the certificate or its registration is repaired by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kit::cluster::{TestCluster, eventually};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use vdi_metrics::registration::{SECRET, SERVICE};

use super::installation::{CONFIGURATION, Installation};
use crate::support::{
    common::{report, root},
    installation::NAMESPACE,
};

tests![a_damaged_registration_is_repaired, a_secret_that_nobody_can_use_is_replaced_at_the_start];

/// Time for a repair. The leader repairs at once what its watch shows; an API server uses the change after its own watch. If the
/// certificate changes too, it may need several steps.
const REPAIRED: Duration = Duration::from_secs(15);

async fn a_damaged_registration_is_repaired(_: &TestCluster) -> Result<()> {
    let installation = Installation::new(&[]).await?;
    installation.start_both().await?;
    installation.until_injected("the first installation").await?;
    let certificate = installation.stored("tls.crt").await?;

    installation.patch_bundle(None).await?;
    repaired(&installation, "an empty caBundle").await?;

    installation.apply_bundle_as_another_manager("argocd")?;
    repaired(&installation, "a caBundle of another manager").await?;

    let configuration = root().join("webhook-config").display().to_string();
    installation.cluster.kubectl.run(&["delete", "mutatingwebhookconfiguration", CONFIGURATION])?;
    installation.cluster.kubectl.run(&["apply", "--kustomize", &configuration])?;
    repaired(&installation, "a configuration that was deleted and applied again").await?;

    installation.secrets().delete(SECRET, &DeleteParams::default()).await?;
    repaired(&installation, "a deleted Secret").await?;
    ensure!(installation.stored("tls.crt").await? == certificate, "the replicas remember the certificate");

    let rubbish =
        json!({"data": {"tls.crt": "cnViYmlzaA==", "tls.key": "", "ca.crt": "", "ca.key": "cnViYmlzaA=="}});
    installation.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(rubbish)).await?;
    repaired(&installation, "a Secret with rubbish").await?;
    ensure!(installation.stored("tls.crt").await? == certificate, "the replicas remember the certificate");
    Ok(())
}

/// Waits until the Secret and the configuration are as the server writes them, and new pods get sidecars.
async fn repaired(installation: &Installation, damage: &str) -> Result<()> {
    let began = std::time::Instant::now();
    eventually(format!("{damage} is repaired"), REPAIRED, || async {
        let trusted = installation.stored("ca.crt").await?;
        ensure!(pem::parse_many(&trusted)?.len() == 1, "the Secret has no CA");
        for bundle in installation.bundles().await? {
            ensure!(bundle == trusted, "the configuration has another caBundle");
        }
        installation.is_injected().await
    })
    .await?;
    report(&format!("{damage}: repaired after {:.1?}", began.elapsed()));
    Ok(())
}

const DAY: i64 = 86_400;

/// Secrets that a server wrote whose clock was wrong, or that has not run for years.
async fn a_secret_that_nobody_can_use_is_replaced_at_the_start(_: &TestCluster) -> Result<()> {
    for (what, authority, leaf) in [
        ("an expired CA", [-900, -1], [-900, -1]),
        ("an expired certificate", [-900, 600], [-91, -1]),
        ("a certificate of a server whose clock is two days ahead", [1, 731], [1, 91]),
    ] {
        let installation = Installation::new(&[]).await?;
        let secret = secret(authority, leaf)?;
        installation.secrets().create(&PostParams::default(), &secret).await?;
        let began = std::time::Instant::now();
        installation.start_both().await?;
        installation.until_injected(what).await?;
        let took = began.elapsed();
        ensure!(took < REPAIRED, "{what}: the first sidecar after {took:?}");
        report(&format!("{what}: first sidecar {took:.1?} after the start"));
    }
    Ok(())
}

/// A Secret as the server writes it. The times are days from now.
fn secret(authority: [i64; 2], leaf: [i64; 2]) -> Result<Secret> {
    let name = format!("{SERVICE}.{NAMESPACE}.svc");
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    (parameters.not_before, parameters.not_after) = (date(authority[0])?, date(authority[1])?);
    let authority = CertifiedIssuer::self_signed(parameters, key)?;
    let leaf_key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new([name])?;
    (parameters.not_before, parameters.not_after) = (date(leaf[0])?, date(leaf[1])?);
    let certificate = parameters.signed_by(&leaf_key, &authority)?;
    let data = [
        ("ca.crt", authority.pem()),
        ("ca.key", authority.key().serialize_pem()),
        ("tls.crt", certificate.pem()),
        ("tls.key", leaf_key.serialize_pem()),
    ];
    Ok(Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).into()),
        ..Secret::default()
    })
}

fn date(days: i64) -> Result<time::OffsetDateTime> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let seconds = i64::try_from(now)?.checked_add(days * DAY).context("no such time")?;
    Ok(time::OffsetDateTime::from_unix_timestamp(seconds)?)
}
