//! The watches of the Secret and of the webhook configuration.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::time::{Instant, sleep_until};

use super::{
    live::{self, LiveEntry},
    state::{SECRET, WebhookNames},
    stored::StoredCertificate,
};
use crate::cluster;

/// Time until both objects are listed again. A watch can be late without an error: a request hangs, or etcd was restored from a backup and
/// its resource versions are lower.
const RESYNC: Duration = Duration::from_secs(300);

type ObjectEvents<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

/// The watches.
pub(super) struct Objects {
    client: Client,
    webhook: WebhookNames,
    has_secret: bool,
    configurations: ObjectEvents<MutatingWebhookConfiguration>,
    secrets: ObjectEvents<Secret>,
    configuration_list: ListState,
    secret_list: ListState,
    began: Instant,
}

/// What a watch shows.
pub(super) enum SeenObject {
    /// The entries of the webhook configuration; none if there is no configuration.
    Configuration(Option<Vec<LiveEntry>>),
    /// The content of the Secret; none if there is no Secret.
    Secret(Option<Box<StoredCertificate>>),
}

/// The progress of a list of one object.
#[derive(Debug, Default)]
struct ListState {
    has_object: bool,
    is_complete: bool,
}

// === impl Objects ===

impl Objects {
    /// Watches the webhook configuration, and the Secret if `has_secret`.
    pub(super) fn new(client: Client, webhook: WebhookNames, has_secret: bool) -> Self {
        let mut this = Self {
            client,
            webhook,
            has_secret,
            configurations: Box::pin(stream::pending()),
            secrets: Box::pin(stream::pending()),
            configuration_list: ListState::default(),
            secret_list: ListState::default(),
            began: Instant::now(),
        };
        this.restart();
        this
    }

    /// Lists both objects again and watches them.
    pub(super) fn restart(&mut self) {
        let name = format!("metadata.name={}", self.webhook.configuration);
        self.configurations = Box::pin(cluster::selected_events(Api::all(self.client.clone()), "", &name));
        if self.has_secret {
            let secrets = Api::default_namespaced(self.client.clone());
            self.secrets =
                Box::pin(cluster::selected_events(secrets, "", &format!("metadata.name={SECRET}")));
        }
        (self.configuration_list, self.secret_list) = Default::default();
        self.began = Instant::now();
    }

    /// Whether both lists since the last restart are complete.
    pub(super) fn are_listed(&self) -> bool {
        self.configuration_list.is_complete && (self.secret_list.is_complete || !self.has_secret)
    }

    /// What the next event shows; none if nothing has changed. A caller may drop the future without losing an event.
    pub(super) async fn next(&mut self) -> Option<SeenObject> {
        tokio::select! {
            Some(event) = self.configurations.next() => {
                let entries = |it: &MutatingWebhookConfiguration| live::entries(it, &self.webhook.entries);
                let seen = self.configuration_list.apply(&event, entries, "the webhook configuration");
                seen.map(SeenObject::Configuration)
            }
            Some(event) = self.secrets.next() => {
                let seen = self.secret_list.apply(&event, StoredCertificate::read, "the Secret with the certificate");
                seen.map(|stored| SeenObject::Secret(stored.map(Box::new)))
            }
            () = sleep_until(self.began + RESYNC) => {
                self.restart();
                None
            }
        }
    }
}

// === impl ListState ===

impl ListState {
    /// What an event shows: the object, or that there is none.
    fn apply<K, T>(
        &mut self,
        event: &watcher::Result<Event<K>>,
        read: impl FnOnce(&K) -> T,
        what: &str,
    ) -> Option<Option<T>> {
        match event {
            Ok(Event::Init) => {
                self.has_object = false;
                None
            }
            Ok(Event::InitApply(object)) => {
                self.has_object = true;
                Some(Some(read(object)))
            }
            Ok(Event::InitDone) => {
                self.is_complete = true;
                (!self.has_object).then_some(None)
            }
            Ok(Event::Apply(object)) => Some(Some(read(object))),
            Ok(Event::Delete(_)) => Some(None),
            Err(error) => {
                tracing::warn!(%error, "Cannot watch {what}; retrying");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_the_object_shows_that_it_was_deleted() {
        let mut list = ListState::default();
        let mut apply = |event| list.apply(&Ok(event), |object: &u32| *object, "an object");
        assert_eq!(apply(Event::Init), None);
        assert_eq!(apply(Event::InitApply(1)), Some(Some(1)));
        assert_eq!(apply(Event::InitDone), None);
        assert_eq!(apply(Event::Apply(2)), Some(Some(2)));
        // The watch was interrupted while the object was deleted.
        assert_eq!(apply(Event::Init), None);
        assert_eq!(apply(Event::InitDone), Some(None));
        assert_eq!(apply(Event::Apply(3)), Some(Some(3)));
        assert_eq!(apply(Event::Delete(3)), Some(None));
    }
}
