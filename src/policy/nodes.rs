//! Variables of the policy about the kinds of nodes that a pod can run on. `admission::decide::nodes` decides the same.

use serde_json::json;

use super::cel::literal;

/// Names and expressions. They use the variable `all`.
pub(super) fn of(architectures: &[String]) -> Vec<(&'static str, String)> {
    let kind = |os: &str, arch: &str| json!({"os": os, "arch": arch});
    let with_image = architectures.iter().map(|arch| kind("linux", arch));
    let kinds = [kind("windows", ""), kind("linux", "")].into_iter().chain(with_image);
    let kinds = literal(&kinds.collect(), &[]);
    vec![
        ("nodes", format!("{kinds}.filter(n,\n{})", can_run_on())),
        (
            "windows",
            format!("{}\n&& ({HAS_WINDOWS_OPTIONS}\n|| !({}))", can_run("windows"), can_run("linux")),
        ),
        (
            "excluded",
            format!(
                "{}\n&& !variables.nodes.exists(n, n.os == \"linux\" && n.arch != \"\")",
                can_run("linux")
            ),
        ),
    ]
}

/// Whether the pod can run on a node with this operating system and with any architecture.
fn can_run(os: &str) -> String {
    format!("variables.nodes.exists(n, n.os == \"{os}\" && n.arch == \"\")")
}

const HAS_WINDOWS_OPTIONS: &str = "\
object.spec.?securityContext.?windowsOptions.hasValue()
|| variables.all.exists(c, c.?securityContext.?windowsOptions.hasValue())";

/// Whether the pod can run on nodes of the kind `n`. An empty architecture means nodes of any architecture, including virtual
/// nodes.
fn can_run_on() -> String {
    let selected = is_possible("k", "\"In\"", "[object.spec.nodeSelector[k]]");
    let required = is_possible("r.key", "r.operator", "r.?values.orValue([])");
    format!(
        "object.spec.?os.?name.orValue(n.os) == n.os
&& object.spec.?nodeSelector.orValue({{}}).all(k, {selected})
&& (!object.spec.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.hasValue()
  || object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.exists(t,
    size(t.?matchExpressions.orValue([])) + size(t.?matchFields.orValue([])) > 0
    && t.?matchExpressions.orValue([]).all(r, {required})))"
    )
}

/// Whether a node of the kind `n` can meet the requirement. `key`, `operator` and `values` are expressions.
fn is_possible(key: &str, operator: &str, values: &str) -> String {
    let is_met = |label: &str| {
        format!(
            "({operator} == \"In\" ? {label} in {values} : {operator} == \"NotIn\" ? !({label} in {values}) : {operator} == \"Exists\")"
        )
    };
    let is_windows = "(n.os == \"windows\")";
    format!(
        "{key} in [\"kubernetes.io/os\", \"beta.kubernetes.io/os\"]
  ? {}
: {key} in [\"kubernetes.io/arch\", \"beta.kubernetes.io/arch\"]
  ? (n.arch == \"\" ? {operator} != \"DoesNotExist\" : {})
: {key} == \"node.kubernetes.io/windows-build\"
  ? {operator} == \"NotIn\" || ({operator} != \"DoesNotExist\") == {is_windows}
: {key} in [\"kubernetes.azure.com/os-sku\", \"cloud.google.com/gke-os-distribution\"] && {operator} == \"In\"
  ? {values}.exists(v, v.lowerAscii().startsWith(\"windows\") == {is_windows})
: {key} == \"type\" && {operator} == \"In\" && n.arch != \"\"
  ? {values}.exists(v, v != \"virtual-kubelet\")
: true",
        is_met("n.os"),
        is_met("n.arch"),
    )
}
