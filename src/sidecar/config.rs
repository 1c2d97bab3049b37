//! The environment as a value: the only file of the sidecar that reads it. The sidecar runs in somebody's desktop, so
//! a bad value is named and replaced by the default, never refused.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::attribution::ClaimKind;
use crate::{
    contract::{self, ALLOWED_INTERVAL_SECONDS, MAX_NAME_BYTES, env},
    runtime::log::Level,
};

/// What the sidecar is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of the exposition.
    pub listen: SocketAddr,
    /// Time between two reads of the GPU.
    pub interval: Duration,
    /// Whose desktop this is.
    pub session: Session,
    /// The desktop's resource claims, where what is visible here is visible by them.
    pub claim: Option<ClaimKind>,
    /// Whether devices may be shown that nobody knows to be the session's.
    pub node_totals: bool,
    /// Number of the pod's containers.
    pub containers: usize,
    /// Where the container's files are.
    pub root: PathBuf,
    /// Path of the NVML library instead of the loader's choice.
    pub nvml_library: Option<PathBuf>,
    /// Least severe event that is logged.
    pub log: Level,
}

/// Names of the session, as its pod gives them; empty where it gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The session's own name.
    pub name: String,
    /// What it was made from.
    pub template: String,
    /// What it belongs to.
    pub pool: String,
    /// Whose it is; empty too where the operator does not want that shown.
    pub user: String,
}

/// A value that was replaced by the default.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    variable: &'static str,
    value: String,
    remedy: &'static str,
}

/// The words for the desktop's claims.
const CLAIMS: [(&str, ClaimKind); 2] = [("claims", ClaimKind::Own), ("named-claims", ClaimKind::Named)];

/// A library that was named by path is not the driver of a shared card; tests need not wait 5 s for it.
const FASTEST_OF_NAMED_LIBRARY: f64 = 0.01;

struct Reader<L> {
    lookup: L,
    problems: Vec<Problem>,
}

// === impl Config ===

impl Config {
    /// Reads the environment.
    #[must_use]
    pub fn from_env() -> (Self, Vec<Problem>) {
        Self::read(|variable| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
    }

    fn read(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Problem>) {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let nvml_library = reader.text(env::NVML_LIBRARY).map(PathBuf::from);
        let fastest = if nvml_library.is_some() {
            FASTEST_OF_NAMED_LIBRARY
        } else {
            *ALLOWED_INTERVAL_SECONDS.start() as f64
        };
        let config = Self {
            listen: reader
                .value(env::LISTEN, "give an address and a port, such as `[::]:9478`", |text| {
                    text.parse().ok()
                })
                .unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, contract::PORT).into()),
            interval: reader
                .value(env::INTERVAL, "give seconds from 5 to 300", |text| interval(text, fastest))
                .unwrap_or(Duration::from_secs(contract::INTERVAL_SECONDS)),
            session: Session {
                name: reader.name(env::SESSION),
                template: reader.name(env::TEMPLATE),
                pool: reader.name(env::POOL),
                user: reader.name(env::USER),
            },
            claim: reader.value(env::GPU_ACCESS, "leave it out, or use `claims` or `named-claims`", |text| {
                CLAIMS.into_iter().find(|(word, _)| *word == text).map(|(_, claim)| claim)
            }),
            node_totals: reader.word(env::NODE_TOTALS, "all"),
            containers: reader
                .value(env::CONTAINERS, "give the number of the pod's containers", |text| text.parse().ok())
                .unwrap_or(2),
            root: reader.text(env::ROOT).map_or_else(|| PathBuf::from("/"), PathBuf::from),
            nvml_library,
            log: reader
                .value(env::LOG, "give `error`, `warn`, `info`, `debug` or `trace`", |text| text.parse().ok())
                .unwrap_or(Level::INFO),
        };
        (config, reader.problems)
    }
}

fn interval(text: &str, fastest: f64) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (fastest..=*ALLOWED_INTERVAL_SECONDS.end() as f64)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

// === impl Reader ===

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// An empty value is an absent one: that is what a downward-API reference to a missing label gives.
    fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    fn name(&self, variable: &str) -> String {
        let mut name = self.text(variable).unwrap_or_default();
        name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
        name
    }

    /// A variable that has one meaning or is absent.
    fn word(&mut self, variable: &'static str, word: &'static str) -> bool {
        self.value(variable, "leave it out, or use its one word", |text| (text == word).then_some(()))
            .is_some()
    }

    fn value<T>(
        &mut self,
        variable: &'static str,
        remedy: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(variable)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.problems.push(Problem { variable, value, remedy });
        }
        parsed
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}: {}. Going on with the default.", self.variable, self.value, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> (Config, Vec<String>) {
        let (config, problems) = Config::read(|variable| {
            environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned())
        });
        (config, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_given_is_the_default() {
        let (config, problems) = read(&[]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.listen.to_string(), "[::]:9478");
        assert_eq!(config.interval, Duration::from_secs(15));
        assert_eq!(config.session, Session::default());
        assert_eq!((config.nvml_library, config.log), (None, Level::INFO));
        assert_eq!(read(&[(env::LISTEN, ""), (env::INTERVAL, "")]).1, [""; 0]);
    }

    #[test]
    fn what_is_given_is_taken() {
        let (config, problems) = read(&[
            (env::LISTEN, "127.0.0.1:0"),
            (env::INTERVAL, "30"),
            (env::SESSION, "alice-1"),
            (env::TEMPLATE, "cad"),
            (env::POOL, "berlin"),
            (env::LOG, "debug"),
        ]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.interval, Duration::from_secs(30));
        assert_eq!(
            config.session,
            Session {
                name: "alice-1".into(),
                template: "cad".into(),
                pool: "berlin".into(),
                user: String::new(),
            }
        );
        assert_eq!(config.log, Level::DEBUG);
    }

    #[test]
    fn a_name_is_cut_where_a_character_ends() {
        let long = "\u{e4}".repeat(200);
        let name = read(&[(env::SESSION, &long)]).0.session.name;
        assert_eq!(name, "\u{e4}".repeat(126));
    }

    #[test]
    fn a_bad_value_is_named_and_replaced() {
        let (config, problems) = read(&[(env::LISTEN, "9478"), (env::INTERVAL, "1"), (env::LOG, "loud")]);
        assert_eq!(config, read(&[]).0);
        assert_eq!(
            problems,
            [
                r#"VDI_METRICS_LISTEN is "9478": give an address and a port, such as `[::]:9478`. Going on with the default."#,
                r#"VDI_METRICS_INTERVAL is "1": give seconds from 5 to 300. Going on with the default."#,
                r#"VDI_METRICS_LOG is "loud": give `error`, `warn`, `info`, `debug` or `trace`. Going on with the default."#,
            ]
        );
    }

    #[test]
    fn only_a_library_named_by_path_is_polled_faster() {
        let named = (env::NVML_LIBRARY, "/fake.so");
        assert_eq!(read(&[(env::INTERVAL, "0.05"), named]).0.interval, Duration::from_millis(50));
        for bad in ["0", "-1", "NaN", "inf", "301", "0.05s"] {
            assert_eq!(read(&[(env::INTERVAL, bad), named]).1.len(), 1, "{bad}");
        }
    }
}
