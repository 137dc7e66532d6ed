//! `attest run`: select, run, report.

use std::io::stdout;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use attest::Recorder;
use attest::events::Event;
use attest::run::{
    Keep, Options, OutputDirectory, Overrides, Repeat, Run, ScriptRunner, Selection, UnknownJob,
};
use attest::schedule::History;
use attest_report::{JsonLines, Junit, Look, Profiler, Readers, Timeline};

use super::CommandResult;
use crate::arguments::{self, Format, Select, Verbosity};
use crate::failure::Failure;
use crate::{interrupt, orphans, output};

pub(crate) fn run(
    arguments: &arguments::Run,
    verbosity: &Verbosity,
    began: Instant,
) -> CommandResult {
    let overrides = Overrides::from(&arguments.lab);
    let history = history(arguments)?;
    let runtime = super::runtime()?;
    let scripts: Arc<dyn ScriptRunner> = Arc::new(attest_script::Scripts::default());
    let selecting = selection(&arguments.select, &overrides, scripts.as_ref());
    let mut selection = runtime.block_on(selecting)?;
    keep_job(&mut selection, &arguments.select)?;
    if let Some(shard) = arguments.schedule.shard {
        // What this host remembers, others do not: their shards would have other tests.
        let nothing = History::default();
        let common = arguments.schedule.timings.as_ref().map(|_| &history);
        selection.keep_shard(shard, common.unwrap_or(&nothing));
        if selection.labs.is_empty() {
            let text = format!("shard {shard} has no test: there are fewer tests than shards");
            return Err(Failure::nothing(text));
        }
    }
    let directory = match &arguments.output {
        Some(path) => OutputDirectory::create(path)?,
        None => OutputDirectory::create_default()?,
    };
    let readers = readers(arguments, verbosity, directory.path())?;
    let profiling = arguments.profile.then(Profiling::new);
    let profile = directory.path().join("profile.json");
    orphans::adopt();
    let code = runtime.block_on(async {
        let unavailable =
            |error: std::io::Error| Failure::infrastructure(format!("error: no signals: {error}"));
        let interrupted = interrupt::watch_signals().map_err(unavailable)?;
        let (recorder, events) = Recorder::new(began);
        let profiled = profiling.clone();
        let pumping = output::pump_with(events, readers, move |event| {
            if let Some(profiling) = &profiled {
                profiling.observe(event);
            }
        });
        let run = Run {
            recorder: recorder.clone(),
            output: directory,
            cache: arguments.lab.cache.clone(),
            interrupted,
            scripts: Some(scripts),
            options: options(arguments, history),
        };
        let code = run.run(selection).await;
        let written = pumping.await.expect("readers do not panic");
        written.map_err(|error| {
            Failure::infrastructure(format!("error: a report cannot be written: {error}"))
        })?;
        if let Some(profiling) = profiling {
            profiling.tell(recorder.now(), &profile, arguments.select.format)?;
        }
        Ok(ExitCode::from(code.code()))
    });
    orphans::end();
    runtime.shutdown_background();
    code
}

/// Where the time of the run goes, for who wants to know.
#[derive(Debug, Clone)]
struct Profiling(Arc<Mutex<Profiler>>);

impl Profiling {
    fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(0, NonZeroUsize::get);
        let profiler = Profiler::new().on_processors(u32::try_from(processors).unwrap_or(0));
        Self(Arc::new(Mutex::new(profiler)))
    }

    fn observe(&self, event: &Event) {
        self.0.lock().expect("not poisoned").observe(event);
    }

    /// All reports are written at `until_ns`.
    fn tell(&self, until_ns: u64, path: &Path, format: Format) -> Result<(), Failure> {
        let profile = self.0.lock().expect("not poisoned").profile(Some(until_ns));
        let written = serde_json::to_vec_pretty(&profile)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(path, text));
        written.map_err(|error| {
            let path = path.display();
            Failure::infrastructure(format!("error: {path} cannot be written: {error}"))
        })?;
        if format == Format::Human {
            eprint!("\n{}", profile.text(Look::of_stderr()));
        }
        Ok(())
    }
}

/// What earlier runs took: by the file that was asked for, which has to be there, or by the cache.
fn history(arguments: &arguments::Run) -> Result<History, Failure> {
    if let Some(path) = &arguments.schedule.timings {
        return History::read(path)
            .map_err(|error| Failure::usage(format!("error: {}", attest::chain(&error))));
    }
    let cache = arguments.lab.cache.clone();
    let cache = cache.or_else(attest::images::default_place);
    Ok(cache
        .map(|cache| History::of_cache(&cache))
        .unwrap_or_default())
}

fn options(arguments: &arguments::Run, history: History) -> Options {
    let schedule = &arguments.schedule;
    let usual = Options::default();
    Options {
        jobs: schedule.jobs.unwrap_or(usual.jobs),
        order: schedule.order,
        retries: schedule.retries,
        repeat: match (schedule.repeat, schedule.until_failure) {
            (at_most, true) => Repeat::UntilFailure { at_most },
            (Some(times), false) => Repeat::Times(times),
            (None, false) => Repeat::Once,
        },
        fail_fast: schedule.fail_fast,
        history,
        snapshots: arguments.saved.snapshots(),
        keep: match arguments.keep {
            None | Some(arguments::Keep::Never) => Keep::Never,
            Some(arguments::Keep::Failed) => Keep::Failed,
        },
    }
}

fn readers(
    arguments: &arguments::Run,
    verbosity: &Verbosity,
    directory: &Path,
) -> Result<Readers, Failure> {
    let mut readers = Readers::new();
    match arguments.select.format {
        Format::Human => readers.add(output::terminal(verbosity)),
        Format::Json => readers.add(JsonLines::new(stdout())),
    }
    let unwritable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| {
            Failure::usage(format!("error: {path} cannot be written: {error}"))
        }
    };
    let events = directory.join("events.jsonl");
    let file = std::fs::File::create(&events).map_err(unwritable(&events))?;
    readers.add(JsonLines::new(std::io::BufWriter::new(file)));
    let reports = [Some(directory.join("junit.xml")), arguments.junit.clone()];
    for path in reports.into_iter().flatten() {
        readers.add(Junit::create(&path).map_err(unwritable(&path))?);
    }
    let timeline = directory.join("timeline.html");
    readers.add(Timeline::create(&timeline).map_err(unwritable(&timeline))?);
    Ok(readers)
}

/// The tests of the paths whose names contain the filter, at least one.
pub(super) async fn selection(
    select: &Select,
    overrides: &Overrides,
    scripts: &dyn ScriptRunner,
) -> Result<Selection, Failure> {
    let (paths, filter) = split(&select.paths);
    let filter = filter.as_deref();
    let overrides = &Overrides {
        cargo_profile: select.cargo_profile.clone(),
        ..overrides.clone()
    };
    let loading = Selection::load_with_scripts(&paths, filter, &select.tests, overrides, scripts);
    let mut selection = loading.await?;
    // Where tests are named and none is there, it is the names that are wrong.
    let is_by_name = !select.tests.is_empty();
    if selection.labs.is_empty() && (filter.is_some() || !is_by_name) {
        return Err(Failure::nothing(nothing_to_run(&paths, filter)));
    }
    if is_by_name {
        let kept = selection.keep_tests(&select.tests);
        kept.map_err(|unknown| Failure::usage(format!("error: {unknown}")))?;
    }
    Ok(selection)
}

/// Only the tests of the job that is asked for, if any is.
pub(super) fn keep_job(selection: &mut Selection, select: &Select) -> Result<(), Failure> {
    let Some(number) = select.job else {
        return Ok(());
    };
    selection
        .keep_job(number)
        .map_err(|unknown| no_such_job(&unknown))
}

pub(super) fn no_such_job(unknown: &UnknownJob) -> Failure {
    Failure::usage(format!("error: {unknown}"))
}

/// Paths, and the filter: a last word that is no path.
fn split(words: &[String]) -> (Vec<PathBuf>, Option<String>) {
    let looks_like_path = |word: &str| {
        word.contains('/') || word == "." || Path::new(word).exists() || has_extension(word)
    };
    let (paths, filter) = match words.split_last() {
        Some((last, rest)) if !looks_like_path(last) => (rest, Some(last.clone())),
        _ => (words, None),
    };
    let mut paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    (paths, filter)
}

fn has_extension(word: &str) -> bool {
    Path::new(word)
        .extension()
        .is_some_and(|extension| extension == "toml" || extension == "json")
}

fn nothing_to_run(paths: &[PathBuf], filter: Option<&str>) -> String {
    let places: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match filter {
        Some(filter) => format!(
            "no test in {} has `{filter}` in its name; see `attest list`",
            places.join(", ")
        ),
        None => format!("no tests in {}; add some under [tests]", places.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> (Vec<PathBuf>, Option<String>) {
        split(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_last_word_that_is_no_path_is_the_filter() {
        assert_eq!(words(&[]), (vec![".".into()], None));
        assert_eq!(words(&["ping"]), (vec![".".into()], Some("ping".into())));
        assert_eq!(words(&["labs/web"]), (vec!["labs/web".into()], None));
        assert_eq!(
            words(&["missing.toml"]),
            (vec!["missing.toml".into()], None)
        );
        assert_eq!(
            words(&["labs/web", "ping"]),
            (vec!["labs/web".into()], Some("ping".into()))
        );
    }
}
