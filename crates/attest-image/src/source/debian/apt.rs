//! Where the host's own apt has packages from: sources.list(5) in both forms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Debian;

/// Options of apt that say how this host reaches its mirrors, and how old these may be.
const PASSED_ON: [&str; 8] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::ftp::",
    "Acquire::Retries",
    "Acquire::ForceIPv",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Max-ValidTime",
];
/// Suites that have neither updates nor security updates of their own.
const WITHOUT_UPDATES: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];

/// What the host's apt is set to.
#[derive(Debug, Default)]
pub(super) struct HostApt {
    sources: Vec<Source>,
    /// The release that the host is.
    release: Option<String>,
}

/// One source: an address with one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// Of the form in one line: `[…]`, or nothing.
    options: String,
    address: String,
    suite: String,
    components: Vec<String>,
}

/// Where packages are taken from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// These lines, for sources.list(5).
    Lines(Vec<String>),
    /// mmdebstrap's own.
    Default,
}

impl Sources {
    /// As sources.list(5) has them; `None`: mmdebstrap's own.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Lines(lines) => Some(lines.iter().flat_map(|line| [line, "\n"]).collect()),
            Self::Default => None,
        }
    }
}

impl HostApt {
    /// What there is: a host need not have apt.
    pub(super) fn read() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        Self {
            sources: sources_in(Path::new("/etc/apt")),
            release: release.map(|name| name.trim_matches('"').to_owned()),
        }
    }
}

/// Where this one is to have its packages from.
pub(super) fn sources(debian: &Debian, host: &HostApt) -> Sources {
    let suite = &debian.suite;
    if let Some(mirror) = &debian.mirror {
        let components = debian.components.join(" ");
        return Sources::Lines(vec![format!("deb {mirror} {suite} {components}")]);
    }
    let own = of_suite(&host.sources, suite, suite);
    if !own.is_empty() {
        return Sources::Lines(own);
    }
    // Its mirrors most likely have the other releases too, and may be all that can be reached.
    let release = host.release.as_deref().unwrap_or_default();
    let renamed = of_suite(&host.sources, release, suite);
    if renamed.is_empty() {
        Sources::Default
    } else {
        Sources::Lines(renamed)
    }
}

/// The sources of a release, with the name of a suite in its place.
fn of_suite(sources: &[Source], release: &str, suite: &str) -> Vec<String> {
    if release.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for source in sources {
        let Some(part) = source.suite.strip_prefix(release) else {
            continue;
        };
        // `-updates`, `-security`, or `/updates` as it was; not another release's longer name.
        let is_part = part.is_empty() || part.starts_with(['-', '/']);
        let is_missing = !part.is_empty() && WITHOUT_UPDATES.contains(&suite);
        if is_part && !is_missing && part != "-backports" {
            let (options, address) = (&source.options, &source.address);
            let components = source.components.join(" ");
            let line = format!("deb {options}{address} {suite}{part} {components}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

fn sources_in(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    let parts = fs::read_dir(apt.join("sources.list.d"));
    let parts = parts.into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.append(&mut parts);
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(stanzas(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [options] address suite components…`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (options, rest) = rest.split_once(']')?;
            (format!("[{}] ", options.trim()), rest)
        }
        None => (String::new(), rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        options,
        address: words.next()?,
        suite: words.next()?,
        components: words.collect(),
    })
}

/// The form of deb822(5): paragraphs of fields.
fn stanzas(text: &str) -> Vec<Source> {
    // A comment may stand within a paragraph, and is no end of it.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let paragraphs = lines.split(|line| line.trim().is_empty());
    paragraphs.flat_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Vec<Source> {
    let field = |wanted: &str| {
        let at = lines.iter().position(|line| {
            let name = line.split_once(':').map(|(name, _)| name);
            name.is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        });
        let at = at?;
        let first = lines[at].split_once(':').map_or("", |(_, value)| value);
        let more = lines[at + 1..].iter();
        let more = more.take_while(|line| line.starts_with([' ', '\t']));
        let parts = std::iter::once(first).chain(more.copied());
        Some(parts.map(str::trim).collect::<Vec<_>>())
    };
    let words = |name: &str| -> Vec<String> {
        let lines = field(name).unwrap_or_default();
        let words = lines.iter().flat_map(|line| line.split_whitespace());
        words.map(str::to_owned).collect()
    };
    let off = words("Enabled").iter().any(|word| word == "no");
    if off || !words("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let mut options = Vec::new();
    // A key may also stand there itself, over many lines, which the form in one line cannot have.
    if let Some([file]) = field("Signed-By").as_deref()
        && file.starts_with('/')
    {
        options.push(format!("signed-by={file}"));
    }
    for (name, option) in [("Architectures", "arch"), ("Trusted", "trusted")] {
        let values = words(name);
        if !values.is_empty() {
            options.push(format!("{option}={}", values.join(",")));
        }
    }
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("[{}] ", options.join(" "))
    };
    let (suites, components) = (words("Suites"), words("Components"));
    let source = |address: &String, suite: &String| Source {
        options: options.clone(),
        address: address.clone(),
        suite: suite.clone(),
        components: components.clone(),
    };
    let addresses = words("URIs");
    let each = addresses.iter().flat_map(|address| {
        let suites = suites.iter();
        suites.map(move |suite| source(address, suite))
    });
    each.collect()
}

/// `NAME "VALUE"` of [`PASSED_ON`]. Asks a program, which takes 6 ms: for builds only.
pub(super) fn options() -> Vec<String> {
    let mut command = Command::new("apt-config");
    let dump = command.arg("dump").stdin(Stdio::null()).output();
    let dump = dump.map_or_else(|_| Vec::new(), |output| output.stdout);
    passed_on(&String::from_utf8_lossy(&dump))
}

fn passed_on(dump: &str) -> Vec<String> {
    let is_one = |line: &&str| PASSED_ON.iter().any(|name| line.starts_with(name));
    // Empty ones only say that there are others below.
    let lines = dump.lines().filter(is_one);
    let lines = lines.filter(|line| !line.ends_with("\"\";"));
    lines
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "Types: deb deb-src\n# mirrored\nURIs: http://a.example/debian\nSuites: bookworm \
        bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian.gpg\n\nTypes: deb\n\
        URIs: http://a.example/security\nSuites: bookworm-security\nComponents: main\n\nTypes: deb\n\
        Enabled: no\nURIs: http://off.example\nSuites: bookworm\n\nTypes: deb\nURIs: http://b.example\n\
        Suites: nodistro bookworm-backports\nComponents: main\nSigned-By:\n -----BEGIN\n .\n";

    fn host() -> HostApt {
        HostApt {
            sources: stanzas(STANZAS),
            release: Some("bookworm".to_owned()),
        }
    }

    fn lines(suite: &str, mirror: Option<&str>, host: &HostApt) -> Vec<String> {
        let debian = Debian {
            suite: suite.to_owned(),
            packages: Vec::new(),
            mirror: mirror.map(str::to_owned),
            components: vec!["main".to_owned(), "contrib".to_owned()],
        };
        match sources(&debian, host) {
            Sources::Lines(lines) => lines,
            Sources::Default => Vec::new(),
        }
    }

    #[test]
    fn the_hosts_sources_of_a_suite_are_taken() {
        let key = "[signed-by=/usr/share/keyrings/debian.gpg]";
        assert_eq!(
            lines("bookworm", None, &host()),
            [
                format!("deb {key} http://a.example/debian bookworm main"),
                format!("deb {key} http://a.example/debian bookworm-updates main"),
                "deb http://a.example/security bookworm-security main".to_owned(),
            ]
        );
    }

    #[test]
    fn another_suite_comes_from_the_same_mirrors() {
        assert_eq!(
            lines("stable", None, &host())[2],
            "deb http://a.example/security stable-security main"
        );
        let sid = lines("sid", None, &host());
        assert_eq!(sid.len(), 1, "{sid:?}");
        assert!(lines("sid", None, &HostApt::default()).is_empty());
    }

    #[test]
    fn a_given_mirror_counts_alone() {
        assert_eq!(
            lines("bookworm", Some("file:///srv/debian"), &host()),
            ["deb file:///srv/debian bookworm main contrib"]
        );
    }

    #[test]
    fn sources_in_one_line_are_read() {
        let source = one_line("deb [ arch=amd64 trusted=yes ] http://x/y  sid main  contrib # z");
        let source = source.unwrap();
        assert_eq!(source.options, "[arch=amd64 trusted=yes] ");
        assert_eq!((&*source.address, &*source.suite), ("http://x/y", "sid"));
        assert_eq!(source.components, ["main", "contrib"]);
        for other in ["", "# deb http://x y z", "deb-src http://x y z", "deb"] {
            assert_eq!(one_line(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_host_needs_to_reach_its_mirror_is_passed_on() {
        let dump = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:3128\";\n\
                    APT::Architecture \"amd64\";\nAcquire::Check-Valid-Until \"false\";\n\
                    Acquire::Languages \"none\";\n";
        assert_eq!(
            passed_on(dump),
            [
                "Acquire::http::Proxy \"http://p:3128\"",
                "Acquire::Check-Valid-Until \"false\""
            ]
        );
    }
}
