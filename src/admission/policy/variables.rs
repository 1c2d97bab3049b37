//! What `decide` finds out about a pod, as variables of the policy. None can fail, whatever the pod: what may be absent is
//! asked for by optional chaining.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cel::{literal, text};
use crate::{
    admission::{
        SkipReason,
        quantity::Quantity,
        settings::{LEAST_MEMORY, Profile, ScrapeAnnotations, Settings},
    },
    contract::{ALLOWED_INTERVAL_SECONDS, CONTAINER, MAX_NAME_BYTES, key},
};

/// Names and expressions; each may use those before it.
pub(super) fn of(settings: &Settings, profiles: &[Profile]) -> Vec<(&'static str, String)> {
    let Settings { sidecar, gpu_access, .. } = settings;
    let (requests, limits) = (&sidecar.resources.requests, &sidecar.resources.limits);
    let counted = sidecar.resources.counted_cpu();
    let (seconds, longest) = ALLOWED_INTERVAL_SECONDS.into_inner();
    let fixed: Vec<(_, String)> = vec![
        ("labels", "object.metadata.?labels.orValue({})".into()),
        ("annotations", "object.metadata.?annotations.orValue({})".into()),
        ("initContainers", "object.spec.?initContainers.orValue([])".into()),
        ("containers", "object.spec.?containers.orValue([])".into()),
        ("all", "variables.containers + variables.initContainers".into()),
        ("volumes", "object.spec.?volumes.orValue([])".into()),
        ("pullSecrets", "object.spec.?imagePullSecrets.orValue([])".into()),
        ("native", native(&json!(sidecar.mode))),
        ("at", AT.into()),
        ("declared", DECLARED.into()),
        ("wantedPort", asked(key::PORT, &number(1024, u16::MAX.into()), "int(v)", &sidecar.port.to_string())),
        ("freePorts", FREE_PORTS.into()),
        ("port", "variables.freePorts.min()".into()),
        (
            "interval",
            asked(key::INTERVAL, &number(seconds, longest), "int(v)", &sidecar.interval_seconds.to_string()),
        ),
        ("image", asked(key::IMAGE, IS_IMAGE, "string(v)", &text(&sidecar.image))),
        ("bounded", BOUNDED.into()),
        ("guaranteed", GUARANTEED.into()),
        ("cpu", asked(key::CPU, IS_POSITIVE, "string(v)", "\"\"")),
        ("memory", asked(key::MEMORY, &is_at_least(&LEAST_MEMORY.to_string()), "string(v)", "\"\"")),
        (
            "cpuLimit",
            limit("cpu", &format!("variables.guaranteed ? {} : {}", amount(counted), amount(limits.cpu))),
        ),
        ("cpuRequest", request("cpu", &amount(requests.cpu))),
        ("memoryLimit", limit("memory", &amount(limits.memory))),
        ("memoryRequest", request("memory", &amount(requests.memory))),
        ("gpuAccess", word(key::GPU_ACCESS, ACCESSES, &json!(gpu_access))),
        ("claims", CLAIMS.into()),
        ("claimAccess", CLAIM_ACCESS.into()),
        (
            "fixedUser",
            format!(
                "{IS_ROOT} || {} && !(\"openshift.io/scc\" in variables.annotations)",
                sidecar.fixed_user
            ),
        ),
        ("profile", profile(profiles)),
        ("keys", keys(settings.show_user, profiles)),
        ("named", format!("{} +\n{}", named("labels"), named("annotations"))),
    ];
    let scraping = settings.scrape_annotations == ScrapeAnnotations::Auto;
    let scraping = scraping.then(|| ("unscraped", unscraped()));
    let names = NAMES.iter().filter(|name| name.is_shown(settings.show_user));
    let names = names.map(|name| (name.variable, name.field(profiles)));
    fixed.into_iter().chain(scraping).chain(names).chain([("reason", reason())]).collect()
}

// === overrides ===

/// What the pod's annotation asks for where it is sound, else the default. `v` is the annotation.
fn asked(key: &str, is_sound: &str, value: &str, default: &str) -> String {
    let key = text(key);
    format!("variables.annotations[?{key}].optMap(v, {is_sound} ? {value} : {default}).orValue({default})")
}

fn word(key: &str, words: &str, default: &Value) -> String {
    asked(key, &format!("v in {words}"), "string(v)", &literal(default, &[]))
}

fn number(least: u64, most: u64) -> String {
    format!("v.matches(\"^[+]?[0-9]{{1,5}}$\") && int(v) >= {least} && int(v) <= {most}")
}

fn is_at_least(least: &str) -> String {
    format!("isQuantity(v) && !quantity(v).isLessThan(quantity({}))", text(least))
}

const IS_POSITIVE: &str = "isQuantity(v) && quantity(v).isGreaterThan(quantity(\"0\"))";
const IS_IMAGE: &str = "v.matches(\"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$\")";
const MODES: &str = "[\"native\", \"container\"]";
const ACCESSES: &str = "[\"auto\", \"claims\", \"runtime\", \"none\"]";

fn amount(quantity: Quantity) -> String {
    text(&quantity.to_string())
}

fn limit(resource: &str, default: &str) -> String {
    format!("variables.{resource} != \"\" ? variables.{resource} : {default}")
}

fn request(resource: &str, default: &str) -> String {
    format!("variables.guaranteed || variables.{resource} != \"\" ? variables.{resource}Limit : {default}")
}

// === the pod ===

/// A regular container would keep a pod that is not restarted for ever from completing, and make one without containers valid.
fn native(default: &Value) -> String {
    let wanted = word(key::MODE, MODES, default);
    format!(
        "{wanted} == \"native\"\n|| object.spec.?restartPolicy.orValue(\"Always\") != \"Always\" || size(variables.containers) == 0"
    )
}

const AT: &str = "\
variables.native ? \"/spec/initContainers/\" + string(size(variables.initContainers))
: \"/spec/containers/\" + string(size(variables.containers))";

const DECLARED: &str =
    "variables.all.map(c, c.?ports.orValue([]).map(p, int(p.?containerPort.orValue(0)))).flatten()";

/// The next free port is the wanted one or follows a declared one.
const FREE_PORTS: &str = "\
([variables.wantedPort] + variables.declared.map(p, p + 1))
.filter(p, p >= variables.wantedPort && p <= 65535 && !(p in variables.declared))";

const BOUNDED: &str = "\
size(object.spec.?resources.?requests.orValue({})) == 0
&& size(object.spec.?resources.?limits.orValue({})) == 0";

/// Limits that the pod as a whole does not say become the sum of its containers' limits, where all have one. The webhook
/// fits its own in there; here the pod goes without.
const HALF_SAID: &str = "\
!variables.bounded && [\"cpu\", \"memory\"].exists(r, !object.spec.?resources.?limits[?r].hasValue())";

const GUARANTEED: &str = "\
variables.all.all(c, [\"cpu\", \"memory\"].all(r,
  c.?resources.?limits[?r].optMap(l, quantity(l).isGreaterThan(quantity(\"0\"))
    && quantity(c.?resources.?requests[?r].orValue(l)).compareTo(quantity(l)) == 0).orValue(false)))";

/// Those of each regular container that has any, as maps: a list of the API's own objects is no value for a patch.
const CLAIMS: &str = "\
variables.gpuAccess in [\"auto\", \"claims\"]
? variables.containers.map(c, c.?resources.?claims.orValue([])
  .map(l, l.?request.hasValue() ? {\"name\": l.?name.orValue(\"\"), \"request\": l.request} : {\"name\": l.?name.orValue(\"\")}))
  .filter(l, size(l) > 0 && l.all(e, object.spec.?resourceClaims.orValue([]).exists(r, r.name == e.name)))
: []";

/// Whether other pods can name one of the first's as well. Not asked where there is none.
const CLAIM_ACCESS: &str = "\
variables.claims[0].exists(e, object.spec.resourceClaims.exists(r, r.name == e.name && r.?resourceClaimName.hasValue()))
? \"named-claims\" : \"claims\"";

const IS_ROOT: &str = "object.spec.?securityContext.?runAsUser.orValue(-1) == 0";

/// No annotation of Prometheus' in any spelling.
fn unscraped() -> String {
    let letters: Vec<_> = "prometheusio".chars().map(String::from).collect();
    let pattern = format!("(?i)^[^a-z0-9]*{}", letters.join("[^a-z0-9]*"));
    format!("!variables.annotations.exists(k, k.matches({}))", text(&pattern))
}

// === whose session it is ===

struct Name {
    variable: &'static str,
    own: &'static str,
    of: fn(&Profile) -> Option<&String>,
}

const NAMES: [Name; 4] = [
    Name { variable: "session", own: key::SESSION, of: |profile| profile.session.as_ref() },
    Name { variable: "template", own: key::TEMPLATE, of: |profile| profile.template.as_ref() },
    Name { variable: "pool", own: key::POOL, of: |profile| profile.pool.as_ref() },
    Name { variable: "user", own: key::USER, of: |profile| profile.user.as_ref() },
];

/// The first profile whose labels the pod has, by its place in the configuration.
fn profile(profiles: &[Profile]) -> String {
    let has = |(key, value): (&String, &String)| {
        format!("variables.labels[?{}].optMap(v, v == {}).orValue(false)", text(key), text(value))
    };
    let choices = profiles.iter().enumerate().map(|(index, profile)| {
        let all: Vec<_> = profile.match_labels.iter().map(has).collect();
        format!("{} ? {index} :\n", all.join(" && "))
    });
    choices.chain(["-1".to_owned()]).collect()
}

/// Every key that can name something.
fn keys(show_user: bool, profiles: &[Profile]) -> String {
    let shown = NAMES.iter().filter(|name| name.is_shown(show_user));
    let keys = shown.flat_map(|name| {
        [name.own].into_iter().chain(profiles.iter().filter_map(name.of).map(String::as_str))
    });
    literal(&json!(keys.collect::<BTreeSet<_>>()), &[])
}

/// Fields of the pod that name something and can be a variable: a longer one or one with a control character in it could keep
/// the container from starting, and with it the desktop.
fn named(map: &str) -> String {
    format!(
        "variables.keys.filter(k, variables.{map}[?k].optMap(v, v != \"\" && size(bytes(v)) <= {MAX_NAME_BYTES} \
         && !v.matches(\"\\\\p{{Cc}}\")).orValue(false))\n.map(k, \"metadata.{map}['\" + k + \"']\")"
    )
}

// === impl Name ===

impl Name {
    fn is_shown(&self, show_user: bool) -> bool {
        show_user || self.own != key::USER
    }

    /// The field that it is taken from: our own key before the profile's, a label before an annotation.
    fn field(&self, profiles: &[Profile]) -> String {
        let fields = |key: &str| {
            literal(
                &json!([format!("metadata.labels['{key}']"), format!("metadata.annotations['{key}']")]),
                &[],
            )
        };
        let of_profiles = profiles.iter().enumerate().filter_map(|(index, profile)| {
            Some(format!(" +\n(variables.profile == {index} ? {} : [])", fields((self.of)(profile)?)))
        });
        let own = fields(self.own);
        format!(
            "({own}{} +\n[\"\"]).filter(f, f == \"\" || f in variables.named)[0]",
            of_profiles.collect::<String>()
        )
    }
}

// === whether ===

/// The match condition that leaves a pod alone that has the sidecar: cheaper than a patch of nothing, because the second look at
/// each pod that the API server takes for our sake ends there.
pub(super) fn not_injected() -> String {
    let there = text(CONTAINER);
    format!(
        "!object.metadata.?annotations[?{}].hasValue()\n|| !(object.spec.?containers.orValue([]) \
         + object.spec.?initContainers.orValue([])).exists(c, c.?name.orValue(\"\") == {there})",
        text(key::CONFIG)
    )
}

/// Why the pod goes without us, in the order of `decide`; empty where it does not.
fn reason() -> String {
    let taken = text(CONTAINER);
    let taken = format!(
        "(variables.all + variables.volumes).exists(c, c.?name.orValue(\"\") == {taken})\n\
         || variables.all.exists(c, c.?ports.orValue([]).exists(p, p.?name.orValue(\"\") == {taken}))"
    );
    let windows = "object.spec.?os.?name.orValue(\"\") == \"windows\"\n\
                   || object.spec.?nodeSelector[?\"kubernetes.io/os\"].orValue(\"\") == \"windows\"";
    let refusals = [
        (&*taken, SkipReason::NameTaken),
        ("\"kubevirt.io\" in variables.labels", SkipReason::Kubevirt),
        (windows, SkipReason::Windows),
        ("object.spec.?hostNetwork.orValue(false)", SkipReason::HostNetwork),
        (HALF_SAID, SkipReason::LimitRange),
        ("size(variables.freePorts) == 0", SkipReason::NoFreePort),
    ];
    let choices =
        refusals.iter().map(|(applies, reason)| format!("{applies} ? {} :\n", text(reason.as_str())));
    choices.chain(["\"\"".to_owned()]).collect()
}
