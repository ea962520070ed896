//! The benchmarks of Affinity, run by `cargo xtask bench`.
//!
//! Each compares one thing of ours with the barest way to the same result, in turns within one run, and is judged by
//! the ratio of the two: the machine and its neighbours cancel out, absolute figures do not travel. [`harness`] says how
//! a benchmark is written; a new one is a `const` [`Bench`] in a module here and a line in [`BENCHES`].

mod avro;
mod disk;
mod harness;
mod log;
mod memstore;
mod murmur2;
mod options;
mod owner;
mod report;

use std::path::Path;
use std::process::ExitCode;

use harness::{Bench, Failure, Run, Stopwatch};
use options::{Options, USAGE};
use report::{Line, Report};

/// Every benchmark, in the order of the house.
const BENCHES: &[Bench] = &[
    murmur2::MURMUR2,
    avro::ENCODE,
    avro::DECODE,
    avro::RESOLVE,
    avro::GENERIC,
    avro::JSON_OUT,
    avro::JSON_IN,
    disk::DISK_SYNC,
    log::LOG_APPEND,
    log::LOG_APPEND_1,
    log::LOG_READ,
    memstore::MEMORY,
    memstore::DISK,
    owner::WRITE_MANY_KEYS,
    owner::WRITE_MUCH_STATE,
    owner::WRITE_HOT_KEY,
    owner::INDEX_WRITE,
    owner::EFFECT,
    owner::READ,
    owner::SCAN,
    owner::REPLAY,
    owner::TTL,
    owner::WATCH_FANOUT,
    owner::MEMORY,
];

/// Where files go unless told otherwise.
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench");

fn main() -> ExitCode {
    let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
    let options = match Options::parse(std::env::args().skip(1), &names) {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        println!("{USAGE}");
    } else if options.list {
        list();
    } else {
        return run(&options);
    }
    ExitCode::SUCCESS
}

fn list() {
    for bench in BENCHES {
        let group = if bench.quick { "quick" } else { "" };
        println!("{:<20} {group:<6} {}", bench.name, bench.about);
    }
}

/// Runs what was asked for: one benchmark's failure does not keep the next from running.
fn run(options: &Options) -> ExitCode {
    let watch = Stopwatch::start();
    let mut report = Report::new(options.json);
    let mut failed = false;
    for bench in BENCHES.iter().filter(|bench| options.wants(bench.name, bench.quick)) {
        match measure(bench, options) {
            Ok(lines) => lines.into_iter().for_each(|line| report.add(line)),
            Err(error) => {
                eprintln!("{}: {error}", bench.name);
                failed = true;
            }
        }
    }
    report.finish();
    eprintln!("took {:.0} s", watch.elapsed().as_secs_f64());
    if failed || options.gate && report.any_short() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(bench: &Bench, options: &Options) -> Result<Vec<Line>, Failure> {
    eprintln!("{}: {}", bench.name, bench.about);
    let dir = options.dir.as_deref().unwrap_or(Path::new(DIR));
    let mut run = Run::new(bench, dir, options.pairs)?;
    (bench.run)(&mut run)?;
    Ok(run.into_lines())
}
