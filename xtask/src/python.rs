//! The Python package's tests and checks, with tools of their own.

use std::path::PathBuf;

use crate::packages;
use crate::step::{Step, Stopped};
use crate::tools;

/// Where the package is, in the workspace.
const PACKAGE: &str = "python";
/// What tests and checks it, with the versions that it is known to pass. They run on the Python that is
/// on `PATH`.
const TOOLS: [&str; 5] = [
    "pytest==8.4.2",
    "pytest-xdist==3.8.0",
    "mypy==2.4.1",
    "pyright==1.1.414",
    "ruff==0.17.6",
];

/// The package's tests.
pub(crate) fn tests() -> Result<Vec<Step>, Stopped> {
    let bin = ensure()?;
    let tests = Step::program("pytest", bin.join("pytest"))
        .args(["--quiet", "-p", "no:cacheprovider", "--numprocesses", "2"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .within(PACKAGE);
    Ok(vec![tests])
}

/// Its format, lints and types.
pub(crate) fn checks() -> Result<Vec<Step>, Stopped> {
    let bin = ensure()?;
    let tool = |name: &str| Step::program(name, bin.join(name)).within(PACKAGE);
    let mut steps = vec![
        tool("ruff").args(["format", "--check", "--no-cache"]),
        tool("ruff").args(["check", "--no-cache"]),
        tool("mypy").args(["--strict", "--cache-dir=/dev/null", "src"]),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    if packages::in_path("node", &path) {
        // It takes the interpreter that it is started with.
        steps.push(tool("pyright").args(["--pythonpath".as_ref(), bin.join("python").as_os_str()]));
    } else {
        eprintln!("pyright: not run, it needs `node` on PATH");
    }
    Ok(steps)
}

/// Makes sure that the tools are there; the directory of their programs.
fn ensure() -> Result<PathBuf, Stopped> {
    let versions = TOOLS.join("-").replace("==", "-");
    let root = tools::cache().join(format!("python-{versions}"));
    let bin = root.join("bin");
    // Its last sign: what was broken off is made anew.
    let whole = root.join("whole");
    if whole.exists() {
        return Ok(bin);
    }
    eprintln!(
        "xtask: the tools of the Python package are put into {} once",
        root.display()
    );
    Step::program("python3", "python3")
        .args(["-m", "venv", "--clear"])
        .args([&root])
        .run()?;
    Step::program("pip", bin.join("pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(TOOLS)
        .run()?;
    // Without it they are only made again the next time.
    let _ = std::fs::write(whole, "");
    Ok(bin)
}
