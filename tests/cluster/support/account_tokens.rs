//! Tokens of ServiceAccounts: from the API server, and signed by a test with the API server's key.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kit::cluster::Cluster;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

/// The audience of the API server and the issuer of its tokens.
pub(crate) const API_SERVER: &str = "https://kubernetes.default.svc";

/// A ServiceAccount.
pub(crate) struct Account<'c> {
    cluster: &'c Cluster,
    namespace: String,
    name: &'static str,
}

// === impl Account ===

impl<'c> Account<'c> {
    /// Creates a ServiceAccount.
    pub(crate) fn create(cluster: &'c Cluster, namespace: &str, name: &'static str) -> Result<Self> {
        cluster.kubectl.run(&["create", "serviceaccount", name, "--namespace", namespace])?;
        Ok(Self { cluster, namespace: namespace.to_owned(), name })
    }

    /// The name of the user.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// A token from the API server, for its own audience or for another one.
    pub(crate) fn token(&self, audience: Option<&str>) -> Result<String> {
        let audience = audience.map(|audience| format!("--audience={audience}"));
        let mut arguments = vec!["create", "token", self.name, "--namespace", &self.namespace];
        arguments.extend(audience.as_deref());
        Ok(self.cluster.kubectl.run(&arguments)?.trim().to_owned())
    }

    /// A token with the API server's signature. The API server issues no tokens for less than 10 minutes, so a test that needs an
    /// expired one signs it.
    pub(crate) fn signed(&self, audience: &str, expires: SystemTime) -> Result<String> {
        let seconds =
            |time: SystemTime| Ok::<_, anyhow::Error>(time.duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
        let issued = seconds(expires - Duration::from_secs(3600))?;
        let account = json!({"name": self.name, "uid": self.uid()?});
        let claims = json!({
            "iss": API_SERVER, "aud": [audience], "sub": self.user(),
            "exp": seconds(expires)?, "iat": issued, "nbf": issued,
            "kubernetes.io": {"namespace": self.namespace, "serviceaccount": account},
        });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "ES256", "typ": "JWT"})), encode(&claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }

    /// Gives the account this ClusterRole in a binding with this name.
    pub(crate) fn bind(&self, binding: &str, role: &str) -> Result<()> {
        let account = format!("--serviceaccount={}:{}", self.namespace, self.name);
        let role = format!("--clusterrole={role}");
        self.cluster.kubectl.run(&["create", "clusterrolebinding", binding, &role, &account]).map(drop)
    }

    fn uid(&self) -> Result<String> {
        let output = "--output=jsonpath={.metadata.uid}";
        self.cluster.kubectl.run(&[
            "get",
            "serviceaccount",
            self.name,
            "--namespace",
            &self.namespace,
            output,
        ])
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let file = self.cluster.folder().join("access/accounts.key");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&fs::read(&file)?)
            .with_context(|| format!("reading {}", file.display()))?;
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.secret_pkcs8_der(), &random);
        let signature = pair.ok().context("not a P-256 key")?.sign(&random, bytes);
        Ok(signature.ok().context("signing a token")?.as_ref().to_vec())
    }
}
