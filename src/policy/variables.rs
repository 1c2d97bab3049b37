//! Variables of the policy: the facts about a pod that `admission::decide` evaluates. No expression can fail for any pod:
//! fields that may be absent are read with optional chaining.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    cel::{literal, text},
    gpu, nodes, ports, size,
};
use crate::{
    admission::{
        Injector, SkipReason,
        quantity::Quantity,
        settings::{GpuAccess, MIN_MEMORY, Mode, PresenceSetting, Profile, ScrapeAnnotations, Settings},
    },
    contract::{ALLOWED_INTERVAL_SECONDS, CONTAINER, MAX_NAME_BYTES, key},
};

/// Names and expressions. An expression may use the variables before it.
pub(super) fn of(injector: &Injector) -> Vec<(&'static str, String)> {
    let (settings, profiles) = (injector.settings(), injector.profiles());
    let Settings { sidecar, gpu_access, presence, .. } = settings;
    let (requests, limits) = (&sidecar.resources.requests, &sidecar.resources.limits);
    let reserved = sidecar.resources.reserved_cpu();
    let (seconds, longest) = ALLOWED_INTERVAL_SECONDS.into_inner();
    let fixed: Vec<(_, String)> = vec![
        ("labels", "object.metadata.?labels.orValue({})".into()),
        ("annotations", "object.metadata.?annotations.orValue({})".into()),
        ("initContainers", "object.spec.?initContainers.orValue([])".into()),
        ("containers", "object.spec.?containers.orValue([])".into()),
        ("all", "variables.containers + variables.initContainers".into()),
        ("running", RUNNING.into()),
        ("volumes", "object.spec.?volumes.orValue([])".into()),
        ("pullSecrets", "object.spec.?imagePullSecrets.orValue([])".into()),
        ("native", native(sidecar.mode)),
        ("at", AT.into()),
        ("declared", DECLARED.into()),
        (
            "firstPort",
            overridden(key::PORT, &number(1024, u16::MAX.into()), "int(v)", &sidecar.port.to_string()),
        ),
        ("freePorts", FREE_PORTS.into()),
        ("port", "variables.freePorts.min()".into()),
        (
            "interval",
            overridden(
                key::INTERVAL,
                &number(seconds, longest),
                "int(v)",
                &sidecar.interval_seconds.to_string(),
            ),
        ),
        ("image", overridden(key::IMAGE, IS_IMAGE, "string(v)", &text(&sidecar.image))),
        ("bounded", BOUNDED.into()),
        ("guaranteed", GUARANTEED.into()),
        ("cpu", overridden(key::CPU, &is_positive(), "string(v)", "\"\"")),
        ("memory", overridden(key::MEMORY, &is_at_least(&MIN_MEMORY.to_string()), "string(v)", "\"\"")),
        (
            "cpuLimit",
            limit("cpu", &format!("variables.guaranteed ? {} : {}", amount(reserved), amount(limits.cpu))),
        ),
        ("cpuRequest", request("cpu", &amount(requests.cpu))),
        ("memoryLimit", limit("memory", &amount(limits.memory))),
        ("memoryRequest", request("memory", &amount(requests.memory))),
        ("gpuAccess", choice(key::GPU_ACCESS, &GpuAccess::ALL.map(GpuAccess::as_str), gpu_access.as_str())),
        (
            "presence",
            choice(key::PRESENCE, &PresenceSetting::ALL.map(PresenceSetting::as_str), presence.as_str()),
        ),
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
    let gpu = gpu::of(settings);
    let nodes = nodes::of(&sidecar.architectures);
    let scraping = settings.scrape_annotations == ScrapeAnnotations::Auto;
    let scraping = scraping.then(|| ("unscraped", unscraped()));
    let names = NAMES.iter().filter(|name| name.is_shown(settings.show_user));
    let names = names.map(|name| (name.variable, name.field(profiles)));
    let decided = [
        ("tooLarge", size::is_too_large()),
        ("reason", reason(&size::annotations_are_full(injector), settings.paused)),
        ("marked", size::is_marked()),
    ];
    fixed
        .into_iter()
        .chain(nodes)
        .chain(gpu)
        .chain(ports::of())
        .chain(scraping)
        .chain(names)
        .chain(decided)
        .collect()
}

// === overrides ===

/// The value of the pod's annotation if it is valid, otherwise the default. `v` is the annotation.
fn overridden(key: &str, is_valid: &str, value: &str, default: &str) -> String {
    let key = text(key);
    format!("variables.annotations[?{key}].optMap(v, {is_valid} ? {value} : {default}).orValue({default})")
}

fn choice(key: &str, choices: &[&str], default: &str) -> String {
    let choices = literal(&json!(choices), &[]);
    overridden(key, &format!("v in {choices}"), "string(v)", &text(default))
}

fn number(min: u64, max: u64) -> String {
    format!("v.matches(\"^[+]?[0-9]{{1,5}}$\") && int(v) >= {min} && int(v) <= {max}")
}

fn is_positive() -> String {
    format!("{IS_AMOUNT} && quantity(v).isGreaterThan(quantity(\"0\"))")
}

fn is_at_least(min: &str) -> String {
    format!("{IS_AMOUNT} && !quantity(v).isLessThan(quantity({}))", text(min))
}

/// Whether the value is a quantity of at most 2^63-1.
const IS_AMOUNT: &str = "isQuantity(v) && !quantity(v).isGreaterThan(quantity(\"9223372036854775807\"))";
const IS_IMAGE: &str = "v.matches(\"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$\")";

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

/// Whether the sidecar is native. With a regular container, a pod whose `restartPolicy` is not `Always` would never complete,
/// and a pod without containers would become valid.
fn native(default: Mode) -> String {
    let mode = choice(key::MODE, &Mode::ALL.map(Mode::as_str), default.as_str());
    format!(
        "{mode} == \"native\"\n|| object.spec.?restartPolicy.orValue(\"Always\") != \"Always\" || size(variables.containers) == 0"
    )
}

/// The containers that run beside the sidecar.
const RUNNING: &str = "\
variables.containers + variables.initContainers.filter(c, c.?restartPolicy.orValue(\"\") == \"Always\")";

/// The JSON pointer of the injected sidecar.
const AT: &str = "\
variables.native ? \"/spec/initContainers/\" + string(size(variables.initContainers))
: \"/spec/containers/\" + string(size(variables.containers))";

/// The ports that the containers of the pod declare.
const DECLARED: &str =
    "variables.all.map(c, c.?ports.orValue([]).map(p, int(p.?containerPort.orValue(0)))).flatten()";

/// The first free port is `firstPort` or the successor of a declared port.
const FREE_PORTS: &str = "\
([variables.firstPort] + variables.declared.map(p, p + 1))
.filter(p, p >= variables.firstPort && p <= 65535 && !(p in variables.declared))";

/// Whether the sidecar gets requests and limits of its own: only in a pod without pod-level resources.
const BOUNDED: &str = "\
size(object.spec.?resources.?requests.orValue({})) == 0
&& size(object.spec.?resources.?limits.orValue({})) == 0";

/// Whether the pod has pod-level resources without a limit of CPU or memory. Kubernetes sets the missing limit to the sum of
/// the containers' limits if every container has a limit. In this case the webhook sets a limit on the sidecar; the policy
/// skips the pod.
const MISSING_POD_LIMIT: &str = "\
!variables.bounded && [\"cpu\", \"memory\"].exists(r, !object.spec.?resources.?limits[?r].hasValue())";

const GUARANTEED: &str = "\
variables.all.all(c, [\"cpu\", \"memory\"].all(r,
  c.?resources.?limits[?r].optMap(l, quantity(l).isGreaterThan(quantity(\"0\"))
    && quantity(c.?resources.?requests[?r].orValue(l)).compareTo(quantity(l)) == 0).orValue(false)))";

const IS_ROOT: &str = "object.spec.?securityContext.?runAsUser.orValue(-1) == 0";

/// Whether the pod has no `prometheus.io` annotation, in any notation.
fn unscraped() -> String {
    let letters: Vec<_> = "prometheusio".chars().map(String::from).collect();
    let pattern = format!("(?i)^[^a-z0-9]*{}", letters.join("[^a-z0-9]*"));
    format!("!variables.annotations.exists(k, k.matches({}))", text(&pattern))
}

// === identity ===

struct IdentityName {
    variable: &'static str,
    standard_key: &'static str,
    profile_key: fn(&Profile) -> Option<&String>,
}

const NAMES: [IdentityName; 4] = [
    IdentityName {
        variable: "session",
        standard_key: key::SESSION,
        profile_key: |profile| profile.session.as_ref(),
    },
    IdentityName {
        variable: "template",
        standard_key: key::TEMPLATE,
        profile_key: |profile| profile.template.as_ref(),
    },
    IdentityName { variable: "pool", standard_key: key::POOL, profile_key: |profile| profile.pool.as_ref() },
    IdentityName { variable: "user", standard_key: key::USER, profile_key: |profile| profile.user.as_ref() },
];

/// The index of the first profile whose labels the pod has.
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

/// Every key that can contain a part of the identity.
fn keys(show_user: bool, profiles: &[Profile]) -> String {
    let shown = NAMES.iter().filter(|name| name.is_shown(show_user));
    let keys = shown.flat_map(|name| {
        [name.standard_key]
            .into_iter()
            .chain(profiles.iter().filter_map(name.profile_key).map(String::as_str))
    });
    literal(&json!(keys.collect::<BTreeSet<_>>()), &[])
}

/// The fields of the pod that are part of the identity and valid as an environment variable. A value that is too long or has
/// a control character could prevent the start of the sidecar, and so of the desktop.
fn named(map: &str) -> String {
    format!(
        "variables.keys.filter(k, variables.{map}[?k].optMap(v, v != \"\" && size(bytes(v)) <= {MAX_NAME_BYTES} \
         && !v.matches(\"\\\\p{{Cc}}\")).orValue(false))\n.map(k, \"metadata.{map}['\" + k + \"']\")"
    )
}

// === impl IdentityName ===

impl IdentityName {
    fn is_shown(&self, show_user: bool) -> bool {
        show_user || self.standard_key != key::USER
    }

    /// The field with the value. The standard key takes precedence over the profile's key, and a label over an annotation.
    fn field(&self, profiles: &[Profile]) -> String {
        let fields = |key: &str| {
            literal(
                &json!([format!("metadata.labels['{key}']"), format!("metadata.annotations['{key}']")]),
                &[],
            )
        };
        let of_profiles = profiles.iter().enumerate().filter_map(|(index, profile)| {
            Some(format!(
                " +\n(variables.profile == {index} ? {} : [])",
                fields((self.profile_key)(profile)?)
            ))
        });
        let standard = fields(self.standard_key);
        format!(
            "({standard}{} +\n[\"\"]).filter(f, f == \"\" || f in variables.named)[0]",
            of_profiles.collect::<String>()
        )
    }
}

// === conditions ===

/// The match condition that excludes a pod with the sidecar. After the policy has changed a pod, the API server evaluates the
/// policy a second time. This condition ends the second evaluation early, which is cheaper than an empty patch.
pub(super) fn not_injected() -> String {
    let name = text(CONTAINER);
    format!(
        "!(object.spec.?containers.orValue([]) + object.spec.?initContainers.orValue([]))\n\
         .exists(c, c.?name.orValue(\"\") == {name} && (object.metadata.?annotations[?{}].hasValue()\n\
         || c.?ports.orValue([]).exists(p, p.?name.orValue(\"\") == {name})))",
        text(key::CONFIG)
    )
}

/// The skip reason, in the order of `admission::decide`; empty if the pod gets the sidecar.
fn reason(annotations_are_full: &str, is_paused: bool) -> String {
    let taken = text(CONTAINER);
    let taken = format!(
        "(variables.all + variables.volumes).exists(c, c.?name.orValue(\"\") == {taken})\n\
         || variables.all.exists(c, c.?ports.orValue([]).exists(p, p.?name.orValue(\"\") == {taken}))"
    );
    let reasons = [
        (&*taken, SkipReason::NameTaken),
        ("\"kubevirt.io\" in variables.labels", SkipReason::Kubevirt),
        ("variables.windows", SkipReason::Windows),
        ("object.spec.?hostNetwork.orValue(false)", SkipReason::HostNetwork),
        ("variables.excluded", SkipReason::UnsupportedNode),
        (MISSING_POD_LIMIT, SkipReason::LimitRange),
        ("size(variables.freePorts) == 0", SkipReason::NoFreePort),
        ("true", SkipReason::Paused),
        ("variables.tooLarge", SkipReason::TooLarge),
        (annotations_are_full, SkipReason::AnnotationsFull),
    ];
    let reasons = reasons.iter().filter(|(_, reason)| is_paused || *reason != SkipReason::Paused);
    let choices = reasons.map(|(applies, reason)| format!("{applies} ? {} :\n", text(reason.as_str())));
    choices.chain(["\"\"".to_owned()]).collect()
}
