//! Every manifest of `tests/cli` with the recorded output of each verb.

use std::{collections::BTreeSet, fs};

use vdi_metrics::admission::{Injector, Settings};

use super::program::{Finished, files, read, run};

#[test]
fn every_manifest_gives_its_golden_output_and_report() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut expected = BTreeSet::new();
    for input in files("tests/cli", false) {
        let text = read(&input);
        let options = text.lines().next().unwrap().strip_prefix("# explain: ").unwrap_or_default();
        let explain: Vec<_> = ["explain", "-"].into_iter().chain(options.split_whitespace()).collect();
        for (verb, arguments) in
            [("inject", vec!["inject", "-"]), ("uninject", vec!["uninject", "-"]), ("explain", explain)]
        {
            let Finished { code, stdout, stderr } = run(&arguments, text.as_bytes());
            let report: String = stderr.lines().map(|line| format!("# {line}\n")).collect();
            let golden = input.with_extension(format!("{verb}.golden.txt"));
            let hash = Injector::new(Settings::default()).hash().to_owned();
            let actual = format!("# exit {code}\n{report}{stdout}").replace(&hash, "HASH");
            if bless {
                fs::write(&golden, &actual).unwrap();
            }
            let recorded = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(actual, recorded, "{} differs; BLESS=1 rewrites it", golden.display());
            expected.insert(golden);
        }
    }
    let stale: Vec<_> =
        files("tests/cli", true).into_iter().filter(|path| !expected.contains(path)).collect();
    assert!(stale.is_empty(), "golden files without a manifest: {stale:?}");
}
