mod properties;
mod recorded;

use super::*;

/// UIDs of pods, as the kubelet's folders name them.
const POD: &str = "2c48913c-b29f-11e7-9350-020968147796";
const OTHER_POD: &str = "74c13223-5a00-11e9-b385-42010a80018d";
const CONTAINER: &str = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961";

/// The pod and container of a process, for an agent with this path in every hierarchy.
fn pod(own: &str, process: &str) -> Option<(String, Option<String>)> {
    let cgroups = PodCgroups::of_agent(&format!("0::{own}\n")).unwrap();
    cgroups.pod_of(&format!("0::{process}\n")).unwrap().map(|pod| (pod.uid, pod.container))
}

fn uid(own: &str, process: &str) -> Option<String> {
    pod(own, process).map(|(uid, _)| uid)
}

#[test]
fn a_pod_that_a_container_pretends_to_be_does_not_count() {
    let slice = format!("kubepods-burstable-pod{}.slice", OTHER_POD.replace('-', "_"));
    let names = [
        format!("pod{OTHER_POD}"),
        format!("kubepods/burstable/pod{OTHER_POD}/{CONTAINER}"),
        format!("kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{CONTAINER}.scope"),
        format!("{slice}:cri-containerd:{CONTAINER}"),
    ];
    for name in names {
        let found = Some((POD.to_owned(), Some(CONTAINER.to_owned())));
        for own in ["/", "/kubepods/besteffort/pod00000000000000000000000000000000"] {
            assert_eq!(
                pod(own, &format!("/kubepods/burstable/pod{POD}/{CONTAINER}/{name}")),
                found,
                "{name}"
            );
        }
        assert_eq!(pod("/", &format!("/../../pod{POD}/{CONTAINER}/{name}")), found, "{name}");
        // A user of the node, or a container without Kubernetes.
        let user = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(pod("/", &format!("/../../../..{user}/{name}")), None, "{name}");
        assert_eq!(pod(&format!("/kubepods/pod{POD}"), &format!("{user}/{name}")), None, "{name}");
    }
}

#[test]
fn on_a_node_in_a_pod_the_pod_of_the_nodes_kubelet_counts() {
    let node = format!("/kubepods/burstable/pod{OTHER_POD}/{CONTAINER}");
    let own = format!("{node}/kubelet/kubepods/besteffort/pod00000000000000000000000000000000/{CONTAINER}");
    assert_eq!(uid(&own, &format!("{node}/kubelet/kubepods/burstable/pod{POD}")).as_deref(), Some(POD));
    // A process of the node, and pods of other kubelets.
    assert_eq!(uid(&own, &format!("{node}/system.slice/containerd.service")), None);
    assert_eq!(uid(&own, &format!("{node}/kubelet2/kubepods/burstable/pod{POD}")), None);
    assert_eq!(uid(&own, &format!("{node}/kubeletx/kubepods/burstable/pod{POD}")), None);
    assert_eq!(uid(&own, &format!("/kubepods/burstable/pod{POD}/{CONTAINER}")), None);
    // For the kubelet around it, all of this is one pod.
    let outer = "/kubepods/pod11111111111111111111111111111111";
    assert_eq!(uid(outer, &own).as_deref(), Some(OTHER_POD));
}

#[test]
fn lines_may_differ_but_not_name_several_pods() {
    let path = |uid: &str| format!("/kubepods/burstable/pod{uid}");
    let of = |own: &str, text: &str| PodCgroups::of_agent(own).unwrap().pod_of(text);
    let some = |container: Option<&str>| {
        Ok(Some(CgroupPod { uid: POD.to_owned(), container: container.map(str::to_owned) }))
    };
    let text =
        format!("9:rdma:/\n8:pids:{0}\n4:memory:{0}/{CONTAINER}\n0::/system.slice/x.service", path(POD));
    let own = format!("9:rdma:/\n8:pids:{0}\n4:memory:{0}\n0::/system.slice/x.service", path(OTHER_POD));
    assert_eq!(of("0::/", &text), some(Some(CONTAINER)));
    assert_eq!(of(&own, &text), some(Some(CONTAINER)));
    // A hierarchy without pods does not count, whatever its names are.
    let unused = format!("8:pids:{}\n0::{}", path(POD), path(OTHER_POD));
    assert_eq!(of(&own, &unused), some(None));
    assert_eq!(of("0::/", &unused), Err(CgroupError::SeveralPods([POD.to_owned(), OTHER_POD.to_owned()])));
}

#[test]
fn a_text_of_another_form_is_not_a_process_outside_of_pods() {
    let cgroups = PodCgroups::of_agent("0::/").unwrap();
    assert_eq!(cgroups.pod_of(""), Err(CgroupError::Empty));
    for text in ["\n", "0::/\n\n", "0::", "0:/", "x::/", "-1::/", "0::kubepods", "0::/\n0"] {
        assert!(matches!(cgroups.pod_of(text), Err(CgroupError::Line(_))), "{text:?}");
    }
    assert!(PodCgroups::of_agent("").is_err() && PodCgroups::of_agent("0").is_err());
    let long = cgroups.pod_of(&"ä".repeat(5000)).unwrap_err().to_string();
    assert_eq!(long.chars().filter(|letter| *letter == 'ä').count(), MAX_QUOTED);
    assert!(long.ends_with("has another form than ID:CONTROLLERS:/PATH"));
}

#[test]
fn only_a_uid_of_a_known_form_names_a_pod() {
    let of = |name: &str| uid("/", &format!("/kubepods/burstable/{name}/x"));
    assert_eq!(of(&format!("pod{}", POD.to_uppercase())).as_deref(), Some(POD));
    let hash = "36b6d6be73b1065af369b3985edafa09";
    assert_eq!(of(&format!("pod{hash}")).as_deref(), Some(hash));
    for name in [
        "pod",
        "podruntime",
        POD,
        "pod36b6d6be73b1065af369b3985edafa0",
        "pod2c48913cb29f-11e7-9350-020968147796-",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
    assert_eq!(of(&format!("pod{}", POD.replace('c', "g"))), None);
}
