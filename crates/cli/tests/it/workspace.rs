//! Rules that no compiler checks: which crate may use which, which licences come along, and that the architecture page is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// What each crate may use of the others, dev-dependencies apart.
const EDGES: [(&str, &[&str]); 19] = [
    ("model", &[]),
    ("api", &["model"]),
    ("store", &["model"]),
    ("metrics", &[]),
    ("apiserver", &["api", "metrics", "model", "store"]),
    ("client", &["api", "model"]),
    ("controllers", &["api", "client", "model"]),
    ("plan", &["api", "model"]),
    ("relay", &[]),
    ("streams", &[]),
    ("sys", &["model"]),
    ("dataplane", &["model", "plan", "relay", "sys"]),
    ("proxy", &["api", "client", "dataplane", "metrics", "model", "plan", "sys"]),
    ("node", &["api", "client", "dataplane", "model", "streams", "sys"]),
    ("lab", &["model", "sys"]),
    ("verbs", &["api", "client", "model", "streams"]),
    (
        "cli",
        &[
            "api",
            "apiserver",
            "client",
            "controllers",
            "dataplane",
            "lab",
            "model",
            "node",
            "plan",
            "proxy",
            "store",
            "sys",
            "verbs",
        ],
    ),
    ("testbed", &["model", "sys"]),
    ("fuzz", &[]),
];

/// Licences that may come along in the binary; an expression passes when one of its alternatives does.
const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that come along twice, each with the one who wants the other version.
const TWICE: [(&str, &str); 6] = [
    ("base64", "kube and pem; k8s-openapi the other"),
    ("getrandom", "ring"),
    ("nix", "prctl, of libcontainer"),
    ("syn", "derives at build time"),
    ("thiserror", "protobuf, of libcontainer"),
    ("thiserror-impl", "the same"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Metadata {
    // Only what comes along on this platform.
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new().current_dir(root()).other_options(["--locked".to_owned(), platform]).exec().unwrap()
}

#[test]
fn crates_use_only_what_their_place_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> = EDGES
        .into_iter()
        .map(|(name, uses)| (name.to_owned(), uses.iter().map(ToString::to_string).collect()))
        .collect();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.strip_prefix("stead-").unwrap();
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("crate {name} has no row in the table of edges"));
        let uses: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .filter_map(|dependency| dependency.name.strip_prefix("stead-").map(ToOwned::to_owned))
            .collect();
        let more: Vec<_> = uses.difference(allowed).collect();
        assert!(more.is_empty(), "crate {name} must not use {more:?}");
    }
}

#[test]
fn only_sys_has_unsafe_code() {
    let offenders: Vec<_> = sources()
        .into_iter()
        .filter(|path| !path.starts_with(root().join("crates/sys/")))
        // Not of this program: the built-in image's, which has no crate but std to ask the kernel through.
        .filter(|path| !path.starts_with(root().join("crates/node/hello-app/")))
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(concat!("unsafe", " {")))
        })
        .collect();
    assert!(offenders.is_empty(), "unsafe code outside sys: {offenders:?}");
}

#[test]
fn every_licence_may_come_along() {
    let metadata = metadata();
    let bad: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(acceptable))
        // Gives its licence (Apache-2.0) as a file instead of a name.
        .filter(|package| package.name.as_str() != "rust-criu" || package.license_file.is_none())
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(bad.is_empty(), "licences not on the list: {bad:#?}");
}

#[test]
fn no_crate_comes_along_twice_without_need() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let binary =
        metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == "stead-cli").unwrap();
    let mut open = vec![&binary.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
            let normal =
                |kinds: &[cargo_metadata::DepKindInfo]| kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            open.extend(
                node.deps.iter().filter(|dependency| normal(&dependency.dep_kinds)).map(|dependency| &dependency.pkg),
            );
        }
    }
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| seen.contains(&package.id)) {
        versions.entry(package.name.as_str()).or_default().insert(package.version.to_string());
    }
    assert!(versions.len() > 100, "the walk found too few crates: {}", versions.len());
    let twice: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| *name).collect();
    assert_eq!(
        twice,
        TWICE.map(|(name, _)| name),
        "one version each, or a line in the list that says who wants the other"
    );
}

/// `A OR B` (also written `A/B`) passes with one of them, `A AND B` with both.
fn acceptable(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn the_architecture_page_names_every_crate_and_only_paths_that_exist() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for package in metadata().workspace_packages() {
        let folder = format!("`crates/{}`", package.name.strip_prefix("stead-").unwrap());
        assert!(page.contains(&folder), "docs/architecture.md says nothing of {folder}");
    }
    for quoted in page.split('`').skip(1).step_by(2) {
        let is_path = ["crates/", "docs/", "build/"].iter().any(|start| quoted.starts_with(start));
        assert!(!is_path || root().join(quoted).exists(), "docs/architecture.md names {quoted}, which is not there");
    }
}

#[test]
fn modules_are_files_of_their_own_name() {
    let mod_files: Vec<_> = sources().into_iter().filter(|path| path.ends_with("mod.rs")).collect();
    assert!(mod_files.is_empty(), "foo.rs + foo/bar.rs instead of {mod_files:?}");
}

/// Every source file of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join("crates")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "the search for sources found too few");
    found
}
