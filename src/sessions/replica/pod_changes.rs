//! The watch of the session pods.

use futures_util::{StreamExt, stream::BoxStream};
use kube::Api;

use crate::{
    cluster::{Change, Start, changes},
    contract::key,
    sessions::pod::WatchedPod,
};

/// The changes of session pods.
pub(super) type PodChanges = BoxStream<'static, Change<WatchedPod>>;

/// Watches the pods that admission marked.
pub(super) fn watch_pods(pods: Api<WatchedPod>, start: Start) -> PodChanges {
    changes(pods, &format!("{}=true", key::INJECTED), start).boxed()
}
