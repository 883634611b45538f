//! The configuration file: YAML with a section for each part. What it leaves out has the defaults of the documentation.

use std::{
    fs::File,
    io::Read as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use stead_apiserver::ExternalRange;
use stead_dataplane::Mode;
use stead_lab::Ranges;
use stead_node::DEFAULT_IMAGE_DIR;

use crate::{
    args::ServiceArgs,
    proxy::{said::Said, table::row_of},
};

/// How large the file may be.
const MAX_BYTES: u64 = 1 << 20;

/// The whole file. Unknown fields are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Config {
    pub(crate) lab: LabSection,
    pub(crate) server: ServerSection,
    pub(crate) node: NodeSection,
    /// Flags of `stead proxy`, as `healthzBindAddress` for `--healthz-bind-address`.
    pub(crate) proxy: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct LabSection {
    /// 1 to 99.
    pub(crate) nodes: usize,
    /// The link all hosts share: IPv4 of /24 or larger, then IPv6 of /64 or larger.
    pub(crate) fabric: Vec<IpNet>,
    /// TCP port on 127.0.0.1 that kubectl uses; 0 takes any that is free.
    pub(crate) host_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ServerSection {
    /// What virtual IPs come from; the first range's family is the default of Services.
    pub(crate) service_ranges: Vec<IpNet>,
    pub(crate) pod_ranges: Vec<IpNet>,
    /// `FIRST-LAST`.
    pub(crate) node_ports: PortRange,
    /// `CIDR` or `CIDR@NAMESPACE` each: what `externalIPs` of Services may name. Left out, a lab opens its fabric and others nothing.
    #[serde(rename = "allowExternalIPs")]
    pub(crate) allow_external_ips: Option<Vec<ExternalRange>>,
    pub(crate) cluster_domain: ClusterDomain,
    /// Whether there is a Service `kubernetes-ro`.
    pub(crate) read_only_service: bool,
    pub(crate) max_endpoints_per_slice: EndpointsPerSlice,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct NodeSection {
    /// The machine's image store.
    #[serde(deserialize_with = "directory")]
    pub(crate) images: PathBuf,
    /// Ranges of the nodes' own addresses: pods' traffic there keeps its source. A lab fills in its machines.
    pub(crate) node_ranges: Vec<IpNet>,
}

/// The most endpoints that the controller puts into one EndpointSlice: 1 to 1000, as many as the API takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub(crate) struct EndpointsPerSlice(u16);

/// What the names of Services end with: an RFC 1123 subdomain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ClusterDomain(String);

/// Ports `FIRST-LAST`, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PortRange(pub(crate) RangeInclusive<u16>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("--config {path} cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("--config {path}: {problem}")]
    Malformed { path: PathBuf, problem: String },
}

impl Default for LabSection {
    fn default() -> Self {
        Self { nodes: 2, fabric: Ranges::default().fabric, host_port: 0 }
    }
}

impl Default for ServerSection {
    fn default() -> Self {
        let Ranges { pods, services, .. } = Ranges::default();
        Self {
            service_ranges: services,
            pod_ranges: pods,
            node_ports: PortRange(30000..=32767),
            allow_external_ips: None,
            cluster_domain: ClusterDomain::default(),
            read_only_service: false,
            max_endpoints_per_slice: EndpointsPerSlice::default(),
        }
    }
}

impl Default for NodeSection {
    fn default() -> Self {
        Self { images: DEFAULT_IMAGE_DIR.into(), node_ranges: Vec::new() }
    }
}

impl Config {
    /// Takes over what the command line says of the proxy.
    pub(crate) fn set_proxy_mode(&mut self, mode: Option<Mode>) {
        if let Some(mode) = mode {
            let said = self.proxy.say(row_of("proxy-mode"), mode.name().to_owned());
            debug_assert!(said.is_ok(), "each mode's name may be said");
        }
    }
}

impl ServerSection {
    /// Takes over what the command line says.
    pub(crate) fn set(&mut self, args: &ServiceArgs) {
        if let Some(ranges) = &args.service_cluster_ip_range {
            self.service_ranges.clone_from(ranges);
        }
        if let Some(ports) = &args.service_node_port_range {
            self.node_ports = ports.clone();
        }
        if args.allow_external_ips.is_some() {
            self.allow_external_ips.clone_from(&args.allow_external_ips);
        }
        self.read_only_service |= args.read_only_service;
        self.max_endpoints_per_slice = args.max_endpoints_per_slice.unwrap_or(self.max_endpoints_per_slice);
    }
}

impl Default for EndpointsPerSlice {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for EndpointsPerSlice {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        match number {
            1..=1000 => Ok(Self(number)),
            _ => Err(format!("{number} is not in the range 1-1000")),
        }
    }
}

impl FromStr for EndpointsPerSlice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u16>().map_err(|error| error.to_string())?.try_into()
    }
}

impl From<EndpointsPerSlice> for u16 {
    fn from(number: EndpointsPerSlice) -> Self {
        number.0
    }
}

impl Default for ClusterDomain {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl TryFrom<String> for ClusterDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match stead_api::names::dns1123_subdomain(&text).first() {
            None => Ok(Self(text)),
            Some(problem) => Err(format!("{text:?} is no domain: {problem}")),
        }
    }
}

impl From<ClusterDomain> for String {
    fn from(domain: ClusterDomain) -> Self {
        domain.0
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// `first-last`, `first+more` or one port alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let number = |text: &str| text.parse::<u16>().ok();
        let ports = if let Some((first, last)) = text.split_once('-') {
            number(first).zip(number(last))
        } else if let Some((first, more)) = text.split_once('+') {
            number(first).zip(number(more)).and_then(|(first, more)| Some((first, first.checked_add(more)?)))
        } else {
            number(text).map(|port| (port, port))
        };
        match ports.map(|(first, last)| first..=last) {
            Some(ports) if *ports.start() > 0 && ports.start() <= ports.end() => Ok(Self(ports)),
            _ => Err(format!("{text:?} is no range of ports such as 30000-32767 or 30000+2767")),
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        format!("{}-{}", range.0.start(), range.0.end())
    }
}

impl Config {
    /// The file's content, or the defaults where no file is named.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        Self::from_value(read_yaml(path)?).map_err(|problem| ConfigError::Malformed { path: path.to_owned(), problem })
    }

    /// Reads what [`read_yaml`] has read; the error names the field.
    pub(crate) fn from_value(mut value: Value) -> Result<Self, String> {
        match &mut value {
            Value::Null => return Ok(Self::default()),
            Value::Object(sections) => sections.retain(|_, section| !section.is_null()),
            _ => {}
        }
        serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
    }

    /// The ranges a lab is made of.
    pub(crate) fn ranges(&self) -> Ranges {
        Ranges {
            fabric: self.lab.fabric.clone(),
            pods: self.server.pod_ranges.clone(),
            services: self.server.service_ranges.clone(),
        }
    }
}

fn directory<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.as_os_str().is_empty() {
        return Err(D::Error::custom("\"\" is no directory"));
    }
    Ok(path)
}

/// A configuration file as it stands; null where it says nothing.
pub(crate) fn read_yaml(path: &Path) -> Result<Value, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(unreadable)?;
    let malformed = |problem| ConfigError::Malformed { path: path.to_owned(), problem };
    if text.len() as u64 > MAX_BYTES {
        return Err(malformed("it has more than 1 MiB".to_owned()));
    }
    parse_yaml(&text).map_err(malformed)
}

pub(crate) fn parse_yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // What follows the first clause is advice to programmers.
        let text = error.to_string().replace('\n', " ");
        format!("no YAML: {}", text.split(", set ").next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    impl Config {
        fn parse(text: &str) -> Result<Self, String> {
            parse_yaml(text).and_then(Self::from_value)
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(Config::parse("lab:\n").unwrap(), Config::default());
        let config = Config::parse("lab:\n  nodes: 3\nserver:\n  nodePorts: 20000-40000\n").unwrap();
        assert_eq!(config.lab, LabSection { nodes: 3, ..LabSection::default() });
        assert_eq!(config.server.node_ports, PortRange(20000..=40000));
        assert_eq!(config.server.allow_external_ips, None);
        let config = Config::parse("server:\n  allowExternalIPs: [192.0.2.0/28@shop]\n").unwrap();
        assert_eq!(config.server.allow_external_ips.as_ref().unwrap()[0].to_string(), "192.0.2.0/28@shop");
        assert_eq!(config.ranges(), Ranges::default());
    }

    #[test]
    fn port_ranges_are_written_as_upstream_reads_them() {
        let check = |text: &str, expect: Option<RangeInclusive<u16>>| {
            assert_eq!(text.parse::<PortRange>().ok(), expect.map(PortRange), "{text}");
        };
        check("30000-32767", Some(30000..=32767));
        check("30000+100", Some(30000..=30100));
        check("30000", Some(30000..=30000));
        check(" 30000-30001 ", Some(30000..=30001));
        for text in ["", "0", "0-9", "9-3", "65535+1", "30000-70000", "a-b", "1-2-3", "+5", "-5"] {
            check(text, None);
        }
    }

    #[test]
    fn a_config_written_out_reads_back() {
        let config = Config::default();
        assert_eq!(Config::parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn flags_count_more_than_the_file() {
        let words = "up --service-cluster-ip-range 10.97.0.0/16,fd00::/112 --service-node-port-range 20000-40000 \
                     --allow-external-ips 192.0.2.0/28@shop,198.51.100.0/24";
        let cli = Cli::parse_from(["stead"].into_iter().chain(words.split_whitespace()));
        let Command::Up(args) = cli.command else { panic!("{cli:?}") };
        let mut section = Config::parse("server:\n  nodePorts: 1-2\n").unwrap().server;
        section.set(&args.services);
        assert_eq!(
            section.service_ranges.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.97.0.0/16", "fd00::/112"]
        );
        assert_eq!(section.node_ports, PortRange(20000..=40000));
        let external = section.allow_external_ips.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(external, ["192.0.2.0/28@shop", "198.51.100.0/24"]);
        assert!(Cli::try_parse_from(["stead", "up", "--service-node-port-range", "9-3"]).is_err());
    }

    const BILLION_LAUGHS: &str = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n\
        f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";

    #[test]
    fn a_file_that_is_no_configuration_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 20).unwrap();
        let error = Config::load(Some(file.path())).unwrap_err().to_string();
        assert!(error.ends_with(": it has more than 1 MiB"), "{error}");
    }

    #[test]
    fn problems_name_the_field_in_one_line() {
        let check = |text: &str, expect: &str| {
            let problem = Config::parse(text).unwrap_err();
            assert!(problem.contains(expect) && !problem.contains('\n'), "{text:?} gave {problem:?}");
        };
        check("lab:\n  knots: 3\n", "lab.knots: unknown field `knots`");
        check("lab:\n  nodes: many\n", "lab.nodes: invalid type: string \"many\"");
        check("lab:\n  nodes: 1\n  nodes: 2\n", "no YAML: duplicate");
        check("server:\n  serviceRanges: [10.96.0.0/33]\n", "server.serviceRanges[0]: invalid IP address syntax");
        check(
            "server:\n  maxEndpointsPerSlice: 1001\n",
            "server.maxEndpointsPerSlice: 1001 is not in the range 1-1000",
        );
        check(
            "server:\n  nodePorts: 9-3\n",
            "server.nodePorts: \"9-3\" is no range of ports such as 30000-32767 or 30000+2767",
        );
        check(
            "server:\n  allowExternalIPs: [192.0.2.1]\n",
            "server.allowExternalIPs[0]: \"192.0.2.1\" is no range such as",
        );
        check(
            "server:\n  clusterDomain: Cluster.Local\n",
            "server.clusterDomain: \"Cluster.Local\" is no domain: a lowercase RFC 1123",
        );
        check("server:\n  clusterDomain: ''\n", "server.clusterDomain: \"\" is no domain: a lowercase RFC 1123");
        check(&format!("server:\n  clusterDomain: {}\n", "a".repeat(254)), "must be no more than 253 characters");
        check("node:\n  images: ''\n", "node.images: \"\" is no directory");
        check("lab: [", "no YAML: ");
        check(&format!("lab: {}", "[".repeat(100_000)), "no YAML: ");
        check(&"a: ".repeat(100_000), "no YAML: ");
        check(BILLION_LAUGHS, "no YAML: ");
    }
}
