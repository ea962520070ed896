//! The verbs of this workspace, alike at a desk and in CI: `cargo xtask check | fix | test | bench`.
//!
//! `check` writes nothing outside `target/`, `fix` mends what a program can mend, `test` is the whole proof and ends with
//! one line of counts, `bench` hands over to the benchmarks' own command line (`benches/`).

mod check;
mod files;
mod rooms;
mod tally;
mod test;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "\
usage: cargo xtask <verb>

  check            format, lints, docs, features, rooms and their dependencies; writes nothing
  fix              apply what the formatter and the linter can mend
  test             check, then every test; ends with `N passed, M failed`
  test PACKAGE..   only the tests of these packages
  bench [ARG..]    benchmarks against the bare side; `bench --help` says more";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["check"] => status(check::check().passed()),
        ["fix"] => check::fix().map_or_else(refuse, |()| ExitCode::SUCCESS),
        ["test", packages @ ..] => match test::unknown(packages) {
            Ok(unknown) if unknown.is_empty() => status(test::test(packages)),
            Ok(unknown) => refuse(format!("there is no package {}", unknown.join(", "))),
            Err(why) => refuse(why),
        },
        ["bench", rest @ ..] => bench(rest),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Builds the benchmarks and passes on what was asked and what came of it.
fn bench(args: &[&str]) -> ExitCode {
    let mut run = Command::new(cargo_path());
    run.args(["run", "--locked", "--release", "--package", "affinity-bench", "--"]).args(args);
    match run.status() {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into)
        }
        Err(error) => refuse(format!("cargo: {error}")),
    }
}

/// Says why it cannot be done.
fn refuse(why: String) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

fn status(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The cargo that runs us, about to run in the root of the workspace.
fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(cargo_path());
    command.args(args).current_dir(root());
    command
}

fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or("cargo".to_owned())
}

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Runs the command to its end, its output being ours.
fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", line(command))),
        Err(error) => Err(format!("{}: {error}", line(command))),
    }
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    command.get_args().fold("cargo".to_owned(), |line, arg| line + " " + &arg.to_string_lossy())
}
