//! The breakdown as a table: where the time went.

use std::fmt::Write as _;

use attest_events::{Breakdown, MachineTime, Phase};

use crate::human::duration;
use crate::look::Palette;
use crate::sanitize::sanitize;

/// Beyond this part of the wall time, a difference between it and the sum is named: events from
/// elsewhere need not add up, and then the reader should know.
const TOLERANCE: f64 = 0.02;

/// What the table says, on whatever it is shown.
pub(crate) struct Cells {
    /// The phases that have a column, between that of the names and that of the totals.
    pub(crate) phases: Vec<Phase>,
    /// The header, the run, and the machines.
    pub(crate) rows: Vec<Vec<String>>,
    /// The lines below: the sum beside the wall time, and what VMMs measured.
    pub(crate) notes: Vec<String>,
}

pub(crate) fn cells(breakdown: &Breakdown) -> Cells {
    let phases: Vec<Phase> = phases(breakdown).collect();
    let mut rows = vec![header(&phases), run_row(breakdown, &phases)];
    rows.extend(breakdown.machines.iter().map(|machine| {
        let mut row = vec![format!("  {}", sanitize(&machine.machine))];
        row.extend(phases.iter().map(|&phase| {
            machine
                .phase_ns(phase)
                .map_or_else(|| "-".to_owned(), duration)
        }));
        row.push(duration(machine.sum_ns()));
        row
    }));
    let mut notes = vec![sum_line(breakdown)];
    for machine in &breakdown.machines {
        if let Some(measured) = machine.measured_boot_ns {
            let name = sanitize(&machine.machine);
            let took = duration(measured);
            notes.push(format!(
                "{name}: {took} of its boot is its guest's, as its VMM measured it"
            ));
        }
    }
    Cells {
        phases,
        rows,
        notes,
    }
}

/// The table: a line for the run, one for each machine, and the sum beside the wall time.
pub(crate) fn table(breakdown: &Breakdown, palette: Palette) -> String {
    let faint = palette.faint;
    let Cells { rows, notes, .. } = cells(breakdown);
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            let widest = rows.iter().map(|row| row[column].chars().count()).max();
            widest.unwrap_or(0)
        })
        .collect();

    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        // The machines run side by side, so only the run's own line adds up to the wall time.
        let style = if index == 1 { palette.strong } else { faint };
        let _ = writeln!(text, "{style}{}{style:#}", line.trim_end());
    }
    for note in notes {
        let _ = writeln!(text, "{faint}{note}{faint:#}");
    }
    text
}

/// All but those for which a run needs saved labs, where it had none.
fn phases(breakdown: &Breakdown) -> impl Iterator<Item = Phase> {
    let was_in = |phase| {
        let of_machine = |machine: &MachineTime| machine.phase_ns(phase).is_some();
        breakdown.phase_ns(phase) > 0 || breakdown.machines.iter().any(of_machine)
    };
    let is_rare = |phase| matches!(phase, Phase::Snapshot | Phase::Restore);
    let all = Phase::ALL.into_iter();
    all.filter(move |&phase| !is_rare(phase) || was_in(phase))
}

fn header(phases: &[Phase]) -> Vec<String> {
    let mut row = vec!["where".to_owned()];
    row.extend(phases.iter().map(|phase| phase.name().to_owned()));
    row.push("total".to_owned());
    row
}

fn run_row(breakdown: &Breakdown, phases: &[Phase]) -> Vec<String> {
    let mut row = vec!["run".to_owned()];
    let times = phases.iter().map(|&phase| breakdown.phase_ns(phase));
    row.extend(times.map(duration));
    row.push(duration(breakdown.sum_ns()));
    row
}

fn sum_line(breakdown: &Breakdown) -> String {
    let seconds = |ns| std::time::Duration::from_nanos(ns).as_secs_f64();
    let (sum, wall) = (breakdown.sum_ns(), breakdown.wall_ns);
    let mut line = format!(
        "the phases add up to {:.3} s of {:.3} s wall time",
        seconds(sum),
        seconds(wall)
    );
    let difference = seconds(sum.abs_diff(wall));
    if difference > TOLERANCE * seconds(wall) {
        let _ = write!(
            line,
            ": {} are not accounted for",
            duration(sum.abs_diff(wall))
        );
    }
    line
}
