//! Declarative tests: the steps of a manifest, one after the other.

use std::path::Path;

use attest_events::EventKind;
use attest_manifest::{
    ActionPlan, CommandPlan, ExpectedStatus, ProgramPlan, StepPlan, UnitPlan, UnitVerb, WaitPlan,
    WaitTarget,
};
use attest_vmm::BoxFuture;

use crate::command::{Command, Output};
use crate::error::{CommandFailure, Error, Result};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::pattern;
use crate::systemd::Unit;
use crate::wait::Wait;

/// Run the steps in order; the first that fails ends the test.
pub(super) async fn run(lab: &Lab, steps: &[StepPlan], artifacts: &Path) -> Result<()> {
    for (number, step) in (1_u32..).zip(steps) {
        lab.recorder().record(EventKind::StepStarted {
            step: number,
            text: step.text(),
        });
        run_step(lab, step, artifacts)
            .await
            .map_err(|error| error.in_step(number))?;
    }
    Ok(())
}

/// Boxed, because parallel steps hold steps.
fn run_step<'a>(
    lab: &'a Lab,
    step: &'a StepPlan,
    artifacts: &'a Path,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        if let ActionPlan::Parallel(steps) = &step.action {
            let all: Vec<_> = steps
                .iter()
                .map(|step| run_step(lab, step, artifacts))
                .collect();
            return futures_util::future::join_all(all)
                .await
                .into_iter()
                .collect();
        }
        let mut machines = Vec::with_capacity(step.machines.len());
        for name in &step.machines {
            machines.push(lab.machine(name)?);
        }
        let all: Vec<_> = machines
            .iter()
            .map(|machine| act(machine, &step.action, artifacts))
            .collect();
        futures_util::future::join_all(all)
            .await
            .into_iter()
            .collect()
    })
}

fn act<'a>(
    machine: &'a Machine,
    action: &'a ActionPlan,
    artifacts: &'a Path,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        match action {
            ActionPlan::Command(plan) => {
                let output = command(machine, plan).await?;
                check(machine, plan, &output)
            }
            ActionPlan::Wait(plan) => wait(machine, plan).await.map(drop),
            ActionPlan::Unit(plan) => unit(machine, plan).await,
            ActionPlan::Upload { from, to } => machine.upload(from, to).await.map(drop),
            ActionPlan::Download { from, to } => machine
                .download(from, artifacts.join(machine.name()).join(to))
                .await
                .map(drop),
            ActionPlan::Reboot => machine.reboot().await,
            ActionPlan::Parallel(_) => unreachable!("parallel steps have no machine of their own"),
        }
    })
}

fn command(machine: &Machine, plan: &CommandPlan) -> Command {
    let mut command = match &plan.program {
        ProgramPlan::Shell(text) => machine.shell(text),
        ProgramPlan::Argv(argv) => machine.exec(argv),
    };
    for (name, value) in &plan.environment {
        command = command.env(name, value);
    }
    if let Some(directory) = &plan.directory {
        command = command.directory(directory);
    }
    if let Some(user) = &plan.user {
        command = command.user(user);
    }
    if let Some(stdin) = &plan.stdin {
        command = command.stdin(stdin.clone().into_bytes());
    }
    if let Some(timeout) = plan.timeout {
        command = command.timeout(timeout);
    }
    match plan.status {
        ExpectedStatus::Code(code) => command.expect_code(code),
        ExpectedStatus::Failure => command.expect_failure(),
    }
}

async fn unit(machine: &Machine, plan: &UnitPlan) -> Result<()> {
    let mut unit = unit_of(machine, &plan.unit, plan.user.as_deref());
    if let Some(timeout) = plan.timeout {
        unit = unit.timeout(timeout);
    }
    match plan.verb {
        UnitVerb::Start => unit.start().await,
        UnitVerb::Stop => unit.stop().await,
        UnitVerb::Restart => unit.restart().await,
        UnitVerb::Reload => unit.reload().await,
        UnitVerb::Isolate => unit.isolate().await,
    }
}

fn unit_of(machine: &Machine, unit: &str, user: Option<&str>) -> Unit {
    match user {
        Some(user) => machine.user_unit(user, unit),
        None => machine.unit(unit),
    }
}

fn wait(machine: &Machine, plan: &WaitPlan) -> Wait {
    let wait = match &plan.target {
        WaitTarget::Port { host, port, closed } => {
            let wait = if *closed {
                machine.wait_for_closed_port(*port)
            } else {
                machine.wait_for_port(*port)
            };
            wait.host(host.clone())
        }
        WaitTarget::File {
            path,
            matches: Some(pattern),
            ..
        } => machine.wait_for_text_in_file(path, pattern.clone()),
        WaitTarget::File {
            path,
            vanished: true,
            ..
        } => machine.wait_for_no_file(path),
        WaitTarget::File { path, .. } => machine.wait_for_file(path),
        WaitTarget::Socket { path } => machine.wait_for_unix_socket(path),
        WaitTarget::Unit {
            unit,
            user,
            stopped,
        } => {
            let unit = unit_of(machine, unit, user.as_deref());
            if *stopped {
                unit.wait_for_stop()
            } else {
                unit.wait()
            }
        }
        WaitTarget::Succeeds(command) => machine.wait_until_succeeds(command),
        WaitTarget::Fails(command) => machine.wait_until_fails(command),
        WaitTarget::Process {
            pattern,
            vanished: true,
        } => machine.wait_for_no_process(pattern.clone()),
        WaitTarget::Process { pattern, .. } => machine.wait_for_process(pattern.clone()),
        WaitTarget::Console(pattern) => machine.wait_for_console_text(pattern.clone()),
    };
    match plan.timeout {
        Some(timeout) => wait.timeout(timeout),
        None => wait,
    }
}

/// What a step demands of the output.
fn check(machine: &Machine, plan: &CommandPlan, output: &Output) -> Result<()> {
    let (stdout, stderr) = (output.text(), output.error_text());
    let matches = |pattern: &String| {
        pattern::compile(pattern).is_ok_and(|regex| regex.is_match(&output.stdout))
    };
    let unmet = if let Some(exact) = plan.stdout.as_ref().filter(|exact| **exact != stdout) {
        format!("stdout {exact:?}")
    } else if let Some(part) = plan
        .stdout_contains
        .as_ref()
        .filter(|part| !stdout.contains(*part))
    {
        format!("stdout with {part:?} in it")
    } else if let Some(pattern) = plan
        .stdout_matches
        .as_ref()
        .filter(|pattern| !matches(pattern))
    {
        format!("stdout that matches /{pattern}/")
    } else if let Some(part) = plan
        .stderr_contains
        .as_ref()
        .filter(|part| !stderr.contains(*part))
    {
        format!("stderr with {part:?} in it")
    } else {
        return Ok(());
    };
    Err(Error::Command(Box::new(CommandFailure {
        machine: machine.name().to_owned(),
        command: plan.program.text(),
        status: output.status,
        expected: unmet,
        timed_out: None,
        stdout,
        stderr,
    })))
}
