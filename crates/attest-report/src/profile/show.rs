//! The profile as people read it.

use std::fmt::Write as _;

use attest_events::{Row, Who};

use super::{OperationTimes, PartTime, Profile};
use crate::human::duration;
use crate::look::{Look, Palette};
use crate::sanitize::{cut, sanitize};

/// Operations of a kind whose slowest is not worth a line, nanoseconds.
const SLOW: u64 = 1_000_000;
/// Of what was asked of machines, and of savings, no more than this on a line.
const WIDTH: usize = 100;

impl Profile {
    /// Several lines, for output that bears `look`.
    pub fn text(&self, look: Look) -> String {
        let palette = Palette::new(look.colour);
        let mut text = String::new();
        self.table(&mut text, palette);
        self.own_share(&mut text, palette);
        self.asked(&mut text, palette);
        self.slow_units(&mut text, palette);
        self.saved(&mut text, palette);
        text
    }

    fn table(&self, text: &mut String, palette: Palette) {
        let Palette { strong, faint, .. } = palette;
        let line = |name: &str, ns: u64, who: &str, cpu: &str| {
            let per_cent = self.per_cent(ns);
            let line = format!(
                "{name:<28}{:>9}  {per_cent:>5}  {who:<9}  {cpu:>9}",
                duration(ns)
            );
            line.trim_end().to_owned()
        };
        let header = format!(
            "{:<28}{:>9}  {:>5}  {:<9}  {:>9}",
            "where the time went", "wall", "%", "waits for", "attest CPU"
        );
        let _ = writeln!(text, "{strong}{header}{strong:#}");
        for row in &self.rows {
            let _ = writeln!(text, "{}", line(row.row.name(), row.ns, "", ""));
            for part in self.parts_of(row.row) {
                let cpu = match part.cpu_ns {
                    0 => String::new(),
                    cpu_ns => duration(cpu_ns),
                };
                let name = format!("  {}", part.part.name());
                let line = line(&name, part.ns, part.who.name(), &cpu);
                let style = if part.who == Who::Attest {
                    palette.warning.effects(anstyle::Effects::new())
                } else {
                    faint
                };
                let _ = writeln!(text, "{style}{line}{style:#}");
            }
        }
        let total = line("total", self.total_ns, "", "");
        let _ = writeln!(text, "{strong}{total}{strong:#}");
        if !self.complete {
            let _ = writeln!(text, "the run broke off: this is what was until then");
        }
    }

    fn parts_of(&self, row: Row) -> impl Iterator<Item = &PartTime> {
        self.parts.iter().filter(move |part| part.row == row)
    }

    fn per_cent(&self, ns: u64) -> String {
        let tenths = u128::from(ns) * 1000 / u128::from(self.total_ns.max(1));
        format!("{}.{}", tenths / 10, tenths % 10)
    }

    fn own_share(&self, text: &mut String, palette: Palette) {
        let Palette { strong, faint, .. } = palette;
        let own = &self.own;
        let who = self.who.iter().filter(|who| who.who != Who::Attest);
        let others = who
            .map(|who| format!("{} {}", who.who.name(), duration(who.ns)))
            .collect::<Vec<_>>()
            .join(", ");
        let _ = writeln!(
            text,
            "\n{strong}attest's own share: {}, {:.1} % of the whole{strong:#}",
            duration(own.ns),
            own.percent
        );
        let _ = writeln!(
            text,
            "{faint}{} in its parts, and at most {} of processors beside the others' ({others}){faint:#}",
            duration(own.wall_ns),
            duration(own.cpu_ns)
        );
        let processes = own.processes;
        let used = [
            ("command", processes.driver_ns),
            ("labs", processes.labs_ns),
            (
                "machines",
                processes.machines_ns.saturating_sub(processes.labs_ns),
            ),
            ("Python", processes.python_ns),
            ("Rust tests", processes.rust_tests_ns),
        ];
        let used = used.iter().filter(|(_, ns)| *ns > 0);
        let used = used
            .map(|(name, ns)| format!("{name} {}", duration(*ns)))
            .collect::<Vec<_>>()
            .join(", ");
        if !used.is_empty() {
            let _ = writeln!(text, "{faint}processors: {used}{faint:#}");
        }
    }

    fn asked(&self, text: &mut String, palette: Palette) {
        let Palette { strong, faint, .. } = palette;
        if self.operations.is_empty() {
            return;
        }
        let header = format!(
            "{:<28}{:>9}  {:>9}  {:>9}",
            "asked of machines", "count", "total", "median"
        );
        let _ = writeln!(text, "\n{strong}{header}{strong:#}");
        for times in &self.operations {
            let OperationTimes {
                operation,
                count,
                total_ns,
                median_ns,
                slowest,
            } = times;
            let _ = writeln!(
                text,
                "{:<28}{count:>9}  {:>9}  {:>9}",
                sanitize(operation),
                duration(*total_ns),
                duration(*median_ns)
            );
            for slow in slowest.iter().filter(|slow| slow.ns >= SLOW) {
                let machine = slow.machine.as_deref().unwrap_or("-");
                let line = sanitize(&format!("{machine}: {}", slow.subject));
                let line = cut(&line, Some(WIDTH - 13));
                let took = duration(slow.ns);
                let _ = writeln!(text, "{faint}  {took:>9}  {line}{faint:#}");
            }
        }
    }

    fn slow_units(&self, text: &mut String, palette: Palette) {
        let Palette { strong, faint, .. } = palette;
        if self.boots.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{strong}slowest units of boots{strong:#}");
        for slow in &self.boots {
            let line = sanitize(&format!("{}: {}", slow.machine, slow.unit));
            let took = duration(slow.ns);
            let _ = writeln!(text, "{faint}  {took:>9}  {line}{faint:#}");
        }
    }

    fn saved(&self, text: &mut String, palette: Palette) {
        let Palette { strong, faint, .. } = palette;
        if self.savings.is_empty() {
            let _ = writeln!(text, "\n{strong}nothing worth saving was found{strong:#}");
            return;
        }
        let _ = writeln!(text, "\n{strong}could be saved, at most{strong:#}");
        for saving in &self.savings {
            let what = sanitize(&saving.what);
            let took = duration(saving.ns);
            let _ = writeln!(text, "  {took:>9}  {}", cut(&what, Some(WIDTH - 13)));
            let _ = writeln!(
                text,
                "{faint}  {:>9}  {}{faint:#}",
                "",
                sanitize(&saving.how)
            );
        }
    }
}
