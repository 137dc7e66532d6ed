//! What is to be run: of the command line, the environment and the JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attest::events::LogLevel;
use attest::scripts::{ScriptKind as Kind, ScriptMachine as Machine};
use clap::ValueEnum as _;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{Agent, Level, NixosArguments};
use super::end::Refusal;

/// As the NixOS test driver has it: a week.
const DEFAULT_TIMEOUT: Duration = Duration::from_hours(7 * 24);

/// What is to be run.
#[derive(Debug, PartialEq)]
pub(super) struct Configuration {
    pub(super) machines: Vec<Machine>,
    pub(super) vlans: Vec<u32>,
    /// The test's script; a prompt needs none.
    pub(super) script: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) keep_state: bool,
    pub(super) interactive: bool,
    /// Absolute.
    pub(super) output: PathBuf,
    pub(super) junit: Option<PathBuf>,
    pub(super) debug_hook: Option<String>,
    pub(super) ssh_offset: Option<u32>,
    pub(super) log_level: LogLevel,
    pub(super) agent: Agent,
    /// Members of the JSON that nobody here knows.
    pub(super) unknown: Vec<String>,
}

/// A variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Configuration {
    /// Of the command line and this process's environment.
    pub(super) fn of(arguments: &NixosArguments) -> Result<Self, Refusal> {
        let environment = |name: &str| std::env::var(name).ok();
        Self::with(arguments, &environment)
    }

    fn with(arguments: &NixosArguments, environment: Environment<'_>) -> Result<Self, Refusal> {
        let output = output(arguments.output_directory.as_deref())?;
        let mut configuration = Self {
            machines: Vec::new(),
            vlans: Vec::new(),
            script: None,
            timeout: DEFAULT_TIMEOUT,
            keep_state: arguments.keep_machine_state,
            interactive: arguments.interactive && !arguments.no_interactive,
            junit: arguments.junit_xml.as_ref().map(|path| output.join(path)),
            output,
            debug_hook: arguments.debug_hook_attach.clone(),
            ssh_offset: arguments.dump_vsocks,
            log_level: level(arguments.log_level, environment)?,
            agent: arguments.agent.unwrap_or_default(),
            unknown: Vec::new(),
        };
        match &arguments.config {
            Some(path) => configuration.add_json(path)?,
            None => configuration.add_lists(arguments, environment)?,
        }
        if let Some(script) = &arguments.testscript {
            configuration.script = Some(script.clone());
        }
        if let Some(seconds) = arguments.global_timeout {
            configuration.timeout = Duration::from_secs(seconds);
        }
        for machine in &mut configuration.machines {
            // They are started in other directories.
            let path = Path::new(&machine.command);
            if path.is_relative()
                && path.is_file()
                && let Ok(path) = std::path::absolute(path)
            {
                machine.command = path.display().to_string();
            }
        }
        if configuration.script.is_none() && !configuration.interactive {
            return Err(Refusal::usage(
                "the following arguments are required: testscript (or `testScript` in the environment, or `test_script` in the configuration)",
            ));
        }
        Ok(configuration)
    }

    fn add_json(&mut self, path: &Path) -> Result<(), Refusal> {
        let refused = |reason: String| {
            Refusal::usage(format!("the configuration {}: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let json: Json = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let groups = [
            (Kind::Vm, json.vms, "vms"),
            (Kind::Container, json.containers, "containers"),
        ];
        for (kind, machines, group) in groups {
            for (key, machine) in machines {
                self.unknown.extend(
                    machine
                        .unknown
                        .keys()
                        .map(|member| format!("{group}.{key}.{member}")),
                );
                self.machines.push(Machine {
                    name: machine.name.unwrap_or(key),
                    command: machine.start_script,
                    kind,
                });
            }
        }
        self.unknown.extend(json.unknown.into_keys());
        self.vlans = json.vlans;
        self.script = json.test_script;
        if let Some(seconds) = json.global_timeout {
            self.timeout = Duration::try_from_secs_f64(seconds)
                .map_err(|error| refused(format!("`global_timeout`: {error}")))?;
        }
        if json.enable_ssh_backdoor {
            // As the configuration's machines are numbered: guest CIDs begin at 3.
            self.ssh_offset = self.ssh_offset.or(Some(2));
        }
        Ok(())
    }

    fn add_lists(
        &mut self,
        arguments: &NixosArguments,
        environment: Environment<'_>,
    ) -> Result<(), Refusal> {
        let list = |given: &Option<Vec<String>>, variable: &str| -> Vec<String> {
            match given {
                Some(words) => words.clone(),
                None => environment(variable)
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
            }
        };
        for script in list(&arguments.start_scripts, "startScripts") {
            self.machines.push(Machine {
                name: Kind::Vm.name_in(&script),
                command: script,
                kind: Kind::Vm,
            });
        }
        self.add_named(
            Kind::Vm,
            list(&arguments.vm_names, "vmNames"),
            list(&arguments.vm_start_scripts, "vmStartScripts"),
        )?;
        self.add_named(
            Kind::Container,
            list(&arguments.container_names, "containerNames"),
            list(&arguments.container_start_scripts, "containerStartScripts"),
        )?;
        for word in list(&arguments.vlans, "vlans") {
            let number = word
                .parse()
                .map_err(|_| Refusal::usage(format!("argument --vlans: `{word}` is no number")))?;
            self.vlans.push(number);
        }
        self.script = environment("testScript")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        if let Some(seconds) = environment("globalTimeout").filter(|text| !text.is_empty()) {
            let seconds = seconds.parse().map_err(|_| {
                Refusal::usage(format!(
                    "argument --global-timeout: `globalTimeout` is `{seconds}`, which is no number of seconds"
                ))
            })?;
            self.timeout = Duration::from_secs(seconds);
        }
        Ok(())
    }

    fn add_named(
        &mut self,
        kind: Kind,
        names: Vec<String>,
        scripts: Vec<String>,
    ) -> Result<(), Refusal> {
        if !names.is_empty() && names.len() != scripts.len() {
            return Err(Refusal::usage(format!(
                "there are {} names ({}) for {} start scripts ({}); each needs one",
                names.len(),
                names.join(", "),
                scripts.len(),
                scripts.join(", ")
            )));
        }
        let mut names = names.into_iter();
        for script in scripts {
            let name = names.next().unwrap_or_else(|| kind.name_in(&script));
            self.machines.push(Machine {
                name,
                command: script,
                kind,
            });
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Json {
    #[serde(default)]
    vms: BTreeMap<String, JsonMachine>,
    #[serde(default)]
    containers: BTreeMap<String, JsonMachine>,
    #[serde(default)]
    vlans: Vec<u32>,
    global_timeout: Option<f64>,
    #[serde(default)]
    enable_ssh_backdoor: bool,
    test_script: Option<PathBuf>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct JsonMachine {
    name: Option<String>,
    start_script: String,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// A directory that is there and can be written to: it is known before anything is started.
fn output(given: Option<&Path>) -> Result<PathBuf, Refusal> {
    let path = given.unwrap_or(Path::new("."));
    let refused = |reason: &str| {
        Refusal::usage(format!(
            "argument -o/--output_directory: {} is not a {reason}directory",
            path.display()
        ))
    };
    let absolute = path.canonicalize().map_err(|_| refused(""))?;
    if !absolute.is_dir() {
        return Err(refused(""));
    }
    nix::unistd::access(&absolute, nix::unistd::AccessFlags::W_OK)
        .map_err(|_| refused("writeable "))?;
    Ok(absolute)
}

fn level(given: Option<Level>, environment: Environment<'_>) -> Result<LogLevel, Refusal> {
    if let Some(level) = given {
        return Ok(level.into());
    }
    let Some(name) = environment("logLevel").filter(|name| !name.is_empty()) else {
        return Ok(LogLevel::default());
    };
    Level::from_str(&name, true)
        .map(LogLevel::from)
        .map_err(|_| {
            Refusal::usage(format!(
                "argument --log-level: `logLevel` is `{name}`; choose debug, info, warning or error"
            ))
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(words: &[&str]) -> NixosArguments {
        let words = std::iter::once(&"nixos-test-driver").chain(words);
        NixosArguments::try_parse_from(words).unwrap()
    }

    fn configure(words: &[&str], environment: &[(&str, &str)]) -> Result<Configuration, String> {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        let get = |name: &str| environment.get(name).map(|&value| value.to_owned());
        Configuration::with(&parse(words), &get).map_err(|refusal| format!("{refusal:?}"))
    }

    fn machine(name: &str, script: &str, kind: Kind) -> Machine {
        Machine {
            name: name.to_owned(),
            command: script.to_owned(),
            kind,
        }
    }

    #[test]
    fn the_first_generation() {
        let environment = [
            (
                "startScripts",
                " /a/bin/run-web-vm  /b/bin/run-my-db-vm /c/start ",
            ),
            ("vlans", "1 2 1"),
            ("testScript", "/s/test-script"),
            ("globalTimeout", "3600"),
        ];
        let configured = configure(&[], &environment).unwrap();
        let machines = [
            machine("web", "/a/bin/run-web-vm", Kind::Vm),
            machine("my-db", "/b/bin/run-my-db-vm", Kind::Vm),
            machine("machine", "/c/start", Kind::Vm),
        ];
        assert_eq!(configured.machines, machines);
        assert_eq!(configured.vlans, [1, 2, 1]);
        assert_eq!(configured.script, Some("/s/test-script".into()));
        assert_eq!(configured.timeout, Duration::from_hours(1));
        let words = [
            "--start-scripts",
            "/x/run-x-vm",
            "--vlans",
            "7",
            "--global",
            "5",
            "--",
            "/t",
        ];
        let configured = configure(&words, &environment).unwrap();
        assert_eq!(configured.machines, [machine("x", "/x/run-x-vm", Kind::Vm)]);
        assert_eq!(configured.vlans, [7]);
        assert_eq!(configured.script, Some("/t".into()));
        assert_eq!(configured.timeout, Duration::from_secs(5));
    }

    #[test]
    fn the_second_generation() {
        let environment = [
            ("vmNames", "a b"),
            ("vmStartScripts", "/1/run-a-vm /2/whatever"),
            ("containerNames", "c"),
            ("containerStartScripts", "/3/run-c-nspawn"),
            ("testScript", "/s"),
            ("logLevel", "warning"),
        ];
        let configured = configure(&["--keep-m", "-I"], &environment).unwrap();
        let machines = [
            machine("a", "/1/run-a-vm", Kind::Vm),
            machine("b", "/2/whatever", Kind::Vm),
            machine("c", "/3/run-c-nspawn", Kind::Container),
        ];
        assert_eq!(configured.machines, machines);
        assert!(configured.keep_state && configured.interactive);
        assert_eq!(configured.log_level, LogLevel::Warning);
        let error = configure(
            &[],
            &[
                ("vmNames", "a b"),
                ("vmStartScripts", "/1"),
                ("testScript", "/s"),
            ],
        );
        assert!(
            error
                .unwrap_err()
                .contains("2 names (a, b) for 1 start scripts")
        );
    }

    #[test]
    fn the_third_generation() {
        let directory = std::env::temp_dir().join(format!("attest-config-{}", std::process::id()));
        let json = r#"{"vms":{"m":{"name":"m","start_script":"/m/bin/run-m-vm","new":1}},
            "containers":{"c":{"name":"c","start_script":"/c/bin/run-c-nspawn","display_targets":[]}},
            "vlans":[1],"global_timeout":60,"enable_ssh_backdoor":true,"test_script":"/t","display_viewers":{}}"#;
        std::fs::write(&directory, json).unwrap();
        let path = directory.to_str().unwrap();
        let configured = configure(&["-c", path], &[("startScripts", "/not/this")]).unwrap();
        std::fs::remove_file(&directory).unwrap();
        let machines = [
            machine("m", "/m/bin/run-m-vm", Kind::Vm),
            machine("c", "/c/bin/run-c-nspawn", Kind::Container),
        ];
        assert_eq!(configured.machines, machines);
        assert_eq!(configured.timeout, Duration::from_mins(1));
        assert_eq!(configured.ssh_offset, Some(2));
        let unknown = [
            "vms.m.new",
            "containers.c.display_targets",
            "display_viewers",
        ];
        assert_eq!(configured.unknown, unknown);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (words, environment, reason) in [
            (&[][..], &[][..], "required: testscript"),
            (
                &["-o", "/no/such", "/t"],
                &[],
                "/no/such is not a directory",
            ),
            (&["--vlans", "x", "--", "/t"], &[], "`x` is no number"),
            (
                &["/t"],
                &[("globalTimeout", "soon")],
                "`globalTimeout` is `soon`",
            ),
            (&["/t"], &[("logLevel", "loud")], "choose debug, info"),
            (&["-c", "/no/json"], &[], "the configuration /no/json"),
        ] {
            let error = configure(words, environment).unwrap_err();
            assert!(error.contains(reason), "{words:?}: {error}");
        }
    }

    #[test]
    fn later_wins_between_the_prompt_and_its_contrary() {
        assert!(
            !configure(&["-I", "--no-interactive", "/t"], &[])
                .unwrap()
                .interactive
        );
        assert!(
            configure(&["--no-inter", "--interactive", "/t"], &[])
                .unwrap()
                .interactive
        );
    }
}
