//! Objects of kinds that the program does not know.

use super::program::run;

/// A manifest without its namespace and name, and the paths of the pod templates that the report must name.
const OBJECTS: [(&str, &str); 21] = [
    ("kubeflow.org/v1 Notebook {spec: {template: POD}}", "spec.template"),
    ("argoproj.io/v1alpha1 Rollout {spec: {template: POD}}", "spec.template"),
    ("apps.openshift.io/v1 DeploymentConfig {spec: {template: POD}}", "spec.template"),
    ("serving.knative.dev/v1 Service {spec: {template: POD}}", "spec.template"),
    ("apps.kruise.io/v1alpha1 CloneSet {spec: {template: POD}}", "spec.template"),
    ("agones.dev/v1 GameServer {spec: {template: POD}}", "spec.template"),
    ("agones.dev/v1 Fleet {spec: {template: {spec: {template: POD}}}}", "spec.template.spec.template"),
    (
        "jobset.x-k8s.io/v1alpha2 JobSet {spec: {replicatedJobs: [{template: {spec: {template: POD}}}]}}",
        "spec.replicatedJobs[0].template.spec.template",
    ),
    (
        "leaderworkerset.x-k8s.io/v1 LeaderWorkerSet {spec: {leaderWorkerTemplate: {leaderTemplate: POD, workerTemplate: POD}}}",
        "spec.leaderWorkerTemplate.leaderTemplate, spec.leaderWorkerTemplate.workerTemplate",
    ),
    ("batch.volcano.sh/v1alpha1 Job {spec: {tasks: [{template: POD}]}}", "spec.tasks[0].template"),
    (
        "kubeflow.org/v1 TFJob {spec: {tfReplicaSpecs: {Worker: {template: POD}}}}",
        "spec.tfReplicaSpecs.Worker.template",
    ),
    ("agents.x-k8s.io/v1alpha1 Sandbox {spec: {podTemplate: POD}}", "spec.podTemplate"),
    (
        "cassandra.datastax.com/v1beta1 CassandraDatacenter {spec: {podTemplateSpec: POD}}",
        "spec.podTemplateSpec",
    ),
    (
        "work.open-cluster-management.io/v1 ManifestWork {spec: {workload: {manifests: [{kind: Pod, spec: SPEC}]}}}",
        "spec.workload.manifests[0]",
    ),
    ("v2 pod {spec: SPEC}", "the object"),
    ("kubevirt.io/v1 VirtualMachine {spec: {template: {spec: {domain: {}}}}}", ""),
    ("monitoring.coreos.com/v1 PodMonitor {spec: {selector: {}}}", ""),
    (
        "tekton.dev/v1 TaskRun {spec: {podTemplate: {securityContext: {}}, taskSpec: {steps: [{name: s}]}}}",
        "",
    ),
    ("apps.kruise.io/v1alpha1 SidecarSet {spec: {containers: [{name: s}]}}", ""),
    ("kyverno.io/v1 ClusterPolicy {spec: {rules: [{validate: {pattern: POD}}]}}", ""),
    ("example.com/v1 Empty {spec: {template: {spec: {containers: []}}}}", ""),
];

#[test]
fn the_report_names_the_pod_templates_of_an_unknown_kind() {
    for (object, templates) in OBJECTS {
        let [version, kind, fields] = object.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{object}")
        };
        let fields =
            fields.replace("POD", "{spec: SPEC}").replace("SPEC", "{containers: [{name: c, image: x}]}");
        let fields = fields.strip_prefix('{').unwrap();
        let manifest = format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: x}}, {fields}\n");
        let label = format!("{}/x", kind.to_lowercase());
        for (verb, remedy) in [("inject", "the label vdi-metrics.io/inject: enabled"), ("uninject", "")] {
            let finished = run(&[verb, "-"], manifest.as_bytes());
            assert_eq!((finished.code, &*finished.stdout), (0, &*manifest), "{verb}: {}", finished.stderr);
            let expected = match templates {
                "" => format!("{label}: not a pod\n"),
                _ => format!("{label}: not changed: unknown kind (pod template: {templates})"),
            };
            assert!(finished.stderr.starts_with(&expected), "{}", finished.stderr);
            assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
            assert!(templates.is_empty() || finished.stderr.contains(remedy), "{}", finished.stderr);
        }
        let explained = run(&["explain", "-"], manifest.as_bytes());
        assert_eq!(explained.code, if templates.is_empty() { 1 } else { 3 }, "{}", explained.stderr);
        for template in templates.split(", ").filter(|template| !template.is_empty()) {
            let advice = format!("advice: unknown kind (pod template: {template}): ");
            assert!(explained.stdout.contains(&advice), "{}", explained.stdout);
        }
    }
}
