//! The values of random pods: a name or key, and JSON. Labels and annotations have plain text instead of JSON.

pub(super) type Row = (&'static str, &'static str);

pub(super) const LABELS: &[Row] = &[
    ("app", "desktop"),
    ("app.kubernetes.io/name", "desktop"),
    ("til~de/sl.ash", "x"),
    ("~1", "~0"),
    ("vdi-metrics.io/inject", "enabled"),
    ("vdi-metrics.io/session", "alice-7"),
    ("vdi-metrics.io/template", "gnome"),
    ("vdi-metrics.io/user", "alice"),
    ("vdi-metrics.io/pool", ""),
    ("example.com/session", "bob-1"),
    ("prometheus.io/scrape", "true"),
];

/// Labels that decide whether a pod is injected.
pub(super) const DECIDING_LABELS: &[Row] = &[
    ("vdi-metrics.io/inject", "disabled"),
    ("vdi-metrics.io/inject", "Disabled"),
    ("vdi-metrics.io/inject", ""),
    ("vdi-metrics.io/injected", "true"),
    ("vdi-metrics.io/injected", "no"),
    ("vdi-metrics.io/future", "x"),
    ("kubevirt.io", "virt-launcher"),
];

pub(super) const ANNOTATIONS: &[Row] = &[
    ("note", "Alice's \"desktop\"\n\u{1f5a5}"),
    ("a~b/c~1d", "x"),
    ("/", "~"),
    ("vdi-metrics.io/session", "S 7@example.com"),
    ("vdi-metrics.io/template", "two\nlines"),
    ("vdi-metrics.io/user", "alice@example.com"),
    ("vdi-metrics.io/pool", LONGEST_NAME),
    ("vdi-metrics.io/pool", LONG_TEXT),
    ("vdi-metrics.io/port", "9500"),
    ("vdi-metrics.io/port", "80"),
    ("vdi-metrics.io/port", "99999999999999999999"),
    ("vdi-metrics.io/interval", "30"),
    ("vdi-metrics.io/interval", "-1"),
    ("vdi-metrics.io/cpu", "50m"),
    ("vdi-metrics.io/cpu", "0.05"),
    ("vdi-metrics.io/cpu", "0"),
    ("vdi-metrics.io/cpu", "0.0001"),
    ("vdi-metrics.io/cpu", "1e30"),
    ("vdi-metrics.io/cpu", " 1"),
    ("vdi-metrics.io/memory", "32Mi"),
    ("vdi-metrics.io/memory", "0"),
    ("vdi-metrics.io/memory", "1e9Gi"),
    ("vdi-metrics.io/memory", "lots"),
    ("vdi-metrics.io/memory", "9223372036854775807"),
    ("vdi-metrics.io/memory", "9223372036854775808"),
    ("vdi-metrics.io/image", "registry.example.com/sidecar:1"),
    ("vdi-metrics.io/image", "not an image"),
    ("vdi-metrics.io/image", ""),
    ("vdi-metrics.io/mode", "container"),
    ("vdi-metrics.io/mode", "native"),
    ("vdi-metrics.io/mode", "sideways"),
    ("vdi-metrics.io/gpu-access", "claims"),
    ("vdi-metrics.io/gpu-access", "runtime"),
    ("vdi-metrics.io/gpu-access", "none"),
    ("vdi-metrics.io/gpu-access", "all of them"),
    ("vdi-metrics.io/gpu-access", "whatever the node has to offer"),
    ("vdi-metrics.io/presence", "auto"),
    ("vdi-metrics.io/presence", "off"),
    ("vdi-metrics.io/presence", "sometimes"),
    ("vdi-metrics.io/gpu", ""),
    ("vdi-metrics.io/gpu-sharing", "mps"),
    ("gpu-fraction", "0.5"),
    ("nvidia.com/container.desktop.gpu-memory.limit", "2Gi"),
    ("vdi-metrics.io/interval", "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{1f}\u{7f}\u{85}\u{e000}\u{2028}"),
    ("vdi-metrics.io/prot", "9500"),
    ("prometheus.io/scrape", "true"),
    ("prometheus.io/scrape", "false"),
    ("prometheus.io/port", "8080"),
    ("prometheus.io/path", "/mine"),
    ("prometheus.io.scrape", "true"),
    ("Prometheus.io/Scrape", "TRUE"),
    ("openshift.io/scc", "restricted-v2"),
];

const LONGEST_NAME: &str = text(&[b'n'; 253]);
const LONG_TEXT: &str = text(&[b'l'; 5000]);

const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Annotations that decide whether a pod is injected.
pub(super) const DECIDING_ANNOTATIONS: &[Row] = &[
    ("vdi-metrics.io/inject", "disabled"),
    ("vdi-metrics.io/inject", "enabled"),
    ("vdi-metrics.io/status", "injected"),
    ("vdi-metrics.io/status", "skipped: opted_out"),
    ("vdi-metrics.io/config", "0123456789abcdef"),
    ("kubernetes.io/config.mirror", "f00"),
];

/// Fields of the spec that prevent injection.
pub(super) const DECIDING_FIELDS: &[Row] = &[
    ("hostNetwork", "true"),
    ("os", r#"{"name": "windows"}"#),
    ("nodeSelector", r#"{"kubernetes.io/os": "windows"}"#),
    ("nodeSelector", r#"{"beta.kubernetes.io/os": "windows"}"#),
    ("nodeSelector", r#"{"kubernetes.io/arch": "s390x"}"#),
    ("nodeSelector", r#"{"type": "virtual-kubelet"}"#),
    (
        "affinity",
        r#"{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"]}]},
            {"matchExpressions": [{"key": "node.kubernetes.io/windows-build", "operator": "Exists"}]}]}}}"#,
    ),
    ("securityContext", r#"{"windowsOptions": {"runAsUserName": "x"}}"#),
    ("containers", r#"[{"name": "vdi-metrics", "image": "theirs"}]"#),
    ("initContainers", r#"[{"name": "vdi-metrics", "image": "theirs", "restartPolicy": "Always"}]"#),
    ("volumes", r#"[{"name": "vdi-metrics", "emptyDir": {}}]"#),
];

/// Fields of the spec that do not prevent injection.
pub(super) const OTHER_FIELDS: &[Row] = &[
    ("hostNetwork", "false"),
    ("os", r#"{"name": "linux"}"#),
    ("nodeSelector", r#"{"kubernetes.io/os": "linux", "gpu": "yes"}"#),
    ("nodeSelector", "null"),
    ("restartPolicy", r#""Never""#),
    ("restartPolicy", r#""OnFailure""#),
    ("restartPolicy", r#""Always""#),
    ("runtimeClassName", r#""nvidia""#),
    ("securityContext", r#"{"runAsUser": 0, "runAsNonRoot": false}"#),
    (
        "securityContext",
        r#"{"runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}"#,
    ),
    (
        "affinity",
        r#"{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {}, {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}], "matchExpressions": null}]}}}"#,
    ),
    (
        "affinity",
        r#"{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": null}, "podAffinity": {}}"#,
    ),
    ("schedulerName", r#""kai-scheduler""#),
    ("schedulerName", "null"),
    ("schedulingGroup", r#"{"podGroupName": "render"}"#),
    ("hostUsers", "false"),
    ("hostPID", "true"),
    ("shareProcessNamespace", "true"),
    ("automountServiceAccountToken", "false"),
    ("serviceAccountName", r#""desktops""#),
    ("activeDeadlineSeconds", "9223372036854775807"),
    ("ephemeralContainers", r#"[{"name": "debug", "image": "x", "targetContainerName": "desktop"}]"#),
    ("schedulingGates", r#"[{"name": "example.com/wait"}]"#),
    ("tolerations", r#"[{"key": "nvidia.com/gpu", "operator": "Exists"}]"#),
    ("overhead", r#"{"cpu": "250m", "memory": "120Mi"}"#),
    ("dnsPolicy", r#""None""#),
];

pub(super) const DESKTOPS: &[Row] = &[
    ("", r#"{"name": "desktop", "image": "registry.example.com/desktop:1"}"#),
    ("", r#"{"name": "desktop", "image": "desktop"}"#),
    ("", r#"{"name": "viewer", "image": "viewer:latest", "restartPolicy": "Never"}"#),
    ("", r#"{"name": "istio-proxy", "image": "proxy@sha256:00"}"#),
    ("", r#"{"name": "esc\u0061ped", "image": "x"}"#),
];

pub(super) const INITS: &[Row] = &[
    ("", r#"{"name": "prepare", "image": "x:1"}"#),
    ("", r#"{"name": "proxy", "image": "x:1", "restartPolicy": "Always"}"#),
    ("", r#"{"name": "wait", "image": "x", "restartPolicy": null}"#),
];

pub(super) const CONTAINER_FIELDS: &[Row] = &[
    ("securityContext", r#"{"privileged": true, "runAsUser": 0}"#),
    ("securityContext", "{}"),
    ("livenessProbe", r#"{"httpGet": {"port": 9478, "path": "/"}, "periodSeconds": 3}"#),
    ("lifecycle", r#"{"preStop": {"exec": {"command": ["sleep", "5"]}}}"#),
    ("resizePolicy", r#"[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]"#),
    ("terminationMessagePath", r#""/tmp/end""#),
    ("imagePullPolicy", r#""Never""#),
    ("command", r#"["sh", "-c", "exec desktop"]"#),
    ("tty", "true"),
];

pub(super) const PORTS: &[Row] = &[
    ("", r#"{"containerPort": 8080, "name": "http"}"#),
    ("", r#"{"containerPort": 9478}"#),
    ("", r#"{"containerPort": 9478, "protocol": "UDP"}"#),
    ("", r#"{"containerPort": 9479, "name": "vdi-metrics", "protocol": "TCP"}"#),
    ("", r#"{"containerPort": 9500, "hostPort": 9500}"#),
    ("", r#"{"containerPort": 65535}"#),
    ("", r#"{"containerPort": 5900, "name": "vnc", "protocol": "TCP"}"#),
    ("", r#"{"containerPort": 443, "protocol": null}"#),
    ("", r#"{"containerPort": 4443, "name": null, "protocol": ""}"#),
    ("", r#"{"containerPort": 47998, "name": "video", "protocol": "UDP"}"#),
    ("", r#"{"containerPort": 47999, "protocol": "SCTP"}"#),
    ("", r#"{"containerPort": 9090, "name": "http-metrics"}"#),
    ("", r#"{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}"#),
    ("", r#"{"containerPort": 8081, "name": "healthz"}"#),
];

pub(super) const ENVIRONMENT: &[Row] = &[
    ("", r#"{"name": "DISPLAY", "value": ":0"}"#),
    ("", r#"{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}"#),
    ("", r#"{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}"#),
    ("", r#"{"name": "VDI_METRICS_LISTEN", "value": "theirs"}"#),
];

pub(super) const MOUNTS: &[Row] = &[
    ("", r#"{"name": "home", "mountPath": "/home"}"#),
    ("", r#"{"name": "home", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}"#),
];

pub(super) const VOLUMES: &[Row] = &[
    ("", r#"{"name": "home", "persistentVolumeClaim": {"claimName": "alice"}}"#),
    ("", r#"{"name": "scratch"}"#),
    ("", r#"{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}"#),
    ("", r#"{"name": "settings", "configMap": {"name": "settings"}}"#),
    (
        "",
        r#"{"name": "me", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}"#,
    ),
    ("", r#"{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}"#),
    ("", r#"{"name": "kube-api-access-x1y2z", "projected": {"sources": []}}"#),
];

pub(super) const PULL_SECRETS: &[Row] =
    &[("", r#"{"name": "registry"}"#), ("", r#"{"name": "theirs"}"#), ("", "{}")];

pub(super) const GUARANTEED: &[Row] = &[
    ("", r#"{"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}}"#),
    ("", r#"{"limits": {"cpu": "1.5", "memory": "2G"}}"#),
    ("", r#"{"limits": {"cpu": 2, "memory": 1073741824}, "requests": null}"#),
    (
        "",
        r#"{"requests": {"cpu": "2e0"}, "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}, "claims": [{"name": "gpu"}]}"#,
    ),
];

pub(super) const BEST_EFFORT: &[Row] = &[
    ("", "{}"),
    ("", "null"),
    ("", r#"{"requests": {}, "limits": null}"#),
    ("", r#"{"requests": {"cpu": "0"}, "limits": {}}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": "1"}}"#),
    ("", r#"{"claims": [{"name": "gpu"}]}"#),
    ("", r#"{"claims": [{"name": "gpu", "request": "card"}, {"name": "spare"}]}"#),
    ("", r#"{"claims": [{"name": "spare", "request": "one"}, {"name": "spare", "request": "two"}]}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": 0, "nvidia.com/mig-1g.5gb": "1", "nvidia.com/gpu.shared": null}}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "4e3", "example.com/slot": "1Ki"}}"#),
];

pub(super) const BURSTABLE: &[Row] = &[
    ("", "{}"),
    ("", r#"{"requests": {"cpu": "100m"}}"#),
    ("", r#"{"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}"#),
    ("", r#"{"limits": {"memory": "512Mi"}}"#),
    ("", r#"{"limits": {"cpu": "1", "memory": "1Gi"}}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}, "requests": {"nvidia.com/gpu": 1}}"#),
    ("", r#"{"requests": {"memory": "1Gi"}, "claims": [{"name": "gpu", "request": "card"}]}"#),
    ("", r#"{"limits": {"cpu": "0.0000001"}}"#),
    ("", r#"{"limits": {"memory": "9223372036854775807"}}"#),
    ("", r#"{"limits": {"memory": "100Ei", "cpu": " 1e+3 "}, "requests": {"cpu": "+.5"}}"#),
    ("", r#"{"requests": {"memory": "0.00000000000000000000000000001Ki", "cpu": "1e100"}}"#),
    ("", r#"{"requests": {"ephemeral-storage": "7.9999Ei", "example.com/x": "1"}}"#),
    ("", r#"{"claims": []}"#),
];

pub(super) const POD_RESOURCES: &[Row] = &[
    ("", "{}"),
    ("", "null"),
    ("", r#"{"limits": {}}"#),
    ("", r#"{"limits": {"cpu": "2", "memory": "2Gi"}}"#),
    ("", r#"{"requests": {"memory": "2Gi"}}"#),
    ("", r#"{"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}"#),
    ("", r#"{"limits": {"hugepages-2Mi": "4Mi"}}"#),
];

/// Fields that a later release may add, and known names at levels where they have no meaning.
pub(super) const UNKNOWN: &[Row] = &[
    ("futureNumber", "\"\u{e000}123456789012345678901234567890.5\""),
    ("futureExponent", "\"\u{e000}1E400\""),
    ("futureZero", "\"\u{e000}-0.0\""),
    ("futureInteger", "18446744073709551615"),
    ("future~1/0", r#"{"name": "vdi-metrics", "containerPort": 9478}"#),
    ("Containers", r#"[{"name": "vdi-metrics"}]"#),
    ("sidecars", r#"[{"name": "vdi-metrics", "restartPolicy": "Always"}]"#),
    ("", r#"{"": {"": []}}"#),
    ("futureNull", "null"),
    ("managedFields", r#"[{"fieldsV1": {"f:metadata": {"f:labels": {}}}}]"#),
];

/// Values of every JSON type.
pub(super) const VALUES_OF_EVERY_TYPE: &[Row] = &[
    ("", "null"),
    ("", "true"),
    ("", "7"),
    ("", "-1.5e3"),
    ("", "\"\u{e000}1E400\""),
    ("", r#""""#),
    ("", r#""vdi-metrics""#),
    ("", r#""\u0000""#),
    ("", "[]"),
    ("", "{}"),
    ("", "[[[{}]]]"),
    ("", r#"[{"name": "vdi-metrics"}]"#),
    ("", r#"{"name": "vdi-metrics"}"#),
];
