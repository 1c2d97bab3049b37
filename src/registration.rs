//! Why the API server can trust this server: the serving certificate, and the `caBundle` of the webhook configuration.
//!
//! By default the leader keeps a CA and a serving certificate in a Secret. Every replica watches the Secret, because the kubelet renews a
//! mounted Secret only after a minute or more (cert-controller#50). Otherwise the certificate is in files, and another program issues it.
//!
//! * `certificates`: a chain with its key, the CA that issues it, and whether an API server accepts it.
//! * `stored` is the content of the Secret, `live` the webhook configuration, `files` the files.
//! * `rotation` decides about the next step. `observed` is what it depends on. `retry` decides when.
//! * `objects` watches the Secret and the webhook configuration. `registrar` decides and writes. `replicas` asks the other replicas.
//! * `state` is the certificate of this process, `serving` the one in use, `metrics` the catalogue.

mod certificates;
mod files;
mod live;
pub mod metrics;
mod objects;
mod observed;
mod registrar;
mod replicas;
mod retry;
mod rotation;
mod serving;
mod state;
mod stored;

use kube::Client;

pub use files::{CertificateFiles, FileContent, FileError};
use registrar::Registrar;
pub use rotation::Lifetimes;
pub use serving::ServingCertificate;
pub use state::{CertificateSource, Managed, Registration, SECRET, SERVICE, WebhookNames};

// === impl Registration ===

impl Registration {
    /// Keeps the certificate and the registration up to date, as long as the future is polled.
    pub async fn follow(self, client: Client) {
        Registrar::new(self, client).run().await;
    }
}

#[cfg(test)]
mod tests;
