//! Reads the selectors and groupings of a PromQL expression.

#[test]
fn selectors_and_groupings_are_read_from_promql() {
    let query = r#"max by (le) (rate(a_total{x=~"$y", z="{b_c}"}[5m])) * on (d_e) group_left () f_g / 100 > 0.5 and h{i="j"}"#;
    let pair =
        |metric: &str, labels: &[&str]| (metric.to_owned(), labels.iter().map(ToString::to_string).collect());
    assert_eq!(selectors(query), [pair("a_total", &["x", "z"]), pair("f_g", &[]), pair("h", &["i"])]);
    assert_eq!(grouped(query), ["le", "d_e"]);
}

/// The selectors of a PromQL expression: metric and the labels in its braces.
pub(super) fn selectors(query: &str) -> Vec<(String, Vec<String>)> {
    // Quoted strings are removed: their content is not PromQL.
    let query: String = query.split('"').step_by(2).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut rest, mut selectors) = (query.as_str(), vec![]);
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
            selectors.push((word.to_owned(), labels.split(',').map(label).collect()));
            rest = after;
        } else if word.contains('_') && !rest.starts_with('(') {
            selectors.push((word.to_owned(), vec![]));
        }
    }
    selectors
}

/// The labels by which a PromQL expression groups and joins.
pub(super) fn grouped(query: &str) -> Vec<String> {
    let lists = ["by (", "without (", "on (", "ignoring (", "group_left (", "group_right ("];
    let starts = lists.into_iter().flat_map(|list| query.split(list).skip(1));
    let labels = starts.flat_map(|rest| rest.split(')').next().unwrap_or_default().split(','));
    labels.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
}
