//! Schedulers that assign parts of cards without the kubelet: what their annotations on a pod show. Pure.

use crate::{contract::annotation_file, gpu::id::Id};

/// Who knows the devices of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assignment {
    /// The kubelet's allocation is right.
    Kubelet,
    /// A scheduler has assigned these devices. The kubelet's allocation, if there is one, names others.
    Scheduler(Vec<Id>),
    /// A scheduler has assigned a device and does not show which. Only the pod's processes show it.
    Unknown,
}

/// HAMi's annotation: for each container a list of devices, `GPU-<uuid>,NVIDIA,<MiB>,<cores>:`, and `;` after each container. HAMi's
/// device plugin ignores the IDs that the kubelet allocates (`Allocate` in HAMi; HAMi#1741).
const HAMI: &str = "hami.io/vgpu-devices-allocated";

/// Annotations of KAI and Run:ai that request a part of a card. Another pod holds the card for the kubelet (`reservation pod`).
const FRACTIONS: [&str; 2] = ["gpu-fraction", "gpu-memory"];

/// Who knows the devices of the pod with these annotations, in the format of the downward API.
///
/// # Errors
/// Fails if the annotations are not complete, or if HAMi's annotation has no known form.
pub(super) fn assignment(annotations: &str) -> Result<Assignment, String> {
    if let Some(text) = annotation_file::value(annotations, HAMI)? {
        let ids = hami(text).ok_or_else(|| format!("{HAMI} is {text:?}, which is no list of devices"))?;
        return Ok(if ids.is_empty() { Assignment::Kubelet } else { Assignment::Scheduler(ids) });
    }
    for key in FRACTIONS {
        if annotation_file::value(annotations, key)?.is_some() {
            return Ok(Assignment::Unknown);
        }
    }
    Ok(Assignment::Kubelet)
}

/// The devices in HAMi's annotation. HAMi shares every card that it assigns, so each ID counts as a replica.
fn hami(text: &str) -> Option<Vec<Id>> {
    let devices = text.split(';').flat_map(|container| container.split(':')).map(str::trim);
    let id = |device: &str| Some(as_replica(Id::uuid(device.split(',').next()?)?));
    devices.filter(|device| !device.is_empty()).map(id).collect()
}

fn as_replica(mut id: Id) -> Id {
    id.is_replica = true;
    id
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
        let ids = UUIDS.map(|uuid| as_replica(Id::parse(uuid).unwrap()));
        let [first, second] = UUIDS;
        let assigned = |ids: &[Id]| Ok(Assignment::Scheduler(ids.to_vec()));
        assert_eq!(of_hami(&format!("{first},NVIDIA,3000,30:;")), assigned(&ids[..1]));
        assert_eq!(of_hami(&format!(";{first},NVIDIA,3000,30:{second},NVIDIA,1,0:;")), assigned(&ids));
        assert_eq!(of_hami(&format!("{first},NVIDIA,3000,30:;{second},NVIDIA,1,0:")), assigned(&ids));
        assert_eq!(of_hami(";"), Ok(Assignment::Kubelet));
        assert!(of_hami("card0,NVIDIA,3000,30:;").is_err());
    }

    #[test]
    fn a_fraction_hides_the_device_from_the_kubelet() {
        assert_eq!(assignment("gpu-fraction=\"0.5\"\n"), Ok(Assignment::Unknown));
        assert_eq!(assignment("gpu-memory=\"4096\"\n"), Ok(Assignment::Unknown));
        assert_eq!(assignment("gpu-fraction-num-devices=\"1\"\n"), Ok(Assignment::Kubelet));
        assert_eq!(assignment(""), Ok(Assignment::Kubelet));
        assert!(assignment("gpu-frac").is_err(), "the rest of the file is missing");
    }
}
