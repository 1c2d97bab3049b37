//! Messages of `k8s.io/kubelet/pkg/apis/podresources/v1/api.proto`, with the fields that the agent uses. Protobuf skips others.

use std::collections::BTreeSet;

use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::allocation::{ClaimDevice, PodAllocation, PodName};

/// `ListPodResourcesResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) pods: Vec<WirePod>,
}

/// `PodResources`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WirePod {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) containers: Vec<WireContainer>,
}

/// `ContainerResources`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireContainer {
    #[prost(message, repeated, tag = "2")]
    pub(super) devices: Vec<WireDevices>,
    #[prost(message, repeated, tag = "5")]
    pub(super) claims: Vec<WireClaim>,
}

/// `ContainerDevices`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireDevices {
    #[prost(string, repeated, tag = "2")]
    pub(super) ids: Vec<String>,
}

/// `DynamicResource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireClaim {
    #[prost(message, repeated, tag = "4")]
    pub(super) devices: Vec<WireClaimDevice>,
}

/// `ClaimResource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireClaimDevice {
    #[prost(message, repeated, tag = "1")]
    pub(super) cdi_devices: Vec<WireCdiDevice>,
    #[prost(string, tag = "2")]
    pub(super) driver: String,
    #[prost(string, tag = "4")]
    pub(super) device: String,
    #[prost(string, optional, tag = "5")]
    pub(super) share_id: Option<String>,
}

/// `CDIDevice`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireCdiDevice {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// The codec of the call `List`, whose request is an empty message.
pub(super) struct ListCodec;

// === impl ListCodec ===

impl Codec for ListCodec {
    type Encode = ();
    type Decode = ListResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for ListCodec {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for ListCodec {
    type Item = ListResponse;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<ListResponse>, Status> {
        // No kubelet answers with `DataLoss`, so the code marks a message that is not a list.
        ListResponse::decode(message).map(Some).map_err(|error| Status::data_loss(error.to_string()))
    }
}

// === impl PodAllocation ===

impl From<WirePod> for PodAllocation {
    /// Sets, because the kubelet writes one entry for each NUMA node of a device, and its order changes from call to call.
    fn from(pod: WirePod) -> Self {
        let mut allocation = Self {
            name: PodName { namespace: pod.namespace, name: pod.name },
            devices: BTreeSet::new(),
            claimed: BTreeSet::new(),
        };
        for container in pod.containers {
            allocation.devices.extend(container.devices.into_iter().flat_map(|entry| entry.ids));
            let claimed = container.claims.into_iter().flat_map(|claim| claim.devices);
            allocation.claimed.extend(claimed.map(ClaimDevice::from));
        }
        allocation
    }
}

impl From<WireClaimDevice> for ClaimDevice {
    fn from(device: WireClaimDevice) -> Self {
        Self {
            driver: device.driver,
            device: device.device,
            share_id: device.share_id,
            cdi_ids: device.cdi_devices.into_iter().map(|cdi| cdi.name).collect(),
        }
    }
}
