//! The clients of the API server.

use std::{error::Error, fmt};

use kube::{Client, Config, config::InferConfigError};
use tokio::{runtime::Handle, task::JoinError};

/// The clients of one sign-in.
pub struct Clients {
    /// Retries a request up to 15 times if the API server is overloaded.
    pub retrying: Client,
    /// Sends each request once. For requests on behalf of other clients, whose number has a limit.
    pub once: Client,
}

/// Why there is no client.
#[derive(Debug)]
pub enum SignInError {
    /// The process is not in a cluster and has no usable kubeconfig.
    Configuration(InferConfigError),
    /// The credentials or certificates of the configuration cannot be used.
    Client(kube::Error),
    /// The sign-in panicked.
    Panic(JoinError),
}

/// Signs in to the cluster with the kubeconfig of the environment, otherwise with the ServiceAccount of the pod.
///
/// A kubeconfig can name a program that prints the credentials. The client library blocks its thread until this program ends,
/// so the sign-in has its own thread.
///
/// # Errors
/// Fails without a cluster, or if the credentials cannot be used.
pub async fn sign_in() -> Result<Clients, SignInError> {
    let task = tokio::task::spawn_blocking(|| {
        let config = Handle::current().block_on(Config::infer()).map_err(SignInError::Configuration)?;
        let mut once = config.clone();
        once.default_retry = false;
        let client = |config| Client::try_from(config).map_err(SignInError::Client);
        Ok(Clients { retrying: client(config)?, once: client(once)? })
    });
    task.await.map_err(SignInError::Panic)?
}

// === impl SignInError ===

impl fmt::Display for SignInError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration(_) => "not in a cluster, and no usable kubeconfig",
            Self::Client(_) => "cannot use the credentials of the cluster",
            Self::Panic(_) => "the sign-in panicked",
        })
    }
}

impl Error for SignInError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Configuration(error) => Some(error),
            Self::Client(error) => Some(error),
            Self::Panic(error) => Some(error),
        }
    }
}
