//! `attest doctor`: what this host can do, with the reason for every no.

use std::fmt::Write as _;
use std::process::ExitCode;

use attest::doctor::{Finding, examine};
use serde_json::json;

use super::{CommandResult, matrix};
use crate::arguments::{Doctor, Format};
use crate::terminal;

pub(crate) fn run(arguments: &Doctor) -> CommandResult {
    if arguments.matrix {
        terminal::print(matrix::text(arguments.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut findings = examine();
    findings.push(python());
    let text = match arguments.format {
        Format::Json => json(&findings),
        Format::Human => human(&findings),
    };
    terminal::print(text)?;
    let broken = findings
        .iter()
        .any(|finding| finding.needed && !finding.works);
    let code = if broken {
        attest::events::ExitCode::Infrastructure
    } else {
        attest::events::ExitCode::Passed
    };
    Ok(ExitCode::from(code.code()))
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

fn json(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let line = json!({ "area": finding.area, "what": finding.what, "works": finding.works, "detail": finding.detail, "needed": finding.needed });
        let _ = writeln!(text, "{line}");
    }
    text
}

fn human(findings: &[Finding]) -> String {
    let (yes, no) = (
        anstyle::AnsiColor::Green.on_default(),
        anstyle::AnsiColor::Red.on_default(),
    );
    let (mut text, mut area) = (String::new(), "");
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            let _ = writeln!(text, "{area}");
        }
        let (style, mark) = if finding.works {
            (yes, "yes")
        } else {
            (no, "no ")
        };
        let _ = writeln!(
            text,
            "  {style}{mark}{style:#}  {:<24} {}",
            finding.what, finding.detail
        );
    }
    text
}
