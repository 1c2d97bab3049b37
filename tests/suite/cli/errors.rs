//! Messages and exit codes for input that the program cannot use.

use super::program::run;

#[test]
fn an_error_names_file_and_line_and_nothing_is_written() {
    let good = "kind: ConfigMap\n---\n";
    for (input, parts) in [
        (
            format!("{good}a: [1, 2\n").into_bytes(),
            vec!["standard input: document 2, line 3, column 4", "bracket"],
        ),
        (
            format!("{good}a: 1\nb: 2\na: 3\n").into_bytes(),
            vec!["document 2, line 5, column 1", "duplicate key \"a\"", "remove one"],
        ),
        (format!("{good}a: *b\n").into_bytes(), vec!["document 2, line 3", "anchor"]),
        (format!("{good}a: &a [*a]\n").into_bytes(), vec!["document 2, line 3", "alias"]),
        (format!("{good}[x]: 1\n").into_bytes(), vec!["document 2, line 3", "the key is a list or a map"]),
        (b"a: \xff\n".to_vec(), vec!["not UTF-8", "save it as UTF-8"]),
        (b"{\"a\": 1}{\"b\": 2}\nc: 3\n".to_vec(), vec!["document 3, line 2, column 1", "not valid JSON"]),
        (format!("{good}a: 1\n--- b\n").into_bytes(), vec!["document 3, line 4", "after ---", "next line"]),
        (format!("{good}a: 1\n...\nb: 2\n").into_bytes(), vec!["document 2, line 5", "separate documents"]),
        (format!("{good}~: 1\n").into_bytes(), vec!["document 2, line 3", "put it in quotes"]),
        (format!("{good}a: .inf\n").into_bytes(), vec!["document 2, line 3, column 4", "put it in quotes"]),
        (format!("{good}a: !!int x\n").into_bytes(), vec!["document 2, line 3", "type of its tag"]),
        (format!("{good}# c\u{2028}a: 1\n").into_bytes(), vec!["line 3, column 4", "U+2028"]),
        (format!("{good}<<: 1\n").into_bytes(), vec!["document 2, line 3", "<< needs a map"]),
        (nested_aliases().into_bytes(), vec!["document 1", "aliases are resolved"]),
    ] {
        for verb in ["inject", "uninject", "explain"] {
            let finished = run(&[verb, "list.json", "-"], &input);
            assert_eq!((finished.code, &*finished.stdout), (1, ""), "{verb}: {}", finished.stderr);
            assert!(
                parts.iter().all(|part| finished.stderr.contains(part)),
                "{parts:?}: {}",
                finished.stderr
            );
            assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        }
    }
    for (arguments, code, message) in [
        (vec!["inject", "none.yaml"], 1, "error: none.yaml: cannot be read"),
        (vec!["inject"], 2, "<FILE>"),
        (vec!["explain", "-f"], 2, "--filename <FILE>"),
        (vec!["inject", "-f", "none.yaml"], 1, "error: none.yaml: cannot be read"),
        (vec!["inject", "-", "-o", "xml"], 2, "json, yaml"),
        (vec!["explain", "-", "--namespace-labels", "x"], 2, "KEY=VALUE"),
        (vec!["explain", "-"], 1, "no pod"),
        (vec!["inject", "-"], 1, "the files contain no object"),
        (vec!["uninject", "-"], 1, "the files contain no object"),
        (
            vec!["inject", ".."],
            1,
            "error: ..: the folder has no .json, .yaml or .yml file; give the paths of the files",
        ),
        (vec!["inject", "http://x/y.yaml"], 1, "http://x/y.yaml: a URL cannot be read; pipe `curl -fsSL"),
        (vec!["explain", "-f", "https://x/y.yaml"], 1, "https://x/y.yaml: a URL cannot be read"),
        (vec!["inject", "-", "-"], 2, "standard input can be read only once; use - once"),
        (vec!["uninject", "-f", "-", "-f", "-"], 2, "standard input can be read only once"),
        (vec!["explain", "-", "list.json", "-f", "-"], 2, "standard input can be read only once"),
        (vec!["inject", "-", "--config", "deployment.yaml"], 1, "deployment.yaml"),
        (vec!["completions", "tcsh"], 2, "bash"),
    ] {
        let finished = run(&arguments, b"");
        assert_eq!((finished.code, &*finished.stdout), (code, ""), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(message), "{arguments:?}: {}", finished.stderr);
    }
}

/// Nine lists, each with nine aliases of the list before: 387 million nodes.
fn nested_aliases() -> String {
    let line = |n: usize| format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 9].join(", "));
    std::iter::once("l0: &l0 ha\n".to_owned()).chain((1..10).map(line)).collect()
}
