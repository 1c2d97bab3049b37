//! Decides which GPU request a pod has, from its extended resources, its resource claims, and the annotations of schedulers
//! that share cards.

use super::patterns::matches;
use crate::{
    admission::{
        gpu_names::{GPU_ANNOTATIONS, PART_ANNOTATIONS, RESOURCES, SCHEDULERS_WITHOUT_RUNTIME_ACCESS},
        pod::PodView,
        settings::GpuResources,
    },
    contract::GpuRequest,
};

/// The GPU request of the containers that run beside the sidecar: regular containers and native sidecars. A GPU of a plain
/// init container is not the session's, because that container ends before the desktop starts.
pub(crate) fn gpu_request(pod: &PodView<'_>, configured: &GpuResources) -> GpuRequest {
    let resources =
        || pod.running().filter_map(|container| container.resources.as_ref()).chain(&pod.spec.resources);
    // Requests and limits, and often all containers, name the same resource.
    let mut last = "";
    let names = resources().flat_map(|resources| resources.extended());
    let names = names.filter(|name| std::mem::replace(&mut last, name) != *name);
    let by_name = names.filter_map(|name| of_resource(name, configured));
    let has_claim =
        resources().any(|resources| resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()));
    let mut keys = pod.annotations().into_iter().flat_map(|map| map.iter().map(|(key, _)| key));
    let has_part = keys.any(|key| PART_ANNOTATIONS.iter().any(|pattern| matches(pattern, key)));
    let others = [has_part.then_some(GpuRequest::Part), has_claim.then_some(GpuRequest::Claims)];
    // The order of the variants is the order of precedence.
    by_name.chain(others.into_iter().flatten()).min().unwrap_or(GpuRequest::None)
}

fn of_resource(name: &str, configured: &GpuResources) -> Option<GpuRequest> {
    let built_in = RESOURCES.iter().copied();
    let all = configured.patterns().chain(built_in);
    all.filter(|(pattern, _)| matches(pattern, name)).map(|(_, request)| request).min()
}

/// Whether an annotation says that the pod may have a GPU.
pub(crate) fn has_gpu_annotation(pod: &PodView<'_>) -> bool {
    GPU_ANNOTATIONS.iter().any(|key| pod.annotation(key).is_some())
}

/// The pod's scheduler, if it can reject the pod because the sidecar has `NVIDIA_VISIBLE_DEVICES`.
pub(crate) fn scheduler_without_runtime_access(pod: &PodView<'_>) -> Option<&'static str> {
    let name = pod.spec.scheduler_name.as_deref()?;
    SCHEDULERS_WITHOUT_RUNTIME_ACCESS.into_iter().find(|scheduler| *scheduler == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request_of(pod: &Value) -> GpuRequest {
        let configured =
            GpuResources { device: vec!["example.com/card-*".into()], part: vec!["example.com/slot".into()] };
        gpu_request(&serde_json::from_str(&pod.to_string()).unwrap(), &configured)
    }

    fn with_resources(resources: &Value) -> Value {
        json!({"spec": {"containers": [{"name": "desktop", "resources": resources}]}})
    }

    #[test]
    fn every_name_of_the_table_is_a_request_as_limit_and_as_request() {
        let configured = [("example.com/card-*", GpuRequest::Device), ("example.com/slot", GpuRequest::Part)];
        for (pattern, expected) in RESOURCES.iter().chain(&configured) {
            let name = pattern.replace('*', "1g.5");
            for amounts in ["limits", "requests"] {
                let pod = with_resources(&json!({amounts: {&name: 1}}));
                assert_eq!(request_of(&pod), *expected, "{name}");
            }
        }
    }

    #[test]
    fn other_resources_and_amounts_of_0_are_no_request() {
        for (name, amount) in [
            ("nvidia.com/gpu", json!(0)),
            ("nvidia.com/gpu", json!("0")),
            ("nvidia.com/gpu", json!("0.0k")),
            ("nvidia.com/gpu", json!(null)),
            ("nvidia.com/hostdev", json!(1)),
            ("nvidia.com/rdma_shared_device_a", json!(1)),
            ("nvidia.com/gpux", json!(1)),
            ("xnvidia.com/gpu", json!(1)),
            ("nvidia.com/mig", json!(1)),
            ("nvidia.com/priority", json!(1)),
            ("amd.com/gpu", json!(1)),
            ("gpu.intel.com/i915", json!(1)),
            ("example.com/card", json!(1)),
            ("example.com/slots", json!(1)),
            ("cpu", json!(1)),
        ] {
            let pod = with_resources(&json!({"limits": {name: &amount}}));
            assert_eq!(request_of(&pod), GpuRequest::None, "{name}: {amount}");
        }
    }

    #[test]
    fn of_two_equal_keys_the_later_amount_counts() {
        let request = |first, second| {
            let pod = with_resources(&json!({"limits": {"one": first, "two": second}})).to_string();
            let pod = pod.replace("one", "nvidia.com/gpu").replace("two", "nvidia.com/gpu");
            gpu_request(&serde_json::from_str(&pod).unwrap(), &GpuResources::default())
        };
        assert_eq!((request(1, 0), request(0, 1)), (GpuRequest::None, GpuRequest::Device));
    }

    #[test]
    fn the_containers_beside_the_sidecar_count() {
        let gpu = json!({"limits": {"nvidia.com/gpu": "1"}});
        let init = |policy: Value, name: &str| {
            let init = json!({"name": name, "restartPolicy": policy, "resources": &gpu});
            json!({"spec": {"containers": [{"name": "desktop"}], "initContainers": [init]}})
        };
        for (pod, expected) in [
            (init(json!("Always"), "streamer"), GpuRequest::Device),
            (init(json!(null), "check"), GpuRequest::None),
            (init(json!("Always"), "vdi-metrics"), GpuRequest::None),
            (
                json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": &gpu}]}}),
                GpuRequest::Device,
            ),
            (json!({"spec": {"containers": [], "resources": &gpu}}), GpuRequest::Device),
        ] {
            assert_eq!(request_of(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn a_part_precedes_a_device_and_a_device_precedes_claims() {
        let claims = json!([{"name": "nic"}]);
        let limits = |part: u8, device: u8| json!({"nvidia.com/gpumem": part, "nvidia.com/gpu": device});
        let request = |part, device, annotation: &str| {
            let mut pod = with_resources(&json!({"limits": limits(part, device), "claims": &claims}));
            pod["metadata"] = json!({"annotations": {annotation: "0.5"}});
            request_of(&pod)
        };
        assert_eq!(request(1, 1, "other"), GpuRequest::Part);
        assert_eq!(request(0, 1, "gpu-fraction"), GpuRequest::Part);
        assert_eq!(request(0, 1, "gpu-fraction-num-devices"), GpuRequest::Device);
        assert_eq!(request(0, 0, "nvidia.com/container.desktop.gpu-memory.limit"), GpuRequest::Part);
        assert_eq!(request(0, 0, "nvidia.com/container.desktop.gpus.devices"), GpuRequest::Claims);
    }
}
