//! Watches of objects.

use std::fmt::Debug;

use futures_util::Stream;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// Events of the objects that match a label selector; an empty selector matches every object. The stream never ends: after
/// an error it retries, with a growing delay.
pub fn events<K>(api: Api<K>, selector: &str) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    selected_events(api, selector, "")
}

/// Events of the objects that match a label selector and a field selector, as [`events`].
pub fn selected_events<K>(
    api: Api<K>,
    labels: &str,
    fields: &str,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let selector = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let config = watcher::Config {
        label_selector: selector(labels),
        field_selector: selector(fields),
        ..Default::default()
    };
    watcher(api, config).default_backoff()
}
