//! Names by which pods request GPUs: extended resources, and annotations of schedulers and operators.

use crate::contract::{GpuRequest, key};

/// Extended resources of NVIDIA GPUs, each with its kind of request. A `*` matches any characters. Other resources of
/// `nvidia.com` are not GPUs but, for example, network devices. The table has no GPUs of other vendors, because NVML does not
/// list them.
pub const RESOURCES: &[(&str, GpuRequest)] = &[
    // NVIDIA's device plugin, with time-slicing or MPS and `renameByDefault`.
    ("nvidia.com/*.shared", GpuRequest::Part),
    // HAMi: memory and cores of each vGPU. `nvidia.com/gpu` is the number of vGPUs.
    ("nvidia.com/gpumem", GpuRequest::Part),
    ("nvidia.com/gpumem-percentage", GpuRequest::Part),
    ("nvidia.com/gpucores", GpuRequest::Part),
    // nos: MPS with an amount of memory.
    ("nvidia.com/gpu-*gb", GpuRequest::Part),
    // Volcano: its vGPU plugin, and GPU sharing by memory.
    ("volcano.sh/vgpu-*", GpuRequest::Part),
    ("volcano.sh/gpu-memory", GpuRequest::Part),
    // Alibaba Cloud ACK: GPU sharing. `aliyun.com/gpu` is the number of entire cards.
    ("aliyun.com/gpu-*", GpuRequest::Part),
    // Tencent Cloud: GPU Manager and qGPU.
    ("tencent.com/vcuda-*", GpuRequest::Part),
    ("tke.cloud.tencent.com/qgpu-*", GpuRequest::Part),
    // Koordinator: percentages of a card, so 100 is an entire card.
    ("koordinator.sh/gpu*", GpuRequest::Part),
    // AWS: virtual GPUs by MPS.
    ("k8s.amazonaws.com/vgpu", GpuRequest::Part),
    // NVIDIA's device plugin: cards, and MIG slices with the MIG strategy `mixed`.
    // `pgpu`: cards for virtual machines of Kata Containers.
    ("nvidia.com/gpu", GpuRequest::Device),
    ("nvidia.com/mig-*", GpuRequest::Device),
    ("nvidia.com/pgpu", GpuRequest::Device),
    // The device classes of NVIDIA's DRA driver as implicit extended resources (KEP-5004).
    ("deviceclass.resource.kubernetes.io/gpu.nvidia.com", GpuRequest::Device),
    ("deviceclass.resource.kubernetes.io/mig.nvidia.com", GpuRequest::Device),
    // Any other device class: the pod does not show whether it is a GPU.
    ("deviceclass.resource.kubernetes.io/*", GpuRequest::Claims),
    // Entire cards of Volcano and Alibaba Cloud ACK.
    ("volcano.sh/gpu-number", GpuRequest::Device),
    ("aliyun.com/gpu", GpuRequest::Device),
];

/// Annotations of KAI and Run:ai that request a part of a GPU. Such a pod has no GPU among its resources.
pub const PART_ANNOTATIONS: &[&str] = &[
    "gpu-fraction",
    "gpu-memory",
    "nvidia.com/container.*.gpu-memory.request",
    "nvidia.com/container.*.gpu-memory.limit",
];

/// Annotations by which an operator or a broker shows that the pod may have a GPU, even if the pod requests none. The webhook
/// does not read their values; the sidecar does.
pub const GPU_ANNOTATIONS: [&str; 2] = [key::GPU, key::GPU_SHARING];

/// Schedulers that can reject the pod if one of its containers has `NVIDIA_VISIBLE_DEVICES` and requests no GPU. KAI and Run:ai do
/// with the option `blockNvidiaVisibleDevices`, for the pods with this `schedulerName` (`whitelistVisibleDevicesEnvVar` in KAI's
/// `pkg/admission/webhook/v1alpha2/deviceaccess`). The pod does not show whether the option is set.
pub const SCHEDULERS_WITHOUT_RUNTIME_ACCESS: [&str; 2] = ["kai-scheduler", "runai-scheduler"];
