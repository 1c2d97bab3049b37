//! Whether the kubelet restarts a container (`ContainerShouldRestart` of Kubernetes 1.37).

use serde::Deserialize;

/// A rule for exit codes (`restartPolicyRules`, Kubernetes 1.35 and newer). Every action of a rule restarts the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RestartRule {
    exit_codes: Option<ExitCodes>,
}

#[derive(Debug, Clone, Deserialize)]
struct ExitCodes {
    operator: String,
    #[serde(default)]
    values: Vec<i32>,
}

/// Whether the kubelet restarts a container that exits with `code`. `own` is the container's restart policy, `of_pod` the pod's.
/// Rules apply only to a container with a policy of its own.
pub(super) fn restarts(of_pod: &str, own: Option<&str>, rules: &[RestartRule], code: i32) -> bool {
    if own.is_some() && rules.iter().any(|rule| rule.matches(code)) {
        return true;
    }
    match own.unwrap_or(of_pod) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

// === impl RestartRule ===

impl RestartRule {
    fn matches(&self, code: i32) -> bool {
        self.exit_codes.as_ref().is_some_and(|codes| match codes.operator.as_str() {
            "In" => codes.values.contains(&code),
            "NotIn" => !codes.values.contains(&code),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_policy_of_the_container_precedes_the_policy_of_the_pod() {
        for (of_pod, own, after_0, after_1) in [
            ("Always", None, true, true),
            ("OnFailure", None, false, true),
            ("Never", None, false, false),
            ("", None, true, true),
            ("Always", Some("Never"), false, false),
            ("Never", Some("OnFailure"), false, true),
            ("Never", Some("Always"), true, true),
        ] {
            let answer = [0, 1].map(|code| restarts(of_pod, own, &[], code));
            assert_eq!(answer, [after_0, after_1], "{of_pod} {own:?}");
        }
    }

    #[test]
    fn a_rule_for_the_exit_code_precedes_the_policy() {
        let rule = |operator: &str| {
            let rule = json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
            serde_json::from_value::<Vec<RestartRule>>(rule).unwrap()
        };
        for (operator, own, after_42, after_1) in [
            ("In", Some("Never"), true, false),
            ("NotIn", Some("Never"), false, true),
            ("In", None, false, false),
            ("Unknown", Some("Never"), false, false),
        ] {
            let answer = [42, 1].map(|code| restarts("Never", own, &rule(operator), code));
            assert_eq!(answer, [after_42, after_1], "{operator} {own:?}");
        }
    }
}
