//! `docs/cli.md` names every verb, option and exit code of the program.

use vdi_metrics::admission::SkipReason;

use super::program::{folder, pipe, read};

#[test]
fn the_documentation_names_every_verb_option_and_exit_code() {
    let documentation = read(&folder("docs/cli.md"));
    for verb in ["serve", "inject", "uninject", "explain", "render", "completions"] {
        let help = pipe(&[verb, "--help"], "");
        assert!(documentation.contains(&format!("## `vdi-metrics {verb}")), "{verb}");
        assert!(!help.contains("[default: ]") && !help.contains(r#"[default: ""]"#), "{verb}: {help}");
        for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_matches(|c: char| c != '-' && !c.is_ascii_alphabetic());
            assert!(documentation.contains(option), "{verb} {option}");
        }
    }
    for reason in [SkipReason::HostNetwork, SkipReason::NameTaken] {
        assert!(documentation.contains(reason.as_str()));
    }
    assert!((0..4).all(|code| documentation.contains(&format!("| {code} |"))));
}
