//! Watches of the objects that name devices.

use std::{fmt::Debug, time::Duration};

use futures_util::{StreamExt, join};
use kube::{Api, Client, Resource, ResourceExt, runtime::watcher::Event};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{
    metrics::ShownAllocations,
    objects::{self, DeviceClaim, DeviceSlice, ReservationPod, VERSIONS},
    store::{AllocationStore, Reservation},
};
use crate::{
    cluster,
    sessions::pod::{self, devices::GROUP},
};

/// Namespaces of reservation pods: of KAI, and of Run:ai and older releases of KAI. In another namespace anybody could write the annotation.
const RESERVATION_NAMESPACES: [&str; 2] = ["kai-resource-reservation", "runai-reservation"];

/// Annotation of a reservation pod with the UUID of its device. Its name is older than its value (`PatchDeviceInfo` in KAI's
/// `pkg/resourcereservation/patcher`).
const RESERVED: &str = "run.ai/reserve_for_gpu_index";

/// Time between two attempts to find the version of the API.
const RETRY: Duration = Duration::from_secs(60);

/// Changes of the store by the events of one kind of object.
#[derive(Clone, Copy)]
struct StoreChanges<K> {
    clear: fn(&mut AllocationStore),
    set: fn(&mut AllocationStore, K),
    remove: fn(&mut AllocationStore, K),
}

const CLAIMS: StoreChanges<DeviceClaim> = StoreChanges {
    clear: AllocationStore::clear_claims,
    set: AllocationStore::set_claim,
    remove: |store, claim| store.remove_claim(&claim),
};

const SLICES: StoreChanges<DeviceSlice> = StoreChanges {
    clear: AllocationStore::clear_slices,
    set: AllocationStore::set_slice,
    remove: |store, slice| store.remove_slice(&slice.name_any()),
};

const RESERVATIONS: StoreChanges<ReservationPod> = StoreChanges {
    clear: AllocationStore::clear_reservations,
    set: |store, pod| {
        if let Some(reservation) = reservation(&pod) {
            store.set_reservation(reservation);
        }
    },
    remove: |store, pod| {
        if let Some(reservation) = reservation(&pod) {
            store.remove_reservation(&reservation.key);
        }
    },
};

// === impl ShownAllocations ===

impl ShownAllocations {
    /// Follows every object that names devices, as long as the future is polled.
    pub(in crate::sessions) async fn follow(&self, client: Client) {
        self.clear();
        // Desktops have the label too, and no annotation with a UUID.
        let pods = Api::all_with(client.clone(), &pod::resource());
        join!(self.follow_claims(client.clone()), self.apply(pods, GROUP, RESERVATIONS));
    }

    async fn follow_claims(&self, client: Client) {
        let version = served_version(&client).await;
        let resource = |kind, plural| objects::resource(version, kind, plural);
        let claims = Api::all_with(client.clone(), &resource("ResourceClaim", "resourceclaims"));
        let slices = Api::all_with(client.clone(), &resource("ResourceSlice", "resourceslices"));
        join!(self.apply(claims, "", CLAIMS), self.apply(slices, "", SLICES));
    }

    async fn apply<K>(&self, api: Api<K>, selector: &str, changes: StoreChanges<K>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let url = api.resource_url().to_owned();
        let mut events = Box::pin(cluster::events(api, selector));
        let mut listed = vec![];
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.push(object),
                Ok(Event::InitDone) => self.change(|store| {
                    (changes.clear)(store);
                    listed.drain(..).for_each(|object| (changes.set)(store, object));
                }),
                Ok(Event::Apply(object)) => self.change(|store| (changes.set)(store, object)),
                Ok(Event::Delete(object)) => self.change(|store| (changes.remove)(store, object)),
                Err(error) => tracing::warn!(%error, url, "Cannot watch objects that name devices; retrying"),
            }
        }
    }
}

/// The newest version of the API of dynamic resource allocation that the API server has. Waits until it has one.
async fn served_version(client: &Client) -> &'static str {
    loop {
        for version in VERSIONS {
            if client.list_api_group_resources(&format!("resource.k8s.io/{version}")).await.is_ok() {
                return version;
            }
        }
        sleep(RETRY).await;
    }
}

fn reservation(pod: &ReservationPod) -> Option<Reservation> {
    let namespace =
        pod.namespace().filter(|namespace| RESERVATION_NAMESPACES.contains(&namespace.as_str()))?;
    Some(Reservation {
        key: format!("{namespace}/{}", pod.name_any()),
        group: pod.labels().get(GROUP)?.clone(),
        uuid: pod.annotations().get(RESERVED).filter(|uuid| pod::devices::is_uuid(uuid)).cloned(),
    })
}
