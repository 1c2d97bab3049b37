//! Credentials of one cluster: certificates, service-account keys, and a token and kubeconfig per user. Every cluster gets
//! new ones.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

/// The credentials of one cluster, as files in one folder.
pub(in crate::cluster) struct Access {
    dir: PathBuf,
    server: String,
    tokens: Vec<(&'static str, String)>,
}

impl Access {
    /// Writes all files for an API server at `server` that clients also reach at `addresses`.
    pub(super) fn create(dir: &Path, server: &str, addresses: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let this = Self { dir: dir.to_owned(), server: server.to_owned(), tokens: tokens()? };
        let ca_key = KeyPair::generate()?;
        let ca = certificate_authority()?;
        this.write("ca.crt", &ca.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca, ca_key);
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"];
        let names: Vec<String> = names.iter().chain(addresses).map(|&name| name.to_owned()).collect();
        this.issue(
            "apiserver",
            &issuer,
            &leaf(names, "kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth)?,
        )?;
        // The API server's own calls to the kubelet (logs, exec).
        let mut client = leaf(Vec::new(), "kube-apiserver", ExtendedKeyUsagePurpose::ClientAuth)?;
        client.distinguished_name.push(DnType::OrganizationName, "system:masters");
        this.issue("kubelet-client", &issuer, &client)?;
        this.write_webhook_client(&issuer)?;
        let accounts = KeyPair::generate()?;
        this.write("accounts.key", &accounts.serialize_pem())?;
        this.write("accounts.pub", &accounts.public_key_pem())?;
        this.write("tokens.csv", &this.token_file())?;
        for (user, _) in &this.tokens {
            this.write(&format!("{user}.kubeconfig"), &this.kubeconfig_of(user).to_string())?;
        }
        Ok(this)
    }

    /// The path of a file of this folder.
    pub(in crate::cluster) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The kubeconfig of a user of [`USERS`].
    pub(in crate::cluster) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.file(&format!("{user}.kubeconfig"))
    }

    /// The kubeconfig of a user of [`USERS`], as the kube client reads it.
    pub(super) fn kubeconfig_of(&self, user: &str) -> serde_json::Value {
        let token = self.tokens.iter().find(|(name, _)| *name == user).map(|(_, token)| token);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
            "clusters": [{"name": "testbed",
                "cluster": {"server": self.server, "certificate-authority": self.file("ca.crt")}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        })
    }

    fn issue(&self, name: &str, issuer: &Issuer<'_, KeyPair>, params: &CertificateParams) -> Result<()> {
        let key = KeyPair::generate()?;
        self.write(&format!("{name}.crt"), &params.signed_by(&key, issuer)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    /// The API server's client certificate for webhooks, and the two files that tell it to use the certificate for every webhook. It
    /// sends the certificate only to a server that requests one.
    fn write_webhook_client(&self, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let client = leaf(Vec::new(), "kube-apiserver", ExtendedKeyUsagePurpose::ClientAuth)?;
        self.issue("webhook-client", issuer, &client)?;
        let [certificate, key] = ["webhook-client.crt", "webhook-client.key"].map(|name| self.file(name));
        let users = json!([{"name": "*", "user": {"client-certificate": certificate, "client-key": key}}]);
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "users": users});
        self.write("webhook-client.kubeconfig", &kubeconfig.to_string())?;
        let group = "apiserver.config.k8s.io/v1";
        let configuration = json!({"apiVersion": group, "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": self.file("webhook-client.kubeconfig")});
        let plugin = json!({"name": "MutatingAdmissionWebhook", "configuration": configuration});
        let admission = json!({"apiVersion": group, "kind": "AdmissionConfiguration", "plugins": [plugin]});
        self.write("admission.json", &admission.to_string())
    }

    fn token_file(&self) -> String {
        let rows = USERS.iter().zip(&self.tokens);
        rows.map(|((name, user, group), (_, token))| format!("{token},{user},{name},{group}\n")).collect()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.file(name), text).with_context(|| format!("writing {}", self.file(name).display()))
    }
}

fn certificate_authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "testbed");
    Ok(params)
}

fn leaf(names: Vec<String>, common_name: &str, usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages.push(usage);
    Ok(params)
}

fn tokens() -> Result<Vec<(&'static str, String)>> {
    let mut random = fs::File::open("/dev/urandom")?;
    let mut bytes = [0; 16];
    let mut token = || -> Result<String> {
        random.read_exact(&mut bytes)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    USERS.iter().map(|(name, ..)| Ok((*name, token()?))).collect()
}

/// The users with a token: short name, user name and group.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("node", "system:node:node", "system:nodes"),
];
