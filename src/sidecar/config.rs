//! The sidecar's configuration, read from its environment. No other file of the sidecar reads the environment.
//!
//! An invalid value is logged and replaced by the default. It never stops the sidecar, because the sidecar runs in a user's
//! desktop pod.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::attribution::ClaimKind;
use crate::{
    contract::{self, ALLOWED_INTERVAL_SECONDS, GpuRequest, env},
    presence::Ports,
    runtime::log::Level,
};

/// Configuration of the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address and port of `/metrics`.
    pub listen: SocketAddr,
    /// Time between two polls.
    pub interval: Duration,
    /// Names of the session.
    pub session: SessionNames,
    /// The GPU request of the pod; none if it is unknown to the sidecar.
    pub request: Option<GpuRequest>,
    /// Kind of the desktop's resource claims; none if the sidecar does not share them.
    pub claim: Option<ClaimKind>,
    /// Whether the sidecar exposes all devices of the node if no device can be attributed to the session.
    pub node_totals: bool,
    /// Number of the pod's containers, including init and sidecar containers.
    pub containers: usize,
    /// Which connections to the desktop are viewers; none if the sidecar must not read the connections.
    pub presence: Option<Ports>,
    /// Root folder of the container's files.
    pub root: PathBuf,
    /// Path of the NVML library; none if the sidecar searches for the library.
    pub nvml_library: Option<PathBuf>,
    /// Events of this level and above are logged.
    pub log: Level,
}

/// Names of the session, from the pod's labels and annotations. A name is empty if the pod does not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionNames {
    /// Name of the session.
    pub name: String,
    /// Template that the session was created from.
    pub template: String,
    /// Pool that the session belongs to.
    pub pool: String,
    /// User of the session; also empty if `showUser` is false.
    pub user: String,
}

/// A variable with an invalid value, which was replaced by the default.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidVariable {
    variable: &'static str,
    value: String,
    remedy: &'static str,
}

/// Values of [`env::GPU_ACCESS`].
const CLAIM_KINDS: [(&str, ClaimKind); 2] = [("claims", ClaimKind::Own), ("named-claims", ClaimKind::Named)];

/// Values of [`env::PRESENCE`], each with whether the sidecar reads the connections.
const PRESENCE_VALUES: [(&str, bool); 2] = [("auto", true), ("off", false)];

/// Minimum interval in seconds if [`env::NVML_LIBRARY`] is set. Such a library is not the driver of a shared card. It is the
/// fake driver of a test, and a test must not wait 5 s for a poll.
const MIN_INTERVAL_OF_NAMED_LIBRARY: f64 = 0.01;

struct EnvironmentReader<L> {
    lookup: L,
    invalid: Vec<InvalidVariable>,
}

// === impl Config ===

impl Config {
    /// Reads the environment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the only function that reads the environment")]
    pub fn from_env() -> (Self, Vec<InvalidVariable>) {
        Self::read(|variable| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
    }

    fn read(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<InvalidVariable>) {
        let mut reader = EnvironmentReader { lookup, invalid: Vec::new() };
        let nvml_library = reader.text(env::NVML_LIBRARY).map(PathBuf::from);
        let shortest = if nvml_library.is_some() {
            MIN_INTERVAL_OF_NAMED_LIBRARY
        } else {
            *ALLOWED_INTERVAL_SECONDS.start() as f64
        };
        let listen = reader
            .value(env::LISTEN, "use an address and a port, such as `[::]:9478`", |text| text.parse().ok())
            .unwrap_or_else(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, contract::PORT)));
        let config = Self {
            listen,
            interval: reader
                .value(env::INTERVAL, "use a number of seconds from 5 to 300", |text| {
                    interval(text, shortest)
                })
                .unwrap_or(Duration::from_secs(contract::INTERVAL_SECONDS)),
            session: SessionNames {
                name: reader.name(env::SESSION),
                template: reader.name(env::TEMPLATE),
                pool: reader.name(env::POOL),
                user: reader.name(env::USER),
            },
            request: reader.value(
                env::GPU_REQUEST,
                "use `device`, `part`, `claims` or `none`, or remove the variable",
                GpuRequest::parse,
            ),
            claim: reader.value(
                env::GPU_ACCESS,
                "use `claims` or `named-claims`, or remove the variable",
                |text| CLAIM_KINDS.into_iter().find(|(value, _)| *value == text).map(|(_, claim)| claim),
            ),
            node_totals: reader.flag(env::NODE_TOTALS),
            containers: reader
                .value(env::CONTAINERS, "use the number of the pod's containers", |text| text.parse().ok())
                .unwrap_or(2),
            presence: reader.presence(listen.port()),
            root: reader.text(env::ROOT).map_or_else(|| PathBuf::from("/"), PathBuf::from),
            nvml_library,
            log: reader
                .value(env::LOG, "use `error`, `warn`, `info`, `debug` or `trace`", |text| text.parse().ok())
                .unwrap_or(Level::INFO),
        };
        (config, reader.invalid)
    }
}

fn interval(text: &str, shortest: f64) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (shortest..=*ALLOWED_INTERVAL_SECONDS.end() as f64)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

// === impl EnvironmentReader ===

impl<L: Fn(&str) -> Option<String>> EnvironmentReader<L> {
    /// The value of a variable; none if it is absent or empty. A downward-API reference to a missing label gives an empty value.
    fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// A name as it is exposed; empty if the variable is absent.
    fn name(&self, variable: &str) -> String {
        let value = self.text(variable).unwrap_or_default();
        contract::shown_name(&value).unwrap_or_default().to_owned()
    }

    /// Whether a variable is `all`. No other value is valid.
    fn flag(&mut self, variable: &'static str) -> bool {
        self.value(variable, "use `all`, or remove the variable", |text| (text == "all").then_some(()))
            .is_some()
    }

    /// Which connections are viewers; none if presence is switched off.
    fn presence(&mut self, own: u16) -> Option<Ports> {
        let remedy = "use `auto` or `off`, or remove the variable";
        let is_on = |text: &str| PRESENCE_VALUES.into_iter().find(|(value, _)| *value == text);
        let is_on = self.value(env::PRESENCE, remedy, is_on).is_none_or(|(_, is_on)| is_on);
        let remedy = "use port numbers from 1 to 65535, separated by commas, or remove the variable";
        let ports =
            |text: &str| text.split(',').map(|port| port.parse().ok().filter(|port| *port > 0)).collect();
        let declared = self.value(env::PORTS, remedy, ports).unwrap_or_default();
        is_on.then_some(Ports { own, declared })
    }

    /// The parsed value of a variable; none if it is absent, empty or invalid. An invalid value is recorded.
    fn value<T>(
        &mut self,
        variable: &'static str,
        remedy: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(variable)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.invalid.push(InvalidVariable { variable, value, remedy });
        }
        parsed
    }
}

// === impl InvalidVariable ===

impl fmt::Display for InvalidVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}: {}. The default is used.", self.variable, self.value, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> (Config, Vec<String>) {
        let (config, invalid) = Config::read(|variable| {
            environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned())
        });
        (config, invalid.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let (config, invalid) = read(&[]);
        assert_eq!(invalid, [""; 0]);
        assert_eq!(config.listen.to_string(), "[::]:9478");
        assert_eq!(config.interval, Duration::from_secs(15));
        assert_eq!(config.session, SessionNames::default());
        assert_eq!((config.nvml_library, config.request, config.log), (None, None, Level::INFO));
        assert_eq!(read(&[(env::LISTEN, ""), (env::INTERVAL, "")]).1, [""; 0]);
    }

    #[test]
    fn every_variable_is_read() {
        let (config, invalid) = read(&[
            (env::LISTEN, "127.0.0.1:0"),
            (env::INTERVAL, "30"),
            (env::SESSION, "alice-1"),
            (env::TEMPLATE, "cad"),
            (env::POOL, "berlin"),
            (env::GPU_REQUEST, "part"),
            (env::LOG, "debug"),
        ]);
        assert_eq!(invalid, [""; 0]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.interval, Duration::from_secs(30));
        assert_eq!(
            config.session,
            SessionNames {
                name: "alice-1".into(),
                template: "cad".into(),
                pool: "berlin".into(),
                user: String::new(),
            }
        );
        assert_eq!((config.request, config.log), (Some(GpuRequest::Part), Level::DEBUG));
    }

    #[test]
    fn presence_is_on_unless_it_is_switched_off() {
        let ports = |environment: &[(&str, &str)]| read(environment).0.presence;
        let all = Some(Ports { own: 9478, declared: vec![] });
        assert_eq!((ports(&[]), ports(&[(env::PRESENCE, "auto")])), (all.clone(), all));
        assert_eq!(ports(&[(env::PRESENCE, "off"), (env::PORTS, "6901")]), None);
        let declared = ports(&[(env::PORTS, "3000,6901"), (env::LISTEN, "[::]:9500")]);
        assert_eq!(declared, Some(Ports { own: 9500, declared: vec![3000, 6901] }));
        for (variable, value) in
            [(env::PRESENCE, "on"), (env::PORTS, "0"), (env::PORTS, "80,,"), (env::PORTS, "70000")]
        {
            assert_eq!(read(&[(variable, value)]).1.len(), 1, "{variable}={value}");
        }
    }

    #[test]
    fn a_long_name_is_truncated_at_a_character_boundary() {
        let long = "\u{e4}".repeat(200);
        let name = read(&[(env::SESSION, &long)]).0.session.name;
        assert_eq!(name, "\u{e4}".repeat(126));
    }

    #[test]
    fn an_invalid_value_is_reported_and_replaced_by_the_default() {
        let (config, invalid) = read(&[(env::LISTEN, "9478"), (env::INTERVAL, "1"), (env::LOG, "loud")]);
        assert_eq!(config, read(&[]).0);
        assert_eq!(
            invalid,
            [
                r#"VDI_METRICS_LISTEN is "9478": use an address and a port, such as `[::]:9478`. The default is used."#,
                r#"VDI_METRICS_INTERVAL is "1": use a number of seconds from 5 to 300. The default is used."#,
                r#"VDI_METRICS_LOG is "loud": use `error`, `warn`, `info`, `debug` or `trace`. The default is used."#,
            ]
        );
    }

    #[test]
    fn only_a_library_named_by_path_allows_shorter_intervals() {
        let named = (env::NVML_LIBRARY, "/fake.so");
        assert_eq!(read(&[(env::INTERVAL, "0.05"), named]).0.interval, Duration::from_millis(50));
        for bad in ["0", "-1", "NaN", "inf", "301", "0.05s"] {
            assert_eq!(read(&[(env::INTERVAL, bad), named]).1.len(), 1, "{bad}");
        }
    }
}
