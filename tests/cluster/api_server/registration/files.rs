//! A certificate that another program issues: the component for cert-manager, and replicas whose files change one after the other.

use std::{fs, path::PathBuf};

use anyhow::{Context, Error, Result, ensure};
use kit::cluster::{Assets, TestCluster, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use vdi_metrics::registration::SERVICE;

use super::{
    installation::{CONFIGURATION, Installation},
    load::Load,
};
use crate::support::{
    common::{MINUTE, root},
    installation::NAMESPACE,
};

tests![the_components_are_valid_with_the_types_of_cert_manager, a_new_ca_in_files_fails_no_call];

/// The API server checks every field of every object.
async fn the_components_are_valid_with_the_types_of_cert_manager(_: &TestCluster) -> Result<()> {
    let installation = Installation::new(&[]).await?;
    let kubectl = &installation.cluster.kubectl;
    let types = Assets::find()?.map_err(Error::msg)?.cert_manager_crds().display().to_string();
    kubectl.run(&["apply", "--server-side", "--filename", &types])?;
    kubectl.run(&["wait", "--for=condition=Established", "--filename", &types])?;
    let overlay = overlay("certs/cert-manager")?;
    let folder = overlay.path().display().to_string();
    kubectl.run(&[
        "apply",
        "--server-side",
        "--validate=strict",
        "--force-conflicts",
        "--kustomize",
        &folder,
    ])?;
    let get = ["get", "deployment", "vdi-metrics-webhook", "--namespace", NAMESPACE, "--output", "json"];
    let deployment: Value = serde_json::from_str(&kubectl.run(&get)?)?;
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().context("no arguments")?;
    ensure!(arguments.iter().any(|argument| argument == "--tls-cert=/tls/tls.crt"), "{arguments:?}");
    let get = ["get", "issuers,certificates", "--namespace", NAMESPACE, "--output", "name"];
    let objects = kubectl.run(&get)?;
    ensure!(objects.lines().count() == 4, "{objects}");
    Ok(())
}

/// A folder with a kustomization, as a user writes it: the server, and a component.
fn overlay(component: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let up = "../".repeat(folder.path().components().count() - 1);
    let path =
        |name: &str| format!("{up}{}", root().join(name).display().to_string().trim_start_matches('/'));
    let (server, component) = (path("manifests/server"), path(component));
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {server}\ncomponents:\n  - {component}\n"
    );
    fs::write(folder.path().join("kustomization.yaml"), text)?;
    Ok(folder)
}

/// The mounted files of each replica.
struct Mounts {
    folder: TempDir,
}

async fn a_new_ca_in_files_fails_no_call(_: &TestCluster) -> Result<()> {
    let (mounts, old, new) = (Mounts::new()?, Issued::new()?, Issued::new()?);
    let installation = Installation::new(&[]).await?;
    for replica in 0..2 {
        mounts.write(replica, &old)?;
        installation.start_with(replica, &mounts.arguments(replica)).await?;
    }
    installation.until_injected("the first installation").await?;
    installation.until_both_ready().await?;
    bundles_are(&installation, &old.authority).await?;

    let load = Load::start(&installation);
    let (leader, other) = match installation.leader().await? {
        0 => (0, 1),
        _ => (1, 0),
    };
    // The kubelet of the leader's node renews the files first. The other replica continues with a certificate of the old CA.
    mounts.write(leader, &new)?;
    bundles_are(&installation, &(new.authority.clone() + &old.authority)).await?;
    mounts.write(other, &new)?;
    bundles_are(&installation, &new.authority).await?;
    let created = load.stop().await?;
    ensure!(created > 50, "only {created} pods");
    let rejected = installation.api_server_counts("apiserver_admission_webhook_rejection_count").await?;
    ensure!(rejected == 0.0, "{rejected} calls of {CONFIGURATION} failed");
    Ok(())
}

async fn bundles_are(installation: &Installation, expected: &str) -> Result<()> {
    eventually("the caBundle has the CAs of the files", MINUTE, || async {
        for bundle in installation.bundles().await? {
            ensure!(String::from_utf8_lossy(&bundle) == expected, "another caBundle");
        }
        Ok(())
    })
    .await
}

/// A CA and a certificate, as PEM.
struct Issued {
    authority: String,
    certificate: String,
    key: String,
}

// === impl Issued ===

impl Issued {
    fn new() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = [format!("{SERVICE}.{NAMESPACE}.svc")];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok(Self {
            authority: normalized(&authority.pem())?,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The PEM as the server writes it.
fn normalized(text: &str) -> Result<String> {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(pem::encode_config(&pem::parse(text)?, config))
}

// === impl Mounts ===

impl Mounts {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn file(&self, replica: usize) -> PathBuf {
        self.folder.path().join(format!("replica-{replica}.pem"))
    }

    /// Replaces the files at once: key and chain in one file, and the CA.
    fn write(&self, replica: usize, issued: &Issued) -> Result<()> {
        for (path, text) in [
            (self.file(replica).with_extension("ca"), issued.authority.clone()),
            (self.file(replica), issued.key.clone() + &issued.certificate),
        ] {
            let next = path.with_extension("next");
            fs::write(&next, text)?;
            fs::rename(next, path)?;
        }
        Ok(())
    }

    fn arguments(&self, replica: usize) -> Vec<String> {
        let (chain, authority) = (self.file(replica), self.file(replica).with_extension("ca"));
        vec![format!("--tls-cert={}", chain.display()), format!("--tls-ca={}", authority.display())]
    }
}
