use proptest::{prelude::*, sample::select};

use super::*;
use crate::gpu::values::Slice;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const SLICE: &str = "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19";

fn card() -> Device {
    Device { uuid: CARD.to_owned(), index: 2, minor: Some(5), ..Device::default() }
}

fn slice() -> Device {
    let slice = Slice { card: CARD.to_owned(), index: 3, gpu_instance: Some(7), compute_instance: Some(0) };
    Device { uuid: SLICE.to_owned(), slice: Some(slice), ..card() }
}

#[test]
fn every_form_matches_only_its_device() {
    for (name, is_slice, is_replica) in [
        (CARD.to_owned(), false, false),
        (CARD.to_uppercase(), false, false),
        (format!("{CARD}::3"), false, true),
        (SLICE.to_owned(), true, false),
        (format!("{SLICE}::0"), true, true),
        (format!("MIG-{CARD}/7/0"), true, false),
        ("nvidia5".to_owned(), false, false),
        ("nvidia5/vgpu3".to_owned(), false, true),
        ("nvidia5/gi7".to_owned(), true, false),
        ("nvidia5/gi7/vgpu1".to_owned(), true, true),
        ("2".to_owned(), false, false),
        ("2:3".to_owned(), true, false),
        (CARD["GPU-".len()..].to_owned(), false, false),
        (SLICE["MIG-".len()..].to_owned(), true, false),
        (CARD[..12].to_owned(), false, false),
        (CARD[..20].to_owned(), false, false),
        (format!("{}::1", &SLICE[..12]), true, true),
        ("nvidia.com/gpu=2".to_owned(), false, false),
        ("nvidia.com/gpu=gpu2".to_owned(), false, false),
        ("nvidia.com/gpu=2:3".to_owned(), true, false),
        ("nvidia.com/gpu=mig2:3".to_owned(), true, false),
        (format!("k8s.device-plugin.nvidia.com/gpu={CARD}"), false, false),
        (format!("k8s.device-plugin.nvidia.com/gpu={CARD}::1"), false, true),
        (format!("runtime.nvidia.com/gpu={SLICE}"), true, false),
    ] {
        let id = Id::parse(&name).unwrap_or_else(|| panic!("{name}"));
        let devices = [card(), slice()];
        assert_eq!([0, 1].map(|index| id.names(&devices, index)), [!is_slice, is_slice], "{name}");
        assert_eq!(id.is_replica, is_replica, "{name}");
    }
}

#[test]
fn a_device_of_the_dra_driver_is_found_by_minor_number_and_profile() {
    let slice = Device { model: Some("NVIDIA A30 MIG 1g.6gb+me".to_owned()), ..slice() };
    let devices = [Device { mig_enabled: true, ..card() }, slice.clone()];
    let names = |name: &str, devices: &[Device]| {
        let id = Id::of_dra_device(name).unwrap_or_else(|| panic!("{name}"));
        (0..devices.len()).filter(|index| id.names(devices, *index)).collect::<Vec<_>>()
    };
    assert_eq!(names("gpu-5", &devices), [0]);
    assert_eq!(names("gpu-2", &devices), [0; 0], "2 is the index");
    assert_eq!(names("gpu-5-mig-1g6gb-me-21-3", &devices), [1]);
    assert_eq!(names("gpu-5-mig-2g12gb-5-0", &devices), [0; 0], "another profile");
    assert_eq!(names("gpu-4-mig-1g6gb-me-21-3", &devices), [0; 0], "another card");
    assert_eq!(names("gpu-5-mig-21-3-1", &devices), [1], "the only slice of the card");
    let two = [slice.clone(), slice.clone()];
    assert_eq!(names("gpu-5-mig-1g6gb-me-21-3", &two), [0; 0], "two slices with the profile");
    assert_eq!(names("gpu-5-mig-21-3-1", &two), [0; 0], "two slices of the card");
    for name in ["gpu-vfio-0", "gpu-0-vgpu-a", "gpu-", "gpu-x", "mlx5_0", "gpu-0-mig-", "gpu-0-mig-1g6gb-x-0"]
    {
        assert_eq!(Id::of_dra_device(name), None, "{name}");
    }
}

#[test]
fn an_index_of_a_device_plugin_is_no_gpu() {
    for name in
        [CARD, SLICE, &format!("{CARD}::3"), &format!("MIG-{CARD}/7/0"), "nvidia5", "nvidia5/gi7/vgpu1"]
    {
        assert_eq!(Id::of_plugin(name), Id::parse(name), "{name}");
        assert!(Id::of_plugin(name).is_some(), "{name}");
    }
    for name in ["2", "2:3", &CARD["GPU-".len()..], &CARD[..12], "fuse0", &format!("{CARD}-3")] {
        assert_eq!(Id::of_plugin(name), None, "{name}");
    }
}

#[test]
fn numbers_of_different_meaning_are_not_confused() {
    for name in [
        format!("MIG-{CARD}/7/1"),
        format!("MIG-{CARD}/0/0"),
        "nvidia2/gi7".to_owned(),
        "nvidia2".to_owned(),
        "5".to_owned(),
        "2:7".to_owned(),
        "5:3".to_owned(),
        "GPU-5fd8e2b2".to_owned(),
        SLICE.replace("MIG", "GPU"),
    ] {
        let id = Id::parse(&name).unwrap_or_else(|| panic!("{name}"));
        assert!(!id.is_among(&[card(), slice()]), "{name}");
    }
}

#[test]
fn texts_of_other_forms_are_rejected() {
    let bad = [
        "",
        "all",
        "void",
        "none",
        "GPU-1",
        "GPU-",
        "GPU-5fd8e2b",
        "GPU-5fd8e2b1x",
        "GPU-5fd8e2b10c3a",
        "5fd8e2b1",
        "0:",
        ":1",
        "0:1:2",
        "+1",
        "nvidia.com/gpu=all",
        "management.nvidia.com/gpu=all",
        "nvidia.com/gpu=",
        "nvidia.com/imex-channel=0",
        "k8s.gpu.nvidia.com/claim=0",
        "amd.com/gpu=0",
        "notnvidia.com/gpu=0",
        "gpu=0",
        "gpu0",
        "nvidia",
        "nvidiaX",
        "nvidia0/gi",
        "-1",
        "/var/run/x",
    ];
    for name in bad.into_iter().map(str::to_owned).chain([
        format!("{CARD}::x"),
        format!("MIG-{CARD}/7"),
        format!("{CARD}/vgpu1"),
    ]) {
        assert_eq!(Id::parse(&name), None, "{name}");
    }
}

#[test]
fn list_returns_all_ids_or_the_first_invalid_name() {
    assert_eq!(list(&format!("{CARD}, {SLICE}\n")).unwrap().len(), 2);
    assert_eq!(list(""), Ok(vec![]));
    assert_eq!(list("0,gpu,x"), Err("gpu"));
}

#[test]
fn a_list_that_is_too_long_is_not_read_in_part() {
    let numbers = |count: usize| (0..count).map(|number| format!("{number},")).collect::<String>();
    assert_eq!(list(&numbers(MAX_IDS)).map(|ids| ids.len()), Ok(MAX_IDS));
    assert_eq!(list(&numbers(MAX_IDS + 1)), Err("64"));
}

/// The driver of Jetson boards gives UUIDs without a prefix.
#[test]
fn a_uuid_fits_with_and_without_its_prefix() {
    let device = |uuid: &str| Device { uuid: uuid.to_owned(), ..Device::default() };
    let bare = &CARD["GPU-".len()..];
    for (name, uuid) in [(CARD, bare), (bare, CARD), (bare, bare), (CARD, CARD)] {
        assert!(Id::parse(name).unwrap().is_among(&[device(uuid)]), "{name} {uuid}");
    }
}

#[test]
fn the_start_of_a_uuid_names_no_device_if_it_fits_several() {
    let other = Device { uuid: CARD.replace("21a4", "21a5"), ..card() };
    let names =
        |name: &str| [0, 1].map(|index| Id::parse(name).unwrap().names(&[card(), other.clone()], index));
    assert_eq!(names(&CARD[..12]), [false, false]);
    assert_eq!((names(CARD), names(&other.uuid)), ([true, false], [false, true]));
}

/// Devices whose UUIDs differ in few digits: one or two cards, each with up to two slices.
fn devices() -> impl Strategy<Value = Vec<Device>> {
    let digits = prop::collection::btree_set("(00|11)111111-0c3a-4f6e-9b7d-21a4c8e6f0[01]{2}", 1..6);
    digits.prop_map(|digits| {
        let device = |(number, digits): (usize, String)| {
            let (index, of_card) = ((number / 3) as u32, (number % 3) as u32);
            let (prefix, slice) = match of_card {
                0 => ("GPU", None),
                _ => ("MIG", Some(Slice { card: CARD.to_owned(), index: of_card, ..Slice::default() })),
            };
            Device { uuid: format!("{prefix}-{digits}"), index, slice, ..Device::default() }
        };
        digits.into_iter().enumerate().map(device).collect()
    })
}

/// Parts of IDs in any order.
fn text() -> impl Strategy<Value = String> {
    let parts = [
        "GPU-",
        "MIG-",
        "::",
        ":",
        "/",
        "=",
        "/gi",
        "/vgpu",
        "nvidia",
        "nvidia.com/gpu=",
        "0",
        "7",
        "é",
        CARD,
    ];
    prop_oneof![
        any::<String>(),
        prop::collection::vec(select(parts.to_vec()), 0..6).prop_map(|parts| parts.concat())
    ]
}

proptest! {
    #[test]
    fn any_text_is_parsed_and_a_uuid_names_at_most_one_device(text in text(), devices in devices()) {
        if let Some(id) = Id::parse(&text) {
            let named = (0..devices.len()).filter(|index| id.names(&devices, *index)).count();
            prop_assert!(named <= 1, "{text} {named}");
        }
        let _ = list(&text);
    }

    /// A complete name names its device. The start of a UUID names its device or none.
    #[test]
    fn a_name_names_only_its_device(devices in devices(), index: prop::sample::Index, length in 12..40_usize, cdi: bool) {
        let index = index.index(devices.len());
        let device = &devices[index];
        let number = match &device.slice {
            None => device.index.to_string(),
            Some(slice) => format!("{}:{}", device.index, slice.index),
        };
        let kind = if cdi { "nvidia.com/gpu=" } else { "" };
        let named = |name: &str| -> Vec<usize> {
            let id = Id::parse(&format!("{kind}{name}")).unwrap();
            (0..devices.len()).filter(|index| id.names(&devices, *index)).collect()
        };
        for name in [&*device.uuid, &device.uuid["GPU-".len()..], &number] {
            prop_assert_eq!(named(name), vec![index], "{}", name);
        }
        let start = named(&device.uuid[..length]);
        prop_assert!(start.is_empty() || start == [index]);
    }
}
