//! Schedulers that assign parts of cards without the kubelet: what their annotations on a pod show. Pure.

use crate::{
    contract::{annotation_file, key},
    gpu::id::{self, Id},
};

/// The source of the devices that are assigned to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assignment {
    /// The kubelet's list has the devices.
    Kubelet,
    /// A scheduler has assigned these devices. The kubelet's list can have other devices, or none.
    Scheduler(Vec<Id>),
    /// A broker has handed these devices over; none if its annotation has no known form. They are the pod's if the kubelet has
    /// allocated no device to it.
    HandedOver(Option<Vec<Id>>),
    /// The pod has parts of this number of cards, which reservation pods hold for the kubelet.
    Reserved(usize),
    /// A scheduler has assigned a device, and no annotation shows which one. Only the pod's processes show it.
    Unknown,
}

/// HAMi's annotation: for each container, init containers first, a list of devices `<uuid>,NVIDIA,<MiB>,<cores>:`, and `;` after each
/// container (`EncodePodSingleDevice` in `pkg/device/devices.go`). HAMi's device plugin ignores the IDs that the kubelet allocates
/// (`Allocate`; HAMi#1741).
///
/// * The scheduler writes it together with `hami.io/vgpu-devices-to-allocate`, before the pod starts (`PatchAnnotations`). The plugin
///   then empties only the latter, so this one alone is enough.
/// * The entry of a slice has the UUID of its card; `<uuid>[<template>-<slot>]` in old releases. Only the slice could be the pod's, and
///   the entry does not show which slice it is.
const HAMI: &str = "hami.io/vgpu-devices-allocated";

/// Number of fields of a device in HAMi's annotation.
const HAMI_FIELDS: usize = 4;

/// Annotations of KAI and Run:ai that request a part of a card (`RequestsGPUFraction` in KAI's `pkg/common/resources`). No annotation
/// of the pod names the card: the reservation pod has it in its own annotation, and both pods have its group only as a label.
const FRACTIONS: [&str; 2] = ["gpu-fraction", "gpu-memory"];

/// Annotation of KAI with the number of cards of which the pod has a part; 1 without it (`GetNumGPUFractionDevices`).
const FRACTION_DEVICES: &str = "gpu-fraction-num-devices";

/// Start and middle of the annotations of Run:ai by which a container requests a part of a card:
/// `nvidia.com/container.<container>.gpu-memory.request` and `.limit`. They do not show the number of cards.
const CONTAINER_FRACTION: (&str, &str) = ("nvidia.com/container.", ".gpu-memory.");

/// The source of the devices of the pod with these annotations, in the format of the downward API.
///
/// # Errors
/// Fails if the annotations are not complete, or if one of them has no known form. Then the devices are unknown.
pub(super) fn assignment(annotations: &str) -> Result<Assignment, String> {
    if let Some(text) = annotation_file::value(annotations, HAMI)? {
        let ids = hami(text).ok_or_else(|| {
            format!("{HAMI} is {text:?}; HAMi writes GPU-<uuid>,NVIDIA,<MiB>,<cores>: for each device")
        })?;
        return Ok(if ids.is_empty() { Assignment::Kubelet } else { Assignment::Scheduler(ids) });
    }
    for key in FRACTIONS {
        if annotation_file::value(annotations, key)?.is_some() {
            return cards(annotations).map(Assignment::Reserved);
        }
    }
    let (start, middle) = CONTAINER_FRACTION;
    let is_fraction = |key: &str| key.strip_prefix(start).is_some_and(|rest| rest.contains(middle));
    if annotation_file::keys(annotations).any(is_fraction) {
        return Ok(Assignment::Unknown);
    }
    match annotation_file::value(annotations, key::GPU)?.map(str::trim) {
        None | Some("" | "pending") => Ok(Assignment::Kubelet),
        Some(text) => Ok(Assignment::HandedOver(id::list(text).ok())),
    }
}

/// The devices in HAMi's annotation. HAMi shares every card that it assigns, so each ID counts as a replica.
fn hami(text: &str) -> Option<Vec<Id>> {
    let devices = text.split(';').flat_map(|container| container.split(':')).map(str::trim);
    devices.filter(|device| !device.is_empty()).map(hami_device).collect()
}

fn hami_device(device: &str) -> Option<Id> {
    let fields: Vec<&str> = device.split(',').collect();
    let uuid = fields.first()?.split('[').next()?;
    Id::uuid(uuid).filter(|_| fields.len() >= HAMI_FIELDS).map(Id::into_replica)
}

/// The number of cards of which the pod has a part.
fn cards(annotations: &str) -> Result<usize, String> {
    let Some(text) = annotation_file::value(annotations, FRACTION_DEVICES)? else { return Ok(1) };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{FRACTION_DEVICES} is {text:?}; use a number of cards from 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUIDS: [&str; 2] =
        ["GPU-00000000-0000-0000-0000-000000000000", "GPU-11111111-1111-1111-1111-111111111111"];

    fn of_hami(value: &str) -> Result<Assignment, String> {
        assignment(&format!("a=\"b\"\n{HAMI}=\"{value}\"\n"))
    }

    #[test]
    fn hami_names_the_devices_of_all_containers() {
        let ids = UUIDS.map(|uuid| Id::parse(uuid).unwrap().into_replica());
        let [first, second] = UUIDS;
        let assigned = |ids: &[Id]| Ok(Assignment::Scheduler(ids.to_vec()));
        assert_eq!(of_hami(&format!("{first},NVIDIA,3000,30:;")), assigned(&ids[..1]));
        assert_eq!(of_hami(&format!(";{first},NVIDIA,3000,30:{second},NVIDIA,1,0:;")), assigned(&ids));
        assert_eq!(of_hami(&format!("{first},NVIDIA,3000,30:;{second},NVIDIA,1,0:")), assigned(&ids));
        assert_eq!(of_hami(";"), Ok(Assignment::Kubelet));
        assert_eq!(of_hami(&format!("{first}[1-0],NVIDIA,4864,30:;")), assigned(&ids[..1]), "a slice");
        for malformed in
            ["card0,NVIDIA,3000,30:;", first, &format!("{first},NVIDIA:;"), "{}", "GPU-0,NVIDIA,1,0:;"]
        {
            assert!(of_hami(malformed).is_err(), "{malformed}");
        }
        assert_eq!(
            assignment("hami.io/vgpu-devices-to-allocate=\"GPU-0,NVIDIA,1,0:;\"\n"),
            Ok(Assignment::Kubelet)
        );
    }

    #[test]
    fn a_fraction_hides_the_device_from_the_kubelet() {
        let of = |lines: &[&str]| assignment(&(lines.join("\"\n") + "\"\n"));
        assert_eq!(of(&["gpu-fraction=\"0.5"]), Ok(Assignment::Reserved(1)));
        assert_eq!(of(&["gpu-memory=\"4096"]), Ok(Assignment::Reserved(1)));
        assert_eq!(of(&["gpu-fraction-num-devices=\"2", "gpu-memory=\"4096"]), Ok(Assignment::Reserved(2)));
        assert_eq!(of(&["nvidia.com/container.desktop.gpu-memory.limit=\"2Gi"]), Ok(Assignment::Unknown));
        for other in [
            "gpu-fraction-num-devices=\"1",
            "nvidia.com/container.desktop.gpus.devices=\"1",
            "a=\"gpu-memory",
        ] {
            assert_eq!(of(&[other]), Ok(Assignment::Kubelet), "{other}");
        }
        for number in ["", "0", "-1", "two"] {
            let number = format!("gpu-fraction-num-devices=\"{number}");
            assert!(of(&[&number, "gpu-fraction=\"0.5"]).is_err(), "{number}");
        }
        assert!(assignment("gpu-frac").is_err(), "the rest of the file is missing");
    }

    #[test]
    fn a_broker_can_hand_a_device_over() {
        let of = |value: &str| assignment(&format!("vdi-metrics.io/gpu=\"{value}\"\n"));
        let [first, second] = UUIDS;
        let both = format!("{first}, {second}::1");
        assert_eq!(of(&both), Ok(Assignment::HandedOver(Some(id::list(&both).unwrap()))));
        assert_eq!(of("card0"), Ok(Assignment::HandedOver(None)));
        assert_eq!((of("pending"), of("")), (Ok(Assignment::Kubelet), Ok(Assignment::Kubelet)));
        assert_eq!(assignment(""), Ok(Assignment::Kubelet));
    }
}
