//! The variable of the policy that says whether a pod can run only on Windows nodes, as `admission::decide` does.

/// Whether the pod can run only on Windows nodes.
pub(super) fn is_windows() -> String {
    format!("{}\n&& ({HAS_WINDOWS_OPTIONS}\n|| !({}))", can_run_on("windows"), can_run_on("linux"))
}

const HAS_WINDOWS_OPTIONS: &str = "\
object.spec.?securityContext.?windowsOptions.hasValue()
|| variables.all.exists(c, c.?securityContext.?windowsOptions.hasValue())";

fn can_run_on(os: &str) -> String {
    let selected = is_possible(os, "k", "\"In\"", "[object.spec.nodeSelector[k]]");
    let required = is_possible(os, "r.key", "r.operator", "r.?values.orValue([])");
    format!(
        "object.spec.?os.?name.orValue(\"{os}\") == \"{os}\"
&& object.spec.?nodeSelector.orValue({{}}).all(k, {selected})
&& (!object.spec.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.hasValue()
  || object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.exists(t,
    size(t.?matchExpressions.orValue([])) + size(t.?matchFields.orValue([])) > 0
    && t.?matchExpressions.orValue([]).all(r, {required})))"
    )
}

/// Whether a node of the operating system can meet the requirement. `key`, `operator` and `values` are expressions.
fn is_possible(os: &str, key: &str, operator: &str, values: &str) -> String {
    let is_windows = os == "windows";
    format!(
        "{key} in [\"kubernetes.io/os\", \"beta.kubernetes.io/os\"]
  ? ({operator} == \"In\" ? \"{os}\" in {values} : {operator} == \"NotIn\" ? !(\"{os}\" in {values}) : {operator} == \"Exists\")
: {key} == \"node.kubernetes.io/windows-build\"
  ? {operator} == \"NotIn\" || ({operator} != \"DoesNotExist\") == {is_windows}
: {key} in [\"kubernetes.azure.com/os-sku\", \"cloud.google.com/gke-os-distribution\"] && {operator} == \"In\"
  ? {values}.exists(v, v.lowerAscii().startsWith(\"windows\") == {is_windows})
: true"
    )
}
