//! Who may depend on whom: the arrows between the rooms, and which room may have a heavy dependency.
//!
//! The arrows stand here, in [`ARROWS`]. Heavy dependencies stand in `deny.toml`, whose bans are checked here against the
//! lock file as cargo-deny would: that tool takes minutes to build, and this must hold on every desk.

use std::fs;

use serde_json::Value;
use toml::Table;

use crate::{cargo, root};

/// Each room and the rooms it may use, in the order of a request. Everyone may use [`SHARED`]; tests of a room may
/// also use what its rooms use. What lies outside `crates/` (benches, tests, examples) may use all.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "affinity",
        &[
            "affinity-gateway",
            "affinity-keyspace",
            "affinity-state",
            "affinity-log",
            "affinity-memstore",
            "affinity-cluster",
            "affinity-avro",
            "affinity-registry",
            "affinity-protocol",
            "affinity-macros",
        ],
    ),
    (
        "affinity-gateway",
        &["affinity-keyspace", "affinity-avro", "affinity-registry", "affinity-protocol", "affinity-log"],
    ),
    ("affinity-keyspace", &["affinity-state", "affinity-cluster", "affinity-log", "affinity-memstore"]),
    ("affinity-state", &["affinity-log", "affinity-memstore"]),
    ("affinity-log", &[]),
    ("affinity-memstore", &[]),
    ("affinity-cluster", &["affinity-protocol"]),
    ("affinity-avro", &["affinity-avro-derive"]),
    ("affinity-avro-derive", &[]),
    ("affinity-macros", &[]),
    ("affinity-registry", &["affinity-avro"]),
    ("affinity-protocol", &[]),
    (SHARED, &[]),
];

/// The room that every other may use.
const SHARED: &str = "affinity-types";

/// The only place that dependencies come from, as the lock file names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// # Errors
/// A line for each arrow and each dependency that must not be.
pub(crate) fn check() -> Result<(), String> {
    let read = |name: &str| -> Result<Table, String> {
        let text = fs::read_to_string(root().join(name)).map_err(|error| format!("{name}: {error}"))?;
        text.parse().map_err(|error| format!("{name}: {error}"))
    };
    let mut broken = wrong_arrows(&packages(&metadata()?));
    broken.extend(wrong_dependencies(&read("Cargo.lock")?, &read("deny.toml")?));
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Packages that can be built with less than everything.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(crate) fn packages_with_features() -> Result<Vec<String>, String> {
    let packages = packages(&metadata()?);
    Ok(packages.into_iter().filter(|package| package.has_features).map(|package| package.name).collect())
}

/// The names of the workspace's packages.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(crate) fn package_names() -> Result<Vec<String>, String> {
    Ok(packages(&metadata()?).into_iter().map(|package| package.name).collect())
}

/// A package of the workspace.
struct Package {
    name: String,
    /// Whether it lies in `crates/`.
    is_room: bool,
    has_features: bool,
    /// What it depends on, and whether for its tests only.
    dependencies: Vec<(String, bool)>,
}

fn metadata() -> Result<Value, String> {
    let output = cargo(["metadata", "--locked", "--no-deps", "--format-version", "1"]).output();
    let output = output.map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn packages(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rooms = text(&metadata["workspace_root"]) + "/crates/";
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        is_room: text(&value["manifest_path"]).starts_with(&rooms),
        has_features: value["features"].as_object().is_some_and(|features| !features.is_empty()),
        dependencies: list(&value["dependencies"])
            .iter()
            .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
            .collect(),
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

fn wrong_arrows(packages: &[Package]) -> Vec<String> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut broken = Vec::new();
    for room in packages.iter().filter(|package| package.is_room) {
        if arrows(&room.name).is_none() {
            broken.push(format!("{} has no line in ARROWS of xtask/src/rooms.rs", room.name));
            continue;
        }
        for (to, for_tests) in room.dependencies.iter().filter(|(to, _)| ours(to)) {
            if !(to == SHARED || if *for_tests { reaches(&room.name, to) } else { uses(&room.name, to) }) {
                broken.push(format!("{} must not depend on {to}", room.name));
            }
        }
    }
    broken
}

fn arrows(room: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == room).map(|(_, to)| *to)
}

fn uses(room: &str, other: &str) -> bool {
    arrows(room).is_some_and(|to| to.contains(&other))
}

/// Whether `room` uses `other`, itself or through the rooms it uses; a room's tests may use the room itself.
fn reaches(room: &str, other: &str) -> bool {
    room == other || arrows(room).is_some_and(|to| to.iter().any(|next| reaches(next, other)))
}

/// Holds the lock file against the bans of `deny.toml`: who depends on a banned crate must be among its wrappers.
fn wrong_dependencies(lock: &Table, deny: &Table) -> Vec<String> {
    let mut broken = Vec::new();
    let bans = array(deny.get("bans").and_then(|bans| bans.get("deny")));
    for package in array(lock.get("package")) {
        let name = text(package.get("name"));
        if package.get("source").is_some_and(|source| text(Some(source)) != REGISTRY) {
            broken.push(format!("{name} does not come from crates.io"));
        }
        // A dependency is written as `name`, or `name version` where there are several.
        for used in
            array(package.get("dependencies")).iter().filter_map(|used| text(Some(used)).split(' ').next())
        {
            let ban = bans.iter().find(|ban| text(ban.get("crate")) == used);
            let allowed =
                |ban: &toml::Value| array(ban.get("wrappers")).iter().any(|by| text(Some(by)) == name);
            if ban.is_some_and(|ban| !allowed(ban)) {
                broken.push(format!("{name} must not depend on {used}: see the bans of deny.toml"));
            }
        }
    }
    broken
}

fn array(value: Option<&toml::Value>) -> &[toml::Value] {
    value.and_then(toml::Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: Option<&toml::Value>) -> &str {
    value.and_then(toml::Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata of a workspace in `/w` whose packages are `(folder, name, dependency, kind)`.
    fn workspace(members: &[(&str, &str, &str, Option<&str>)]) -> Vec<Package> {
        let member = |(folder, name, dependency, kind): &(&str, &str, &str, Option<&str>)| {
            serde_json::json!({
                "name": name,
                "manifest_path": format!("/w/{folder}/Cargo.toml"),
                "features": {},
                "dependencies": [{ "name": dependency, "kind": kind }, { "name": "bytes", "kind": null }],
            })
        };
        let members: Vec<Value> = members.iter().map(member).collect();
        packages(&serde_json::json!({ "workspace_root": "/w", "packages": members }))
    }

    #[test]
    fn an_arrow_that_the_house_does_not_have_is_named() {
        let log = ("crates/log", "affinity-log", "affinity-types", None);
        let types = ("crates/types", "affinity-types", "thiserror", None);
        let check = |member: (&str, &str, &str, Option<&str>), expected: &[&str]| {
            let memstore = ("crates/memstore", "affinity-memstore", "affinity-types", None);
            assert_eq!(wrong_arrows(&workspace(&[log, types, memstore, member])), expected);
        };
        check(("crates/state", "affinity-state", "affinity-log", None), &[]);
        check(("crates/gateway", "affinity-gateway", "affinity-memstore", Some("dev")), &[]);
        check(("benches", "affinity-bench", "affinity-log", None), &[]);
        check(("crates/log", "affinity-log", "affinity-log", Some("dev")), &[]);
        check(("crates/keyspace", "affinity-keyspace", "affinity-memstore", None), &[]);
        let gateway = ["affinity-gateway must not depend on affinity-memstore"];
        check(("crates/gateway", "affinity-gateway", "affinity-memstore", None), &gateway);
        let cluster = ["affinity-cluster must not depend on affinity-memstore"];
        check(("crates/cluster", "affinity-cluster", "affinity-memstore", Some("dev")), &cluster);
        let types = ["affinity-types must not depend on affinity-log"];
        check(("crates/types", "affinity-types", "affinity-log", Some("dev")), &types);
        let unknown = ["affinity-core has no line in ARROWS of xtask/src/rooms.rs"];
        check(("crates/core", "affinity-core", "affinity-types", None), &unknown);
    }

    #[test]
    fn the_arrows_of_the_house_have_no_cycle() {
        for (room, to) in ARROWS {
            assert!(!to.iter().any(|next| reaches(next, room)), "{room} reaches itself");
        }
    }

    #[test]
    fn a_heavy_dependency_is_for_its_wrappers_only() {
        let deny = r#"bans.deny = [{ crate = "fjall", wrappers = ["affinity-memstore"] }]"#.parse().unwrap();
        let check = |user: &str, used: &str, expected: &[&str]| {
            let lock = format!("[[package]]\nname = \"{user}\"\ndependencies = [\"bytes\", \"{used}\"]");
            assert_eq!(wrong_dependencies(&lock.parse().unwrap(), &deny), expected);
        };
        check("affinity-memstore", "fjall", &[]);
        check("affinity-state", "bytes 1.11.0", &[]);
        let expected = ["affinity-state must not depend on fjall: see the bans of deny.toml"];
        check("affinity-state", "fjall 3.1.13", &expected);
    }

    #[test]
    fn a_dependency_from_elsewhere_is_named() {
        let lock =
            "[[package]]\nname = \"bytes\"\nsource = \"git+https://example.org/bytes\"".parse().unwrap();
        assert_eq!(wrong_dependencies(&lock, &Table::new()), ["bytes does not come from crates.io"]);
    }
}
