//! `attest doctor`: what this host can do, with the reason for every no.

use std::process::ExitCode;

use attest::doctor::{Finding, examine};
use serde_json::json;

use crate::arguments::{Doctor, Format};

pub(crate) fn run(arguments: &Doctor) -> ExitCode {
    let mut findings = examine();
    findings.push(python());
    match arguments.format {
        Format::Json => {
            for finding in &findings {
                let line = json!({ "area": finding.area, "what": finding.what, "works": finding.works, "detail": finding.detail, "needed": finding.needed });
                anstream::println!("{line}");
            }
        }
        Format::Human => print(&findings),
    }
    let broken = findings
        .iter()
        .any(|finding| finding.needed && !finding.works);
    let code = if broken {
        attest::events::ExitCode::Infrastructure
    } else {
        attest::events::ExitCode::Passed
    };
    ExitCode::from(code.code())
}

/// What tests in Python need.
fn python() -> Finding {
    let found = attest_script::Python::find();
    Finding {
        area: "scripts",
        what: "Python".to_owned(),
        works: found.is_ok(),
        detail: found.map_or_else(
            |error| error.to_string(),
            |python| python.program().display().to_string(),
        ),
        needed: false,
    }
}

fn print(findings: &[Finding]) {
    let (yes, no) = (
        anstyle::AnsiColor::Green.on_default(),
        anstyle::AnsiColor::Red.on_default(),
    );
    let mut area = "";
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            anstream::println!("{area}");
        }
        let (style, mark) = if finding.works {
            (yes, "yes")
        } else {
            (no, "no ")
        };
        anstream::println!(
            "  {style}{mark}{style:#}  {:<24} {}",
            finding.what,
            finding.detail
        );
    }
}
