//! Variables of the policy about the GPU of a pod: its request and its resource claims. `admission::decide` decides the same.

use serde_json::json;

use super::cel::{any_of, literal, text};
use crate::{
    admission::{
        gpu_names::{GPU_ANNOTATIONS, PART_ANNOTATIONS, RESOURCES, SCHEDULERS_WITHOUT_RUNTIME_ACCESS},
        settings::{GpuAccess, Settings},
    },
    contract::GpuRequest,
};

/// Names and expressions. They use the variables `gpuAccess`, `annotations` and `running`.
pub(super) fn of(settings: &Settings) -> Vec<(&'static str, String)> {
    vec![
        ("references", REFERENCES.into()),
        ("claims", CLAIMS.into()),
        ("claimAccess", CLAIM_ACCESS.into()),
        ("extended", EXTENDED.into()),
        ("gpuRequest", gpu_request(settings)),
        ("runtimeAccess", runtime_access()),
    ]
}

/// The references to claims, copied into maps, because the value of a patch cannot be a list of objects of the API's types.
const REFERENCES: &str = "\
variables.running.map(c, c.?resources.?claims.orValue([])
  .map(l, l.?request.hasValue() ? {\"name\": l.?name.orValue(\"\"), \"request\": l.request} : {\"name\": l.?name.orValue(\"\")}))
.flatten().distinct()";

/// The claims of the sidecar. If a container refers to an entire claim, references to its requests are left out.
const CLAIMS: &str = "\
variables.gpuAccess in [\"auto\", \"claims\"]
&& variables.references.all(e, object.spec.?resourceClaims.orValue([]).exists(r, r.name == e.name))
? variables.references.filter(e, !(\"request\" in e) || !variables.references.exists(o, o == {\"name\": e.name}))
: []";

/// Value of the sidecar's environment variable for the GPU access. The value shows whether other pods can use one of the claims
/// too. The expression is evaluated only if there are claims.
const CLAIM_ACCESS: &str = "\
object.spec.?schedulingGroup.hasValue()
|| variables.claims.exists(e, object.spec.resourceClaims.exists(r, r.name == e.name && r.?resourceClaimName.hasValue()))
? \"named-claims\" : \"claims\"";

/// Names of the extended resources whose amount is not 0.
const EXTENDED: &str = "\
(variables.running.map(c, c.?resources) + [object.spec.?resources])
.map(r, [r.?requests.orValue({}), r.?limits.orValue({})]).flatten()
.map(a, a.filter(n, n.contains(\"/\") && quantity(a[n]).compareTo(quantity(\"0\")) != 0)).flatten()";

/// The kind of request. The conditions are in the order of precedence.
fn gpu_request(settings: &Settings) -> String {
    let named = |request: GpuRequest| {
        let patterns = settings.gpu_resources.patterns().chain(RESOURCES.iter().copied());
        let patterns = patterns.filter(|(_, of_pattern)| *of_pattern == request).map(|(pattern, _)| pattern);
        format!("variables.extended.exists(n, n.matches({}))", any_of(patterns))
    };
    let annotated =
        format!("variables.annotations.exists(k, k.matches({}))", any_of(PART_ANNOTATIONS.iter().copied()));
    let conditions = [
        (format!("{annotated}\n|| {}", named(GpuRequest::Part)), GpuRequest::Part),
        (named(GpuRequest::Device), GpuRequest::Device),
        (format!("size(variables.references) > 0\n|| {}", named(GpuRequest::Claims)), GpuRequest::Claims),
    ];
    let choices =
        conditions.map(|(condition, request)| format!("{condition} ? {} :\n", text(request.as_str())));
    choices.concat() + &text(GpuRequest::None.as_str())
}

/// Whether the vendor's container runtime makes the node's GPUs visible to the sidecar.
fn runtime_access() -> String {
    let annotated = GPU_ANNOTATIONS.map(|key| format!("{} in variables.annotations", text(key)));
    let schedulers = literal(&json!(SCHEDULERS_WITHOUT_RUNTIME_ACCESS), &[]);
    format!(
        "variables.gpuAccess == {}\n&& (variables.gpuRequest != {} || {})\n\
         && !(object.spec.?schedulerName.orValue(\"\") in {schedulers})",
        text(GpuAccess::Runtime.as_str()),
        text(GpuRequest::None.as_str()),
        annotated.join(" || ")
    )
}
