use super::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const OTHER: &str = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";

fn name(namespace: &str, name: &str) -> PodName {
    PodName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn desktop() -> PodName {
    name("desktops", "alice")
}

fn of_plugin(pod: PodName, ids: &[&str]) -> PodAllocation {
    PodAllocation { name: pod, devices: ids.iter().map(|id| (*id).to_owned()).collect(), claimed: [].into() }
}

fn device(driver: &str, device: &str, share_id: Option<&str>, cdi_ids: &[&str]) -> ClaimDevice {
    ClaimDevice {
        driver: driver.to_owned(),
        device: device.to_owned(),
        share_id: share_id.map(str::to_owned),
        cdi_ids: cdi_ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn of_claim(devices: Vec<ClaimDevice>) -> PodAllocation {
    PodAllocation { claimed: devices.into_iter().collect(), ..of_plugin(desktop(), &["0"]) }
}

/// The GPUs of the desktop in the list.
fn known(list: &[PodAllocation]) -> Option<Vec<Id>> {
    ListedGpus::of(list).of_pod(&desktop()).map(<[Id]>::to_vec)
}

fn ids(names: &[&str]) -> Vec<Id> {
    names.iter().map(|name| Id::parse(name).unwrap()).collect()
}

#[test]
fn all_devices_of_the_entry_are_the_pods() {
    let replica = format!("{OTHER}::1");
    assert_eq!(known(&[of_plugin(desktop(), &[CARD, &replica])]), Some(ids(&[&replica, CARD])));
    assert_eq!(known(&[]), None, "the kubelet does not list the pod");
    assert_eq!(known(&[of_plugin(desktop(), &[])]), Some(vec![]));
}

#[test]
fn an_ended_pod_with_the_same_name_hides_no_device() {
    for list in [[&[CARD][..], &[]], [&[], &[CARD]]] {
        assert_eq!(known(&list.map(|devices| of_plugin(desktop(), devices))), Some(ids(&[CARD])));
    }
}

#[test]
fn a_gpu_whose_name_does_not_show_which_is_unknown() {
    assert_eq!(known(&[of_plugin(desktop(), &[&format!("{CARD}-3")])]), None, "HAMi");
    assert_eq!(known(&[of_plugin(desktop(), &[OTHER, "GPU-x"])]), None);
    assert_eq!(known(&[of_plugin(desktop(), &["mlx5_0", "0", "fuse-1"])]), Some(vec![]), "no GPU");
}

#[test]
fn a_claim_has_the_devices_of_nvidias_driver() {
    let cdi = "k8s.gpu.nvidia.com/claim=3f1e-gpu-0";
    let minor = |number: u32| Id::parse(&format!("nvidia{number}")).unwrap();
    let gpu = |name, share_id| device("gpu.nvidia.com", name, share_id, &[cdi]);
    assert_eq!(
        known(&[of_claim(vec![gpu("gpu-0", None), gpu("gpu-1", None)])]),
        Some(vec![minor(0), minor(1)])
    );
    assert_eq!(known(&[of_claim(vec![gpu("gpu-0", Some("b7e5"))])]), Some(vec![minor(0).into_replica()]));
    assert_eq!(known(&[of_claim(vec![gpu("gpu-0", None), gpu("gpu-vfio-1", None)])]), None);
}

#[test]
fn a_device_of_another_driver_is_a_gpu_only_by_its_uuid() {
    let cdi = format!("nvidia.com/gpu={CARD}");
    let of = |cdi: &[&str]| known(&[of_claim(vec![device("dra.net", "gpu-0", None, cdi)])]);
    assert_eq!(of(&["dra.net/nic=gpu-0"]), Some(vec![]), "a network card");
    assert_eq!(of(&[&cdi]), Some(ids(&[CARD])));
    let shared = device("example.com", "part-3", Some("b7e5"), &[&cdi]);
    assert_eq!(known(&[of_claim(vec![shared])]), Some(ids(&[&format!("{CARD}::0")])));
}

#[test]
fn the_known_devices_of_a_pod_are_listed_even_if_another_is_unknown() {
    let job = name("training", "job");
    let listed = ListedGpus::of(&[of_plugin(job.clone(), &[OTHER, "GPU-x"])]);
    assert_eq!(listed.of_pod(&job), None);
    assert_eq!(listed.all().collect::<Vec<_>>(), [(&job, &*ids(&[OTHER]))]);
}

#[test]
fn a_part_is_of_the_reserved_cards_if_their_number_fits() {
    let reservation = |pod, ids: &[&str]| of_plugin(name("kai-resource-reservation", pod), ids);
    let reserved = |list: &[PodAllocation], number| ListedGpus::of(list).reserved(number);
    let shared = |names: &[&str]| Some(ids(names).into_iter().map(Id::into_replica).collect());
    let one = [of_plugin(desktop(), &[]), reservation("gpu-reservation-1", &[CARD])];
    assert_eq!(reserved(&one, 1), shared(&[CARD]));
    assert_eq!(reserved(&one, 2), None);
    let of_run_ai = of_plugin(name("runai-reservation", "gpu-reservation-2"), &[OTHER]);
    let two = [reservation("gpu-reservation-1", &[CARD]), of_run_ai];
    assert_eq!(reserved(&two, 1), None, "the part can be of both cards");
    assert_eq!(reserved(&two, 2).map(|cards| cards.len()), Some(2));
    let twice = [reservation("a", &[&format!("{CARD}::1")]), reservation("b", &[&format!("{CARD}::2")])];
    assert_eq!(reserved(&twice, 1), shared(&[CARD]), "two groups on one card");
    let empty = [reservation("a", &[CARD]), reservation("b", &[])];
    assert_eq!(reserved(&empty, 1), None, "the card of a reservation pod is missing");
    assert_eq!(reserved(&[of_plugin(name("training", "gpu-reservation-1"), &[CARD])], 1), None);
    assert_eq!(reserved(&[], 1), None);
}
