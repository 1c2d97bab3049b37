//! The kubelet's list of allocated devices, as this test writes it.

use std::path::Path;

use kit::kubelet::{Answer, Kubelet};
use tokio::runtime::Runtime;

/// A running server with one list.
pub(super) struct FakeKubelet {
    _kubelet: Kubelet,
    _runtime: Runtime,
}

/// A pod with one container, in the encoding of `podresources/v1/api.proto`.
pub(super) struct ListedPod {
    name: Vec<u8>,
    container: Vec<u8>,
}

impl FakeKubelet {
    /// Starts the server. `root` is the kubelet root.
    pub(super) fn start(root: &Path, pods: &[ListedPod]) -> Self {
        let list = pods.iter().map(|pod| field(1, &[&*pod.name, &field(3, &pod.container)].concat()));
        let list: Vec<Vec<u8>> = list.collect();
        let runtime = Runtime::new().unwrap();
        let kubelet = runtime.block_on(async { Kubelet::start(root, Answer::Message(list.concat())) });
        Self { _kubelet: kubelet, _runtime: runtime }
    }
}

impl ListedPod {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        let name = [text(1, name), text(2, namespace)].concat();
        Self { name, container: text(1, "desktop") }
    }

    /// Adds devices of NVIDIA's device plugin.
    pub(super) fn with_devices(mut self, ids: &[&str]) -> Self {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| text(2, id)).collect();
        self.container.extend(field(2, &[text(1, "nvidia.com/gpu"), ids.concat()].concat()));
        self
    }

    /// Adds a claim with one device.
    pub(super) fn with_claimed(mut self, driver: &str, device: &str, share_id: Option<&str>) -> Self {
        let cdi = text(1, &format!("k8s.{driver}/claim=3f1e-{device}"));
        let share_id = share_id.map(|id| text(5, id)).unwrap_or_default();
        let device = [field(1, &cdi), text(2, driver), text(3, "node-1"), text(4, device), share_id].concat();
        let claim = [text(2, "gpu"), text(3, "desktops"), field(4, &device)].concat();
        self.container.extend(field(5, &claim));
        self
    }
}

fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

/// A field with a length: a text or a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut field);
    field.extend(value);
    field
}
