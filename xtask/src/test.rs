//! `test`: every test there is, counted.

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::process::{Child, Stdio};

use crate::tally::Tally;
use crate::{cargo, check, rooms, run};

/// The packages that are asked for and do not exist.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(crate) fn unknown<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let known = if packages.is_empty() { Vec::new() } else { rooms::package_names()? };
    Ok(packages.iter().copied().filter(|package| !known.iter().any(|name| name == package)).collect())
}

/// Runs the tests of `packages`; of all, and the checks before them, when there are none. Whether all passed.
///
/// Nothing stops the count: a failed check, test or program is one failure, and where one package does not build, the
/// others are still tested. The last line of output is `N passed, M failed`.
pub(crate) fn test(packages: &[&str]) -> bool {
    let mut tally = Tally::default();
    if packages.is_empty() {
        let checked = check::check();
        tally.passed += (checked.steps - checked.failed.len()) as u64;
        checked.failed.into_iter().for_each(|name| tally.fail(name));
    }
    let what: Vec<String> = if packages.is_empty() {
        vec!["--workspace".to_owned()]
    } else {
        packages.iter().map(|package| format!("--package={package}")).collect()
    };
    if run(cargo(["test", "--locked", "--all-features", "--no-run"]).args(&what)).is_ok() {
        run_tests(&what, &mut tally);
    } else {
        test_each(packages, &mut tally);
    }
    if !tally.names.is_empty() {
        println!("\nfailed:");
    }
    tally.names.iter().for_each(|name| println!("  {name}"));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    tally.failed == 0
}

/// Tests package by package, for something does not build.
fn test_each(packages: &[&str], tally: &mut Tally) {
    let names = match rooms::package_names() {
        Ok(names) => names,
        Err(why) => return tally.fail(why),
    };
    for name in names.iter().filter(|name| packages.is_empty() || packages.contains(&name.as_str())) {
        let what = [format!("--package={name}")];
        match run(cargo(["test", "--locked", "--all-features", "--no-run"]).args(&what)) {
            Ok(()) => run_tests(&what, tally),
            Err(_) => tally.fail(format!("{name}: does not build")),
        }
    }
}

/// Runs the tests of what has been built, passing on and counting what they print.
fn run_tests(what: &[String], tally: &mut Tally) {
    let failed_before = tally.failed;
    let outcome = start_tests(what).and_then(|(mut child, output)| {
        pass_on(output, tally)?;
        child.wait()
    });
    tally.end();
    match outcome {
        Ok(status) if status.success() || tally.failed > failed_before => {}
        Ok(status) => tally.fail(format!("cargo test ended with {status}")),
        Err(error) => tally.fail(format!("cargo test: {error}")),
    }
}

/// Both outputs go through one pipe, so that cargo's lines stay between those of the programs they name.
fn start_tests(what: &[String]) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let mut command = cargo(["test", "--locked", "--all-features", "--no-fail-fast"]);
    command.args(what).env("CARGO_TERM_COLOR", "never");
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    Ok((command.spawn()?, reader))
}

fn pass_on(reader: PipeReader, tally: &mut Tally) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        io::stdout().write_all(&bytes)?;
        tally.line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
    Ok(())
}
