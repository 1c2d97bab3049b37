//! Explanations as plain text, JSON or YAML.

use std::fmt;

use super::explanation::{Explanation, SidecarPreview};
use crate::cli::manifest::{Entry, Format, Node, to_yaml, yaml};

/// The explanations in `format`, or as plain text.
pub(super) fn write(explanations: &[Explanation], format: Option<Format>) -> anyhow::Result<String> {
    match format {
        None => {
            let texts: Vec<_> = explanations.iter().map(ToString::to_string).collect();
            Ok(texts.join("\n"))
        }
        Some(Format::Json) => Ok(serde_json::to_string_pretty(explanations)? + "\n"),
        Some(Format::Yaml) => to_yaml(explanations),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, namespace, injected, rule, webhooks, answer, adds, notices, advice } = self;
        let namespace =
            if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") };
        let summary = match (injected, adds) {
            (false, _) => "would not be injected",
            (true, Some(_)) => "would be injected",
            (true, None) => "has the sidecar already",
        };
        writeln!(f, "{object}{namespace}: {summary}")?;
        writeln!(f, "  rule: {rule}")?;
        match webhooks.iter().find(|webhook| webhook.is_called) {
            Some(webhook) => writeln!(f, "  the API server calls the webhook {}", webhook.name)?,
            None if *injected => {}
            None => {
                for webhook in webhooks {
                    writeln!(f, "  the API server does not call the webhook {}:", webhook.name)?;
                    webhook.obstacles.iter().try_for_each(|obstacle| writeln!(f, "    {obstacle}"))?;
                }
                writeln!(f, "  if the API server called it, the webhook would answer: {answer}")?;
            }
        }
        notices.iter().try_for_each(|notice| writeln!(f, "  warning: {notice}"))?;
        advice.iter().try_for_each(|advice| writeln!(f, "  advice: {advice}"))?;
        adds.as_ref().map_or(Ok(()), |adds| write!(f, "{adds}"))
    }
}

impl fmt::Display for SidecarPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, resources, identity, pull_secrets, container, volume } = self;
        writeln!(f, "  port: {port}")?;
        for kind in ["requests", "limits"] {
            let amounts = resources.as_ref().and_then(|resources| resources.get(kind)?.entries());
            let amount =
                |Entry { key, value, .. }: &Entry| format!("{key} {}", value.as_str().unwrap_or_default());
            let amounts: Vec<_> = amounts.unwrap_or_default().iter().map(amount).collect();
            writeln!(
                f,
                "  {kind}: {}",
                if amounts.is_empty() { "none".to_owned() } else { amounts.join(", ") }
            )?;
        }
        for (variable, field) in identity {
            writeln!(f, "  identity: {variable} from {field}")?;
        }
        if identity.is_empty() {
            writeln!(
                f,
                "  identity: none; no label or annotation of the pod names its session, template, user or pool"
            )?;
        }
        if !pull_secrets.is_empty() {
            writeln!(f, "  pull secrets: {}", pull_secrets.join(", "))?;
        }
        indented(f, "container", container)?;
        volume.as_ref().map_or(Ok(()), |volume| indented(f, "volume", volume))
    }
}

fn indented(f: &mut fmt::Formatter<'_>, title: &str, node: &Node) -> fmt::Result {
    writeln!(f, "  {title}:")?;
    yaml(node).lines().try_for_each(|line| writeln!(f, "    {line}"))
}
