//! Paths that were recorded on nodes with different drivers, runtimes and distributions.

use super::*;

/// Source of a path, the agent's own path, the path of a process, and the UID and the begin of the container ID. The agent's own
/// path is `/`, or a path of another pod under the same parent.
type Row = (&'static str, &'static str, &'static str, Option<(&'static str, &'static str)>);

const PATHS: &[Row] = &[
    // === cgroupfs driver ===
    (
        "spiffe/spire: pkg/agent/plugin/workloadattestor/k8s/k8s_posix.go",
        "/",
        "/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "9bca8d63")),
    ),
    (
        "guaranteed pod of K3s: CJLove/rt-operator, notes/cgroupv1_notes.md",
        "/",
        "/kubepods/pod2c48913c-b29f-11e7-9350-020968147796/9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "9bca8d63")),
    ),
    (
        "static pod: containerd/containerd#4857",
        "/",
        "/kubepods/burstable/pod89f4f2cb511c3b0b7e5272cff5ec37bf/823b5a6d9aaa8da5c0ecda3e7cbcd6729673437965dc600ffcb0a2651960f945",
        Some(("89f4f2cb511c3b0b7e5272cff5ec37bf", "823b5a6d")),
    ),
    (
        "CRI-O and its monitor: cri-o, createConmonUnitName",
        "/",
        "/kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/crio-conmon-9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "9bca8d63")),
    ),
    (
        "kubelet with cgroupRoot: /kubepods: stackrox/collector, collector/test/UtilityTest.cpp",
        "/kubepods/kubepods/burstable/pod7cd3dba6-e475-11e9-8f99-42010a8a00d2/2bc55a8cae1704a733ba5d785d146bbed9610483380507cbf00c96b32bb637e1",
        "/kubepods/kubepods/besteffort/pod690705f9-df6e-11e9-8dc5-025000000001/c3bfd81b7da0be97190a74a7d459f4dfa18f57c88765cde2613af112020a1c4b",
        Some(("690705f9-df6e-11e9-8dc5-025000000001", "c3bfd81b")),
    ),
    (
        "Guaranteed pod, kubelet 1.37 with cgroupRoot, containerd 2.4: test cluster of this repository",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod1933437b-e9a1-4be5-a853-bac3fad9190f/320050782803dca362055fe543916ea48599b39843bfe2417331c6762e03de05",
        "/vdi-metrics-testbed-mTGhqx/kubepods/pod4c9f4090-b437-41a4-b1ea-f392aac971d7/714d09adf28513f40dd3d2629e753d1f171e73fe28d47e3c2c04994fd90c5d80",
        Some(("4c9f4090-b437-41a4-b1ea-f392aac971d7", "714d09ad")),
    ),
    (
        "Burstable pod, kubelet 1.37 with cgroupRoot, containerd 2.4: test cluster of this repository",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod1933437b-e9a1-4be5-a853-bac3fad9190f/320050782803dca362055fe543916ea48599b39843bfe2417331c6762e03de05",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod0a0eac4a-27c8-475e-bb07-e3e95875e78f/cd2dacc42af7772ac30a578042eb3d6df962db77694c35284ba92d932b90a08f",
        Some(("0a0eac4a-27c8-475e-bb07-e3e95875e78f", "cd2dacc4")),
    ),
    (
        "BestEffort pod, kubelet 1.37 with cgroupRoot, containerd 2.4: test cluster of this repository",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod1933437b-e9a1-4be5-a853-bac3fad9190f/320050782803dca362055fe543916ea48599b39843bfe2417331c6762e03de05",
        "/vdi-metrics-testbed-mTGhqx/kubepods/besteffort/pod3129f47c-b53a-4694-b924-386d29d0baa7/24fe3f151b8c5732da18cc61067c9f86539ed9e0f232ad2e086d3521408909ee",
        Some(("3129f47c-b53a-4694-b924-386d29d0baa7", "24fe3f15")),
    ),
    (
        "pod with its own user namespace, kubelet 1.37 with cgroupRoot, containerd 2.4: test cluster of this repository",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod1933437b-e9a1-4be5-a853-bac3fad9190f/320050782803dca362055fe543916ea48599b39843bfe2417331c6762e03de05",
        "/vdi-metrics-testbed-mTGhqx/kubepods/burstable/pod4bf80ea0-d528-4698-b5df-a8bb1f6b0ddc/9ec227405302bacef4e0baf82bac2ee3553b78bb7468cfdfb772988b7b2c197a",
        Some(("4bf80ea0-d528-4698-b5df-a8bb1f6b0ddc", "9ec22740")),
    ),
    // === systemd driver ===
    (
        "containerd: kubernetes/kubernetes#106514",
        "/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2fc932ce_fdcc_454b_97bd_aadfdeb4c340.slice/cri-containerd-aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9.scope",
        Some(("2fc932ce-fdcc-454b-97bd-aadfdeb4c340", "aaefb9d8")),
    ),
    (
        "guaranteed pod, CRI-O: kubelet, CgroupName.ToSystemd, and CJLove/rt-operator, notes/cgroupv1_notes.md",
        "/",
        "/kubepods.slice/kubepods-pod2fc932ce_fdcc_454b_97bd_aadfdeb4c340.slice/crio-aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9.scope",
        Some(("2fc932ce-fdcc-454b-97bd-aadfdeb4c340", "aaefb9d8")),
    ),
    (
        "CRI-O on OpenShift: containerd/nri#227",
        "/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod35550f44_f691_427e_b57d_ab6127d2cb65.slice/crio-805b902ed98fdc1409c76e9aa94964787a904c80f46fc3ee74283509108f5e73.scope",
        Some(("35550f44-f691-427e-b57d-ab6127d2cb65", "805b902e")),
    ),
    (
        "CRI-O's sandbox, without .scope: containerd/nri#227",
        "/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod35550f44_f691_427e_b57d_ab6127d2cb65.slice/crio-468f848e2ebec7203ed55748d08337851af589ac42eb551c572446a5c68fe631",
        Some(("35550f44-f691-427e-b57d-ab6127d2cb65", "468f848e")),
    ),
    (
        "cri-dockerd: cri-o/cri-o#842",
        "/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod90d81341_92de_11e7_8cf2_507b9d4141fa.slice/docker-2227daf62df6694645fee5df53c1f91271546a9560e8600a525690ae252b7f63.scope",
        Some(("90d81341-92de-11e7-8cf2-507b9d4141fa", "2227daf6")),
    ),
    (
        "a cgroup below the container: kontena/pharos-cluster#440",
        "/",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod9692aa0e_748e_11e8_8dfa_76d458035df6.slice/docker-abddff03dfd7710c79a750ce3e730365cbb2c8247a974170c1062683bc3e9152.scope/kube-proxy",
        Some(("9692aa0e-748e-11e8-8dfa-76d458035df6", "abddff03")),
    ),
    // === systemd driver in the kubelet, cgroupfs in the runtime ===
    (
        "static pod: kubernetes/kubernetes#106514",
        "/system.slice/containerd.service/kubepods-besteffort-pod214f3ba8_4b69_4bdb_a7d5_5ecc73f04ae9.slice:cri-containerd:d4e8e05a546c86b6443f101966c618e47753ed01fa9929cae00d3b692f7a9f80",
        "/system.slice/containerd.service/kubepods-burstable-pod36b6d6be73b1065af369b3985edafa09.slice:cri-containerd:79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e",
        Some(("36b6d6be73b1065af369b3985edafa09", "79fedb3b")),
    ),
    (
        "below the root: DataDog/datadog-agent, pkg/util/cgroups/pid_mapper_test.go",
        "/",
        "/kubepods-burstable-pod5be537b8_3a4e_4607_af71_31598b3a4fd3.slice:cri-containerd:1c8f503430973935b7d8a80c4f58c0946b052a021e6855b358e5ec38601af120",
        Some(("5be537b8-3a4e-4607-af71-31598b3a4fd3", "1c8f5034")),
    ),
    // === node in a container ===
    (
        "kind with cgroup v1: DataDog/datadog-agent, pkg/util/cgroups/pid_mapper_test.go",
        "/docker/88ea268ece65a02d68b169fd74bcbcb427eb7f28900db0e3b906fb2eeb7341df/kubelet/kubepods/besteffort/pod0ec90011-b5ae-4efc-8a54-d9fc34119605/f5cfbbf0ab83c29c42f4c1e84f12ca91ef77a2c39ee9b753b48cfbb743958947",
        "/docker/88ea268ece65a02d68b169fd74bcbcb427eb7f28900db0e3b906fb2eeb7341df/kubelet/kubepods/burstable/poda5ea884f-9e60-4912-bd62-fef9a31db47a/a51a9f7d073f848e7fc59e56e8f11524f330a2175a4ed26327da2dfe0d28015e",
        Some(("a5ea884f-9e60-4912-bd62-fef9a31db47a", "a51a9f7d")),
    ),
    (
        "kind with systemd: grafana/beyla, fixturesWithContainer",
        "/docker/8afe480d66074930353da456a1344caca810fe31c1e31f6e08c95a66887235d6/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podb1e89a2fcc688644de3eb95aee8025ce.slice/cri-containerd-ee3fc60554cd9eefdd745a10dda84e041a7883c0381d067e76185d342de64759.scope",
        "/docker/8afe480d66074930353da456a1344caca810fe31c1e31f6e08c95a66887235d6/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod44c76ce5_f953_4bd3_bc89_12621681af49.slice/cri-containerd-40c03570b6f4c30bc8d69923d37ee698f5cfcced92c7b7df1c47f6f7887378a9.scope",
        Some(("44c76ce5-f953-4bd3-bc89-12621681af49", "40c03570")),
    ),
    (
        "kind on Podman: stackrox/collector, collector/test/UtilityTest.cpp",
        "/",
        "/machine.slice/libpod-cbdfa0f1f08763b1963c30d98e11e1f052cb67f1e9b7c0ab8a6ca6c70cbcad69.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod6eab3b7b_f0a6_4bb8_bff2_d5bc9017c04b.slice/cri-containerd-5ebf11e02dbde102cda4b76bc0e3849a65f9edac7a12bdabfd34db01b9556101.scope",
        Some(("6eab3b7b-f0a6-4bb8-bff2-d5bc9017c04b", "5ebf11e0")),
    ),
    (
        "minikube: cilium/tetragon, pkg/sensors/exec/procevents/proc_test.go",
        "/",
        "/system.slice/docker-1b3319ed9c1d4cca681f9c102da9b015555785b6240c4e4619f11b535cabdc07.scope/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podeb653d22_2525_47ca_9fc4_3762497ae1d2.slice/docker-84e9ffffe97fea4c5a0f01d401611cbafbf7e559fc6190ed74abfc2b25e889d4.scope",
        Some(("eb653d22-2525-47ca-9fc4-3762497ae1d2", "84e9ffff")),
    ),
    (
        "kind with cgroupfs: cilium/tetragon, pkg/sensors/exec/procevents/proc_test.go",
        "/",
        "/system.slice/docker-c1146e7ccca9ab4436abd69923c07d097b37b762ed21cc3f24584c2f84e77c57.scope/kubelet/kubepods/burstable/pod09a70ae9ccc491e651e5c773579b3490/b0e6aa50e847c3d3b1880e307ec7996040275c8063832cffc9274defce2cb655",
        Some(("09a70ae9ccc491e651e5c773579b3490", "b0e6aa50")),
    ),
    // === agent with its own cgroup namespace ===
    (
        "other class: DataDog/datadog-agent, cgroupV2ProcCgroupNoHost; inspektor-gadget/inspektor-gadget#3085",
        "/",
        "/../../../kubepods-burstable.slice/kubepods-burstable-pod562c01d6_6aba_49fe_ae52_61c40c04eca4.slice/docker-a51a9f7d073f848e7fc59e56e8f11524f330a2175a4ed26327da2dfe0d28015f.scope",
        Some(("562c01d6-6aba-49fe-ae52-61c40c04eca4", "a51a9f7d")),
    ),
    (
        "same class, K3s 1.28: gravitational/teleport, Test_mountpointSourceToContainerAndPodID",
        "/",
        "/../../kubepods-besteffort-podfecd2321_17b5_49b9_9f75_8c5be777fbfb.slice/cri-containerd-397529d07efebd566f15dbc7e8af9f3ef586033f5e753adfa96b2bf730102c64.scope",
        Some(("fecd2321-17b5-49b9-9f75-8c5be777fbfb", "397529d0")),
    ),
    (
        "same class, cgroupfs, OrbStack 1.6: gravitational/teleport, Test_mountpointSourceToContainerAndPodID",
        "/",
        "/../../pod36827f77-691f-45aa-a470-0989cf3749c4/64dd9bf5199ff782835247cb072e4842dc3d0135ef02f6498cb6bb6f37a320d2",
        Some(("36827f77-691f-45aa-a470-0989cf3749c4", "64dd9bf5")),
    ),
    (
        "static pod, Docker 27: grafana/beyla, fixturesWithContainer",
        "/",
        "/../../pode039200acb850c82bb901653cc38ff6e/40c03570b6f4c30bc8d69923d37ee698f5cfcced92c7b7df1c47f6f7887378a9",
        Some(("e039200acb850c82bb901653cc38ff6e", "40c03570")),
    ),
    (
        "agent outside of the kubelet's cgroups, in a namespace of its own",
        "/",
        "/../../kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "9bca8d63")),
    ),
    // === removed cgroup: kernel, proc_cgroup_show ===
    (
        "zombie of a removed container",
        "/",
        "/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961 (deleted)",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "9bca8d63")),
    ),
    (
        "zombie of a removed pod",
        "/",
        "/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796 (deleted)",
        Some(("2c48913c-b29f-11e7-9350-020968147796", "")),
    ),
    // === no pod ===
    ("own container of the agent", "/", "/", None),
    (
        "other container of the agent's pod: spiffe/spire",
        "/",
        "/../crio-45490e76e0878aaa4d9808f7d2eefba37f093c3efbba9838b6d8ab804d9bd814.scope",
        None,
    ),
    ("cgroup of the agent's pod", "/", "/..", None),
    ("service", "/", "/system.slice/containerd.service", None),
    ("service, agent in a namespace", "/", "/../../../../system.slice/nvidia-persistenced.service", None),
    (
        "slice for the kubelet in the Kubernetes documentation",
        "/",
        "/../../podruntime.slice/kubelet.service",
        None,
    ),
    (
        "container of Docker",
        "/",
        "/system.slice/docker-b362fa680d463b43611d956fcaab31640a49de2d11bf2604c2af55570865e46b.scope",
        None,
    ),
    (
        "container of Podman",
        "/",
        "/machine.slice/libpod-cbdfa0f1f08763b1963c30d98e11e1f052cb67f1e9b7c0ab8a6ca6c70cbcad69.scope/container",
        None,
    ),
    ("user of the node", "/", "/user.slice/user-1000.slice/session-2.scope", None),
    ("no pod in a class", "/", "/kubepods.slice/kubepods-burstable.slice", None),
];

#[test]
fn recorded_paths_give_pod_and_container() {
    for (source, own, process, expected) in PATHS {
        let found = pod(own, process);
        assert_eq!(found.as_ref().map(|(uid, _)| uid.as_str()), expected.map(|(uid, _)| uid), "{source}");
        if let (Some((_, container)), Some((_, begin))) = (found, expected) {
            assert_eq!(
                container.as_ref().is_some_and(|id| id.starts_with(begin)),
                !begin.is_empty(),
                "{source}"
            );
        }
    }
}

/// An agent outside of pods and an agent in a pod of the same node agree.
#[test]
fn recorded_paths_of_pods_are_found_from_the_root_too() {
    for (source, own, process, expected) in PATHS.iter().filter(|(_, own, ..)| *own != "/") {
        assert_eq!(uid("/", process).as_deref(), expected.map(|(uid, _)| uid), "{source}");
        assert!(uid(own, own).is_some(), "{source}");
    }
}

/// Recorded with cgroup v1: hierarchies have different parents (DataDog/datadog-agent,
/// `pkg/util/cgroups/pid_mapper_test.go`).
#[test]
fn every_hierarchy_has_its_own_parent_of_pods() {
    let text = |uid: &str, id: &str| {
        let pod = format!("kubepods-burstable-pod{uid}.slice:cri-containerd:{id}");
        format!(
            "11:freezer:/{pod}\n10:pids:/kuberuntime.slice/containerd.service/{pod}\n9:cpuset:/{pod}\n\
             2:cpu,cpuacct:/kuberuntime.slice/containerd.service/{pod}\n0::/\n"
        )
    };
    let own = text(
        "214f3ba8_4b69_4bdb_a7d5_5ecc73f04ae9",
        "d4e8e05a546c86b6443f101966c618e47753ed01fa9929cae00d3b692f7a9f80",
    );
    let id = "1c8f503430973935b7d8a80c4f58c0946b052a021e6855b358e5ec38601af120";
    let process = text("5be537b8_3a4e_4607_af71_31598b3a4fd3", id);
    for agent in [own.as_str(), "0::/\n"] {
        let found = PodCgroups::of_agent(agent).unwrap().pod_of(&process).unwrap().unwrap();
        assert_eq!(found.uid, "5be537b8-3a4e-4607-af71-31598b3a4fd3");
        assert_eq!(found.container.as_deref(), Some(id));
    }
}
