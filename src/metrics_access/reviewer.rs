//! Reviews a token with the API server.

use std::{
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
};

use kube::Client;

use super::{bearer::ReviewVerb, gate::Verdict};
use crate::{cluster, contract::METRICS_PATH};

/// Answers whose token this is, and whether this user may read the metrics.
pub trait Reviewer: Send + Sync + 'static {
    /// The verdict about a token. The call may last for ever.
    fn review(
        &self,
        token: &str,
        verb: ReviewVerb,
    ) -> impl Future<Output = Result<Verdict, ReviewError>> + Send;
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum ReviewError {
    /// The server has no client of the API server (yet).
    NotSignedIn,
    /// The API server did not answer in time.
    Timeout,
    /// A call failed: the resource, and the cause.
    Call(&'static str, kube::Error),
}

/// The API server as a reviewer.
#[derive(Clone, Default)]
pub struct ClusterReviewer {
    /// The audiences that a token must have one of. Empty: the audiences of the API server.
    audiences: Vec<String>,
    client: Arc<OnceLock<Client>>,
}

// === impl ClusterReviewer ===

impl ClusterReviewer {
    /// A reviewer that fails until [`Self::signed_in`].
    #[must_use]
    pub fn new(audiences: Vec<String>) -> Self {
        Self { audiences, client: Arc::default() }
    }

    /// Uses this client from now on. The first client is kept.
    pub fn signed_in(&self, client: Client) {
        _ = self.client.set(client);
    }
}

impl Reviewer for ClusterReviewer {
    async fn review(&self, token: &str, verb: ReviewVerb) -> Result<Verdict, ReviewError> {
        let client = self.client.get().ok_or(ReviewError::NotSignedIn)?;
        let user = cluster::authenticate(client, token, &self.audiences).await;
        let Some(user) = user.map_err(|error| ReviewError::Call("tokenreviews", error))? else {
            return Ok(Verdict::Invalid);
        };
        let name = user.username.clone().unwrap_or_default();
        let is_allowed = cluster::may_access(client, user, METRICS_PATH, verb.as_str()).await;
        let is_allowed = is_allowed.map_err(|error| ReviewError::Call("subjectaccessreviews", error))?;
        Ok(if is_allowed { Verdict::Allowed } else { Verdict::Forbidden { user: name } })
    }
}

// === impl ReviewError ===

impl fmt::Display for ReviewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSignedIn => f.write_str(
                "not signed in to a cluster; run the server in a cluster, or with --metrics-authentication none",
            ),
            Self::Timeout => f.write_str("the API server did not answer in time"),
            Self::Call(resource, kube::Error::Api(status)) if status.code == 403 => {
                write!(f, "this server may not create {resource}; apply manifests/server/rbac.yaml")
            }
            Self::Call(resource, _) => write!(f, "cannot create {resource}"),
        }
    }
}

impl Error for ReviewError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotSignedIn | Self::Timeout => None,
            Self::Call(_, error) => Some(error),
        }
    }
}
