//! What is shipped beside the programs, against the programs: names, ports, paths, labels, users, versions, settings, and
//! every metric and label of dashboards and rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::Settings,
    cli::Cli,
    contract::{self, key},
    runtime::VERSION,
    runtime::catalogue::Row,
    sidecar::catalogue::CATALOGUE,
};

const COMPONENT: &str = "app.kubernetes.io/component";

// === Kubernetes objects ===

#[test]
fn the_trees_hold_every_file_and_no_other() {
    let (mut objects, mut used) = (vec![], BTreeSet::new());
    build("manifests", &mut objects, &mut used);
    let shipped = ["manifests", "webhook-config", "dashboards"].map(files).concat();
    let shipped =
        shipped.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"));
    assert_eq!(used, shipped.collect());
}

#[test]
fn every_object_says_what_it_belongs_to() {
    for object in objects() {
        let name = &object["metadata"]["name"];
        assert!(object["metadata"]["labels"][COMPONENT].is_string(), "{} {name}", object["kind"]);
        let cluster_wide = [
            "Namespace",
            "ClusterRole",
            "ClusterRoleBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ];
        // The headless Service goes to whatever namespace it is applied to.
        let anywhere = cluster_wide.contains(&text(&object["kind"]))
            || name == "vdi-metrics-sessions" && object["kind"] == "Service";
        assert_eq!(object["metadata"]["namespace"].is_string(), !anywhere, "{} {name}", object["kind"]);
    }
    assert_eq!(common_labels()["app.kubernetes.io/version"], VERSION);
}

#[test]
fn the_server_is_started_with_arguments_that_it_takes() {
    let deployment = object("Deployment", "vdi-metrics-webhook");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<&str> = list(&container["args"]).iter().map(text).collect();
    Cli::try_parse_from([&["vdi-metrics"], arguments.as_slice()].concat()).unwrap();
    let mounts = [("tls", "/tls/"), ("config", "/config/")];
    for (mount, (name, folder)) in list(&container["volumeMounts"]).iter().zip(mounts) {
        assert_eq!(
            (&mount["name"], format!("{}/", text(&mount["mountPath"]))),
            (&json!(name), folder.to_owned())
        );
        assert!(arguments.iter().any(|argument| argument.starts_with(folder)), "{folder}");
    }
    assert_eq!(container["image"], format!("vdi-metrics/server:{VERSION}"));
}

#[test]
fn ports_are_the_programs_own() {
    let deployment = object("Deployment", "vdi-metrics-webhook");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for (name, flag) in [("webhook", "listen"), ("metrics", "metrics_listen"), ("health", "health_listen")] {
        let address = default_of(flag);
        let port = list(&container["ports"]).iter().find(|port| port["name"] == name).unwrap();
        assert_eq!(address, format!("[::]:{}", port["containerPort"]), "{name}");
    }
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(
            (&container[probe]["httpGet"]["path"], &container[probe]["httpGet"]["port"]),
            (&json!(path), &json!("health"))
        );
        assert!(read("src/runtime/admin.rs").contains(&format!("{path:?}")));
    }
    let service = object("Service", "vdi-metrics-webhook");
    let ports: Vec<_> = list(&service["spec"]["ports"])
        .iter()
        .map(|port| (&port["name"], &port["targetPort"], &port["port"]))
        .collect();
    assert_eq!(
        ports,
        [
            (&json!("webhook"), &json!("webhook"), &json!(443)),
            (&json!("metrics"), &json!("metrics"), &json!(8443))
        ]
    );
    let pod = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [&service["spec"]["selector"], &deployment["spec"]["selector"]["matchLabels"]] {
        assert_eq!(selector, pod);
        assert_eq!(selector.as_object().unwrap().len(), 3, "name, instance and component");
    }
}

#[test]
fn the_server_has_time_to_end() {
    let grace = object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    let lame_duck = default_of("lame_duck").parse::<u64>().unwrap();
    assert!(grace.unwrap() > lame_duck + vdi_metrics::server::DRAIN_TIMEOUT.as_secs());
}

#[test]
fn the_server_is_confined() {
    let pod = &object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"];
    let user = json!({"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}});
    let container = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    assert_eq!((&pod["securityContext"], &pod["containers"][0]["securityContext"]), (&user, &container));
    assert_eq!(pod["priorityClassName"], Value::Null, "it would preempt desktops");
    assert_eq!(
        object("ClusterRole", "vdi-metrics")["rules"],
        json!([{"apiGroups": [""], "resources": ["pods", "limitranges", "resourcequotas"], "verbs": ["list", "watch"]}])
    );
}

#[test]
fn the_settings_are_the_defaults_spelt_out() {
    let file = root().join("manifests/server/config.yaml");
    assert_eq!(Settings::read(&file).unwrap(), Settings::default());
    let spelt = yaml("manifests/server/config.yaml").remove(0);
    assert_eq!(spelt, serde_json::to_value(Settings::default()).unwrap(), "a field is left out");
}

#[test]
fn the_two_webhook_entries_are_disjoint_and_harmless() {
    let configuration = object("MutatingWebhookConfiguration", "vdi-metrics");
    let [by_namespace, by_pod] = list(&configuration["webhooks"]) else { panic!("two entries") };
    assert_eq!(
        (&by_namespace["name"], &by_pod["name"]),
        (&json!("by-namespace.mutate.vdi-metrics.io"), &json!("by-pod.mutate.vdi-metrics.io"))
    );
    let matching =
        |operator: &str, values: &[&str]| json!({"key": key::INJECT, "operator": operator, "values": values});
    let system = json!({
        "key": "kubernetes.io/metadata.name", "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease", "vdi-metrics"],
    });
    let enabled = matching("In", &[key::ENABLED]);
    assert_eq!(by_namespace["namespaceSelector"]["matchExpressions"], json!([&enabled, &system]));
    assert_eq!(
        by_namespace["objectSelector"]["matchExpressions"],
        json!([matching("NotIn", &[key::ENABLED, key::DISABLED])])
    );
    assert_eq!(by_pod["namespaceSelector"]["matchExpressions"], json!([&system]));
    assert_eq!(by_pod["objectSelector"]["matchExpressions"], json!([&enabled]));

    let service = object("Service", "vdi-metrics-webhook");
    let (name, namespace) = (&service["metadata"]["name"], &service["metadata"]["namespace"]);
    for entry in [by_namespace, by_pod] {
        let rest = |field: &str| entry[field].clone();
        // Exactly this: a caBundle here would be reset by each apply.
        assert_eq!(
            rest("clientConfig"),
            json!({"service": {"name": name, "namespace": namespace, "path": "/mutate", "port": 443}})
        );
        let pods = json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced"}]);
        assert_eq!(rest("rules"), pods);
        assert_eq!((rest("failurePolicy"), rest("timeoutSeconds")), (json!("Ignore"), json!(2)));
        assert_eq!((rest("reinvocationPolicy"), rest("sideEffects")), (json!("IfNeeded"), json!("None")));
        assert_eq!(
            (rest("matchPolicy"), rest("admissionReviewVersions")),
            (json!("Equivalent"), json!(["v1"]))
        );
        let conditions: Vec<_> =
            list(&entry["matchConditions"]).iter().map(|condition| text(&condition["expression"])).collect();
        let opted_out =
            format!("object.metadata.?annotations[?'{}'].orValue('') != '{}'", key::INJECT, key::DISABLED);
        assert_eq!(
            conditions,
            [opted_out.as_str(), "!object.metadata.?annotations[?'kubernetes.io/config.mirror'].hasValue()"]
        );
    }
    assert!(read("src/admission/edge.rs").contains("\"/mutate\""));
}

/// What the guard looks at is what we are asked about: its two bindings against the two entries of the webhook.
#[test]
fn the_guard_watches_the_pods_that_the_webhook_is_asked_about() {
    let webhook = object("MutatingWebhookConfiguration", "vdi-metrics");
    let [by_namespace, by_pod] = list(&webhook["webhooks"]) else { panic!("two entries") };
    let guard = &object("ValidatingAdmissionPolicy", "vdi-metrics")["spec"];
    assert_eq!(guard["matchConstraints"]["namespaceSelector"], by_pod["namespaceSelector"]);
    assert_eq!(guard["matchConstraints"]["resourceRules"], by_pod["rules"]);
    assert_eq!(guard["matchConstraints"]["matchPolicy"], by_pod["matchPolicy"]);
    assert_eq!(guard["failurePolicy"], "Ignore");
    let (conditions, skipped) = list(&guard["matchConditions"]).split_at(2);
    assert_eq!(conditions, list(&by_pod["matchConditions"]));
    let not_skipped =
        format!("!object.metadata.?annotations[?'{}'].orValue('').startsWith('skipped: ')", key::STATUS);
    assert_eq!(skipped, [json!({"name": "not-skipped", "expression": not_skipped})]);

    // Inside a binding the selectors are ANDed with the policy's own.
    for (binding, entry) in [("vdi-metrics-by-namespace", by_namespace), ("vdi-metrics-by-pod", by_pod)] {
        let binding = &object("ValidatingAdmissionPolicyBinding", binding)["spec"];
        assert_eq!(binding["policyName"], "vdi-metrics");
        assert_eq!(binding["validationActions"], json!(["Warn", "Audit"]), "it refuses nothing");
        let chosen = |selector: &str| {
            let expressions = binding["matchResources"][selector]["matchExpressions"].as_array();
            let of_all = list(&guard["matchConstraints"][selector]["matchExpressions"]);
            [expressions.map_or(&[][..], Vec::as_slice), of_all].concat()
        };
        assert_eq!(chosen("namespaceSelector"), list(&entry["namespaceSelector"]["matchExpressions"]));
        assert_eq!(binding["matchResources"]["objectSelector"], entry["objectSelector"]);
    }
}

#[test]
fn the_guard_says_what_is_missing_in_one_line() {
    let guard = &object("ValidatingAdmissionPolicy", "vdi-metrics")["spec"];
    let container = format!("c.?name.orValue('') == '{}'", contract::CONTAINER);
    let variables = list(&guard["variables"]).iter().map(|variable| text(&variable["expression"]));
    assert!(variables.into_iter().all(|expression| expression.contains(&container)));
    for validation in list(&guard["validations"]) {
        let message = text(&validation["message"]);
        assert!(message.starts_with("vdi-metrics: ") && message.chars().count() <= 120, "{message}");
    }
    let label = format!("object.metadata.?labels[?'{}'].orValue('') == 'true'", key::INJECTED);
    let expressions = list(&guard["validations"]).iter().map(|validation| text(&validation["expression"]));
    assert!(expressions.into_iter().any(|expression| expression.ends_with(&label)));
}

#[test]
fn monitors_find_what_they_are_for() {
    let common = common_labels();
    for (monitor, service) in
        [("vdi-metrics-server", "vdi-metrics-webhook"), ("vdi-metrics-sessions", "vdi-metrics-sessions")]
    {
        let (monitor, service) = (object("ServiceMonitor", monitor), object("Service", service));
        let mut labels = common.clone();
        labels.as_object_mut().unwrap().extend(service["metadata"]["labels"].as_object().unwrap().clone());
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value);
        }
        let endpoint = &monitor["spec"]["endpoints"][0];
        assert!(list(&service["spec"]["ports"]).iter().any(|port| port["name"] == endpoint["port"]));
        assert_eq!(endpoint["path"], contract::METRICS_PATH);
        assert_eq!(monitor["spec"]["serviceDiscoveryRole"], "EndpointSlice");
    }
    let release = &yaml("manifests/monitoring/kustomization.yaml")[0]["labels"][0]["pairs"];
    assert_eq!(release, &json!({"release": "prometheus"}));
}

#[test]
fn the_headless_service_selects_what_admission_marks() {
    let spec = &object("Service", "vdi-metrics-sessions")["spec"];
    assert_eq!(spec["selector"], json!({(key::INJECTED): "true"}));
    assert_eq!((&spec["clusterIP"], &spec["publishNotReadyAddresses"]), (&json!("None"), &json!(true)));
    assert_eq!(
        spec["ports"],
        json!([{"name": "metrics", "port": contract::PORT, "targetPort": contract::CONTAINER}])
    );
    let demo = object("Namespace", "vdi-metrics-demo");
    assert_eq!(demo["metadata"]["labels"][key::INJECT], key::ENABLED);
    assert_eq!(yaml("manifests/demo/kustomization.yaml")[0]["namespace"], demo["metadata"]["name"]);
}

#[test]
fn the_certificate_is_for_the_service_and_in_the_secret_that_all_use() {
    let script = read("certs/self-signed.sh");
    let service = object("Service", "vdi-metrics-webhook");
    let (name, namespace) = (text(&service["metadata"]["name"]), text(&service["metadata"]["namespace"]));
    let tls = &object("ServiceMonitor", "vdi-metrics-server")["spec"]["endpoints"][0]["tlsConfig"];
    assert_eq!(tls["serverName"], format!("{name}.{namespace}.svc"));
    let volume = &object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"]["volumes"][0];
    let secret = text(&volume["secret"]["secretName"]);
    assert_eq!(tls["ca"]["secret"], json!({"name": secret, "key": "ca.crt"}));
    let configuration = object("MutatingWebhookConfiguration", "vdi-metrics");
    let entries: Vec<_> = list(&configuration["webhooks"]).iter().map(|entry| text(&entry["name"])).collect();
    for line in [
        format!("namespace={namespace}"),
        format!("service={name}"),
        format!("secret={secret}"),
        format!("configuration={}", text(&configuration["metadata"]["name"])),
        format!("entries=({})", entries.join(" ")),
    ] {
        assert!(script.lines().any(|found| found == line), "certs/self-signed.sh has no line {line}");
    }
}

// === images ===

#[test]
fn each_image_is_its_program_alone_with_its_own_feature() {
    let dockerfile = read("Dockerfile").replace("\\\n", " ");
    for (image, program, feature, profile) in [
        ("server", "vdi-metrics", "webhook", "--release"),
        ("sidecar", "vdi-metrics-sidecar", "sidecar", "--profile sidecar"),
    ] {
        let build = format!("{profile} --no-default-features --features {feature} --bin {program} ");
        assert!(dockerfile.contains(&build), "{build}");
        let stage = dockerfile
            .split("\nFROM ")
            .find(|stage| stage.starts_with(&format!("scratch AS {image}\n")))
            .unwrap();
        let last: Vec<_> = stage.trim_end().lines().rev().take(3).collect();
        assert_eq!(
            last,
            [
                &format!("ENTRYPOINT [\"/{program}\"]"),
                "USER 65532:65532",
                &format!("COPY --from={image}-files /rootfs /")
            ]
        );
        assert!(stage.contains(&format!("org.opencontainers.image.version=\"{VERSION}\"")));
        let list = read(&format!("images/{image}.list"));
        assert!(list.lines().any(|line| line == format!("program {program}")));
        assert!(list.lines().any(|line| line == "loader"));
    }
    let toolchain = read("rust-toolchain.toml");
    let version = dockerfile.split("ARG RUST=").nth(1).and_then(|rest| rest.split('-').next()).unwrap();
    assert!(toolchain.contains(&format!("\"{version}\"")), "the Dockerfile builds with Rust {version}");
}

// === dashboards and rules ===

#[test]
fn dashboards_keep_to_the_linters_rules() {
    for (path, dashboard) in dashboards() {
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!(dashboard["uid"], *name, "the address of a dashboard stays");
        assert_eq!(
            (&dashboard["id"], &dashboard["editable"], &dashboard["schemaVersion"]),
            (&Value::Null, &json!(false), &json!(42))
        );
        let content = read(&path.to_string_lossy());
        assert!(
            !content.contains("__inputs") && !content.contains("${DS_"),
            "provisioning does not resolve inputs"
        );
        let variables = list(&dashboard["templating"]["list"]);
        assert_eq!(
            (&variables[0]["name"], &variables[0]["label"], &variables[0]["query"]),
            (&json!("datasource"), &json!("Data source"), &json!("prometheus"))
        );
        for variable in &variables[1..] {
            assert_eq!(
                (&variable["refresh"], &variable["includeAll"], &variable["multi"]),
                (&json!(2), &json!(true), &json!(true)),
                "{}",
                variable["name"]
            );
            assert!(
                text(&variable["allValue"]).starts_with('.')
                    && variable["datasource"]["uid"] == "${datasource}"
            );
            assert_eq!(variable["query"]["query"], variable["definition"]);
        }
        let cluster = variables.iter().find(|variable| variable["name"] == "cluster").unwrap();
        assert_eq!(
            (&cluster["hide"], &cluster["allValue"]),
            (&json!(2), &json!(".*")),
            "series without the label match too"
        );
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = text(&panel["title"]);
            assert!(!title.is_empty() && text(&panel["description"]).ends_with('.'), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: unit");
            assert!(ids.insert(panel["id"].as_u64().unwrap()) && panel["type"] != "graph", "{title}");
            let targets = list(&panel["targets"]);
            assert!(!targets.is_empty(), "{title}");
            for target in targets.iter().chain([panel]) {
                assert_eq!(
                    target["datasource"],
                    json!({"type": "prometheus", "uid": "${datasource}"}),
                    "{title}"
                );
            }
            for query in targets.iter().map(|target| text(&target["expr"])) {
                assert_eq!(
                    query.matches('[').count(),
                    query.matches("[$__rate_interval]").count(),
                    "{title}"
                );
                assert_eq!(
                    query.contains("_bucket") || query.contains("_total["),
                    query.contains("increase(") || query.contains("rate("),
                    "{title}"
                );
            }
        }
    }
}

#[test]
fn the_dashboard_has_the_promised_panels() {
    let (_, dashboard) = dashboards().remove(0);
    let titles: Vec<_> = list(&dashboard["panels"]).iter().map(|panel| text(&panel["title"])).collect();
    assert_eq!(
        titles,
        ["Active Sessions", "Sessions by Template", "GPU Utilization", "Session P95 Duration"]
    );
}

#[test]
fn every_metric_and_label_that_is_asked_for_exists() {
    let known = metrics();
    for (place, query) in queries() {
        let selectors = selectors(&query);
        for label in grouped(&query) {
            let is_made = query.contains(&format!("\"{label}\", \"$1\""));
            assert!(is_made || known.values().any(|own| own.contains(&label)), "{place}: nobody has {label}");
        }
        assert!(!selectors.is_empty(), "{place}: no metric in {query}");
        for (metric, labels) in selectors {
            let Some(own) = known.get(&metric) else { panic!("{place}: nobody exposes {metric}") };
            for label in labels {
                assert!(own.contains(&label), "{place}: {metric} has no label {label} to choose sessions by");
            }
        }
    }
}

#[test]
fn alerts_say_what_to_do() {
    let tests = read("tests/rules/VDISessionFailures.yaml");
    for rule in alerts() {
        let name = text(&rule["alert"]);
        assert!(name.starts_with("VDI"), "{name}");
        assert!(["critical", "warning", "info"].contains(&text(&rule["labels"]["severity"])), "{name}");
        assert!(rule["for"].is_string(), "{name}: slack");
        assert!(
            [">", "<", "=="].iter().any(|comparison| text(&rule["expr"]).contains(comparison)),
            "{name}: compares nothing"
        );
        let annotations = &rule["annotations"];
        let summary = text(&annotations["summary"]);
        assert!(
            summary.ends_with('.') && !summary.contains("{{"),
            "{name}: the summary is one static sentence"
        );
        assert!(text(&annotations["description"]).contains("{{"), "{name}: the description says which");
        assert_eq!(annotations["runbook"], format!("docs/runbooks/{name}.md"));
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        let headings: Vec<_> = runbook.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            headings,
            [&format!("# {name}"), "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
        );
        assert!(tests.contains(&format!("alertname: {name}")), "{name} has no test");
    }
    assert!(alerts().iter().any(|rule| rule["alert"] == "VDISessionFailures"));
}

/// Every query of dashboards, alerts and the page on GPUs, with where it stands. A variable's `label_values(METRIC, LABEL)` counts as METRIC.
fn queries() -> Vec<(String, String)> {
    let mut queries = vec![];
    for (path, dashboard) in dashboards() {
        let mut add = |at: &Value, query: &str| {
            queries.push((format!("{}: {}", path.display(), text(at)), query.to_owned()))
        };
        for variable in &list(&dashboard["templating"]["list"])[1..] {
            let query = text(&variable["definition"]).strip_prefix("label_values(").unwrap();
            add(&variable["name"], query.rsplit_once(',').unwrap().0);
        }
        for panel in list(&dashboard["panels"]) {
            list(&panel["targets"]).iter().for_each(|target| add(&panel["title"], text(&target["expr"])));
        }
    }
    let page = read("docs/gpu.md");
    let recipes = page.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap().trim());
    queries.extend(recipes.map(|query| ("docs/gpu.md".to_owned(), query.to_owned())));
    queries.extend(
        alerts().iter().map(|rule| (text(&rule["alert"]).to_owned(), text(&rule["expr"]).to_owned())),
    );
    queries
}

/// Every series' name, and the labels that a query may choose by. The server's own `namespace` and `pod` are not those of
/// sessions, so they are not among its.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    let mut add = |name: &str, labels: Vec<&str>| {
        metrics.insert(name.to_owned(), labels.into_iter().map(str::to_owned).collect())
    };
    for Row { name, labels, .. } in CATALOGUE {
        add(name, [*labels, &["cluster", "namespace", "pod"]].concat());
    }
    let families = read("src/sessions/metrics.rs");
    let mut found = 0;
    for family in families.split("    Family {\n").skip(1) {
        let field = |name: &str| {
            family.split(&format!("        {name}: ")).nth(1).unwrap().split(",\n").next().unwrap()
        };
        let labels = field("labels").split('"').skip(1).step_by(2).chain(["cluster"]).collect::<Vec<_>>();
        let name = field("name").trim_matches('"');
        found += 1;
        match field("kind") {
            "MetricType::HISTOGRAM" => {
                add(&format!("{name}_bucket"), [labels, vec!["le"]].concat());
            }
            _ => {
                add(name, labels);
            }
        }
    }
    assert_eq!(found, 3, "the server's families are written otherwise: read them otherwise");
    add("DCGM_FI_DEV_GPU_UTIL", vec!["cluster", "UUID"]);
    metrics
}

/// The selectors of a PromQL expression: metric and the labels in its braces.
fn selectors(query: &str) -> Vec<(String, Vec<String>)> {
    // What stands in quotes is nothing here.
    let query: String = query.split('"').step_by(2).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut rest, mut found) = (query.as_str(), vec![]);
    while let Some(start) = rest.find(|c: char| is_word(c) || c == '[') {
        rest = &rest[start..];
        if rest.starts_with('[') {
            rest = rest.split_once(']').unwrap().1;
            continue;
        }
        let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        rest = after.trim_start();
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word) {
            rest = rest.strip_prefix('(').map_or(rest, |list| list.split_once(')').unwrap().1);
        } else if let Some(braces) = rest.strip_prefix('{') {
            let (labels, after) = braces.split_once('}').unwrap();
            let label =
                |matcher: &str| matcher.trim().split(|c| !is_word(c)).next().unwrap_or_default().to_owned();
            found.push((word.to_owned(), labels.split(',').map(label).collect()));
            rest = after;
        } else if word.contains('_') && !rest.starts_with('(') {
            found.push((word.to_owned(), vec![]));
        }
    }
    found
}

/// The labels by which a PromQL expression groups and joins.
fn grouped(query: &str) -> Vec<String> {
    let lists = ["by (", "without (", "on (", "ignoring (", "group_left (", "group_right ("];
    let starts = lists.into_iter().flat_map(|list| query.split(list).skip(1));
    let labels = starts.flat_map(|rest| rest.split(')').next().unwrap_or_default().split(','));
    labels.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
}

#[test]
fn selectors_are_read_out_of_promql() {
    let query = r#"max by (le) (rate(a_total{x=~"$y", z="{b_c}"}[5m])) * on (d_e) group_left () f_g / 100 > 0.5 and h{i="j"}"#;
    let pair =
        |metric: &str, labels: &[&str]| (metric.to_owned(), labels.iter().map(ToString::to_string).collect());
    assert_eq!(selectors(query), [pair("a_total", &["x", "z"]), pair("f_g", &[]), pair("h", &["i"])]);
    assert_eq!(grouped(query), ["le", "d_e"]);
}

// === reading ===

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, relative to the root.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| {
        let path = path.strip_prefix(root()).unwrap().to_owned();
        if path.is_dir() { files(&path.to_string_lossy()) } else { vec![path] }
    });
    below.collect()
}

/// Follows one kustomization, as kustomize does but for the transformers: objects as they are written, and what was read.
fn build(folder: &str, objects: &mut Vec<Value>, used: &mut BTreeSet<PathBuf>) {
    let file = format!("{folder}/kustomization.yaml");
    let again = !used.insert(file.clone().into());
    let kustomization = yaml(&file).remove(0);
    let at = |name: &Value| match text(name).strip_prefix("../") {
        Some(name) => Path::new(folder).parent().unwrap().join(name),
        None => Path::new(folder).join(text(name)),
    };
    let resources = kustomization["resources"].as_array().into_iter().flatten();
    for path in resources.chain(kustomization["components"].as_array().into_iter().flatten()).map(at) {
        match root().join(&path).is_dir() {
            true => build(&path.to_string_lossy(), objects, used),
            false => {
                if !again {
                    objects.extend(yaml(&path.to_string_lossy()));
                }
                used.insert(path);
            }
        }
    }
    for generator in kustomization["configMapGenerator"].as_array().into_iter().flatten() {
        for path in list(&generator["files"]).iter().map(at) {
            assert!(root().join(&path).is_file(), "{file}: {}", path.display());
            used.insert(path);
        }
    }
}

fn objects() -> Vec<Value> {
    let mut objects = vec![];
    build("manifests", &mut objects, &mut BTreeSet::new());
    objects
}

fn object(kind: &str, name: &str) -> Value {
    let found =
        objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in manifests"))
}

fn common_labels() -> Value {
    yaml("manifests/labels/kustomization.yaml")[0]["labels"][0]["pairs"].clone()
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let files = files("dashboards").into_iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
    files.map(|path| (path.clone(), serde_json::from_str(&read(&path.to_string_lossy())).unwrap())).collect()
}

fn alerts() -> Vec<Value> {
    let rules = object("PrometheusRule", "vdi-metrics");
    list(&rules["spec"]["groups"]).iter().flat_map(|group| list(&group["rules"])).cloned().collect()
}

/// What `serve` takes where a flag is not given.
fn default_of(flag: &str) -> String {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let argument = serve.get_arguments().find(|argument| argument.get_id() == flag).unwrap();
    argument.get_default_values()[0].to_string_lossy().into_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
