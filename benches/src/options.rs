//! What the command line asks for.

use std::path::PathBuf;

use crate::harness::PAIRS_MIN;

/// The command line, explained.
pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [NAME..] [--all] [--list] [--json] [--gate] [--pairs N] [--dir DIR]

  NAME..       run these; without names the quick group runs, in under three minutes
  --all        run every benchmark
  --list       list the benchmarks and run none
  --json       print one JSON object a line and nothing else; progress goes to stderr
  --gate       fail when a ratio falls short of its goal
  --pairs N    measure N pairs each, at least 5
  --dir DIR    keep files below DIR, on the disk to be measured (default target/bench)";

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) names: Vec<String>,
    pub(crate) all: bool,
    pub(crate) list: bool,
    pub(crate) json: bool,
    pub(crate) gate: bool,
    pub(crate) help: bool,
    pub(crate) pairs: usize,
    pub(crate) dir: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; `known` are the benchmarks there are.
    ///
    /// # Errors
    /// The mistake, as a sentence for whoever typed it.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Options, String> {
        let mut options = Options { pairs: PAIRS_MIN, ..Options::default() };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--all" => options.all = true,
                "--list" => options.list = true,
                "--json" => options.json = true,
                "--gate" => options.gate = true,
                "--help" | "-h" => options.help = true,
                "--dir" => options.dir = Some(args.next().ok_or("--dir needs a directory")?.into()),
                "--pairs" => options.pairs = pairs(args.next())?,
                name if known.contains(&name) => options.names.push(arg),
                flag if flag.starts_with('-') => return Err(format!("there is no option {flag}")),
                name => return Err(format!("there is no benchmark {name}; there are: {}", known.join(", "))),
            }
        }
        Ok(options)
    }

    /// Whether the benchmark is to run.
    pub(crate) fn wants(&self, name: &str, quick: bool) -> bool {
        self.all || self.names.iter().any(|wanted| wanted == name) || self.names.is_empty() && quick
    }
}

fn pairs(arg: Option<String>) -> Result<usize, String> {
    arg.and_then(|n| n.parse().ok())
        .filter(|&n| n >= PAIRS_MIN)
        .ok_or(format!("--pairs needs a number of at least {PAIRS_MIN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned), &["log-append", "log-read"])
    }

    #[test]
    fn options_and_names_mix() {
        let options = parse("--json log-read --dir /disk --pairs 9").unwrap();
        assert_eq!(
            options,
            Options {
                names: vec!["log-read".into()],
                json: true,
                pairs: 9,
                dir: Some("/disk".into()),
                ..Options::default()
            }
        );
    }

    #[test]
    fn mistakes_are_named() {
        let check = |line: &str, expected: &str| assert_eq!(parse(line), Err(expected.to_owned()));
        check("log-raed", "there is no benchmark log-raed; there are: log-append, log-read");
        check("--jsno", "there is no option --jsno");
        check("--pairs 4", "--pairs needs a number of at least 5");
        check("--dir", "--dir needs a directory");
    }

    #[test]
    fn without_names_the_quick_ones_run() {
        let check = |line: &str, name: &str, quick: bool, expected: bool| {
            assert_eq!(parse(line).unwrap().wants(name, quick), expected, "{line} {name}");
        };
        check("", "log-append", true, true);
        check("", "log-read", false, false);
        check("log-read", "log-read", false, true);
        check("log-read", "log-append", true, false);
        check("--all", "log-read", false, true);
    }
}
