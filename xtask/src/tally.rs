//! Counts what test programs say while they say it.
//!
//! Read line by line from the merged output of `cargo test`, whose lines name the program that runs next, and of the
//! programs of the standard harness. An ignored test counts as failed, for the house has none; so does a program that ends
//! without a result, as one does that aborts.

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What failed, by name.
    pub(crate) names: Vec<String>,
    /// The program that runs, until it gives its result.
    running: Option<String>,
    /// The program whose lines these are.
    program: String,
    /// The names listed since the latest `failures:`.
    listed: Option<Vec<String>>,
}

impl Tally {
    /// Takes the next line of output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(program) = program(line) {
            self.end();
            self.program.clone_from(&program);
            self.running = Some(program);
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.result(counts);
        } else if line == "failures:" {
            // Said twice: before the failed tests' output, and before the list of their names.
            self.listed = Some(Vec::new());
        } else if let Some(name) = ignored(line) {
            self.names.push(format!("{}: {name} (ignored)", self.program));
        } else if let (Some(listed), Some(name)) = (&mut self.listed, line.strip_prefix("    ")) {
            listed.push(format!("{}: {name}", self.program));
        }
    }

    /// A failure that no test program can tell of.
    pub(crate) fn fail(&mut self, name: String) {
        self.failed += 1;
        self.names.push(name);
    }

    /// The output has ended.
    pub(crate) fn end(&mut self) {
        if let Some(program) = self.running.take() {
            self.fail(format!("{program}: ended without a result"));
        }
        self.listed = None;
    }

    fn result(&mut self, counts: &str) {
        self.passed += count(counts, "passed");
        self.failed += count(counts, "failed") + count(counts, "ignored");
        self.names.extend(self.listed.take().unwrap_or_default());
        self.running = None;
    }
}

/// The program that cargo says it runs next.
fn program(line: &str) -> Option<String> {
    if let Some(package) = line.trim_start().strip_prefix("Doc-tests ") {
        return Some(format!("{package} (docs)"));
    }
    let (_, path) = line.trim_start().strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let file = path.rsplit('/').next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _hash)| name).to_owned())
}

/// The test that this line says was ignored.
fn ignored(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    outcome.starts_with("ignored").then_some(name)
}

/// The number before `what` in `ok. 3 passed; 0 failed; ...`.
fn count(counts: &str, what: &str) -> u64 {
    let number = |part: &str| part.trim().strip_suffix(what)?.trim().rsplit(' ').next()?.parse().ok();
    counts.split(';').find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, counts: (u64, u64), names: &[&str]) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.end();
        assert_eq!((tally.passed, tally.failed), counts);
        assert_eq!(tally.names, names);
    }

    #[test]
    fn results_of_all_programs_add_up() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/affinity_log-0123abcd)

running 2 tests
test a ... ok
test b ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests affinity_log

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        check(output, (4, 0), &[]);
    }

    #[test]
    fn failed_tests_are_named_with_their_program() {
        let output = "     Running tests/crash.rs (target/debug/deps/crash-0123abcd)
test torn::tail ... FAILED
failures:

---- torn::tail stdout ----
    indented output
failures:
    torn::tail
    torn::head

test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        check(output, (5, 2), &["crash: torn::tail", "crash: torn::head"]);
    }

    #[test]
    fn an_ignored_test_is_a_failed_one() {
        let output = "   Doc-tests affinity_log
test src/lib.rs - (line 3) ... ignored
test slow ... ignored, takes long
test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let names =
            ["affinity_log (docs): src/lib.rs - (line 3) (ignored)", "affinity_log (docs): slow (ignored)"];
        check(output, (0, 2), &names);
    }

    #[test]
    fn a_program_that_dies_counts_once() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/first-01)
running 9 tests
     Running unittests src/lib.rs (target/debug/deps/second-02)
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running unittests src/lib.rs (target/debug/deps/third-03)
";
        check(output, (1, 2), &["first: ended without a result", "third: ended without a result"]);
    }
}
