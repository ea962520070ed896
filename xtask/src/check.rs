//! `check` and `fix`.

use std::process::{Command, Stdio};

use crate::{cargo, files, rooms, run};

const DENY_MISSING: &str =
    "cargo-deny is not installed, licences go unchecked: cargo install cargo-deny --locked";

/// What was checked, and which of it failed.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) steps: usize,
    pub(crate) failed: Vec<String>,
}

impl Checked {
    /// Whether every step passed.
    pub(crate) fn passed(&self) -> bool {
        self.failed.is_empty()
    }

    fn step(&mut self, name: &str, outcome: impl FnOnce() -> Result<(), String>) {
        eprintln!("check: {name}");
        self.steps += 1;
        if let Err(why) = outcome() {
            eprintln!("{why}");
            self.failed.push(format!("check: {name}"));
        }
    }
}

/// Runs every step, also after one has failed, and names at the end those that did.
pub(crate) fn check() -> Checked {
    let mut checked = Checked::default();
    checked.step("format", || run(&mut cargo(["fmt", "--all", "--check"])));
    checked.step("rooms", rooms::check);
    checked.step("files", files::check);
    checked.step("lints", || run(&mut clippy(&["--workspace", "--all-targets", "--all-features"])));
    checked.step("docs", || {
        let args = ["doc", "--locked", "--keep-going", "--workspace", "--no-deps", "--all-features"];
        run(cargo(args).env("RUSTDOCFLAGS", "-D warnings"))
    });
    // All features together hide what only some builds miss or do not use.
    for package in rooms::packages_with_features().unwrap_or_default() {
        checked
            .step(&format!("{package} with default features"), || run(&mut clippy(&["--package", &package])));
        let bare = ["--package", &package, "--no-default-features"];
        checked.step(&format!("{package} without features"), || run(&mut clippy(&bare)));
    }
    if deny_is_installed() {
        let args = [
            "deny",
            "--locked",
            "--all-features",
            "check",
            "-A",
            "unused-wrapper",
            "bans",
            "licenses",
            "sources",
        ];
        checked.step("licences", || run(&mut cargo(args)));
    } else if std::env::var_os("CI").is_some() {
        checked.step("licences", || Err(DENY_MISSING.to_owned()));
    } else {
        eprintln!("check: {DENY_MISSING}");
    }
    for name in &checked.failed {
        eprintln!("failed {name}");
    }
    checked
}

/// Applies what clippy and the formatter can mend.
pub(crate) fn fix() -> Result<(), String> {
    let lints = "clippy --fix --allow-dirty --allow-staged --workspace --all-targets --all-features";
    run(&mut cargo(lints.split(' ')))?;
    run(&mut cargo(["fmt", "--all"]))
}

fn clippy(what: &[&str]) -> Command {
    let mut command = cargo(["clippy", "--locked", "--keep-going"]);
    command.args(what).args(["--", "-D", "warnings"]);
    command
}

fn deny_is_installed() -> bool {
    let mut version = cargo(["deny", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
