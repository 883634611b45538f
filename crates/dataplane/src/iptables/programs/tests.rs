use std::fs::File;

use nix_lock::hold;

use super::*;

/// The lock of iptables, held as another program would.
mod nix_lock {
    use std::{fs::File, path::Path};

    /// Until the file is dropped.
    pub(super) fn hold(path: &Path) -> File {
        let file = File::create(path).unwrap();
        file.lock().unwrap();
        file
    }
}

#[test]
fn versions_are_read() {
    let check = |text: &str, expect| assert_eq!(parse_version(text), expect, "{text}");
    check("iptables v1.8.9 (nf_tables)", Some((Variant::Nft, Version(1, 8, 9))));
    check("iptables v1.8.10 (legacy)", Some((Variant::Legacy, Version(1, 8, 10))));
    check("iptables v1.6.1", Some((Variant::Legacy, Version(1, 6, 1))));
    check("iptables v1.9", Some((Variant::Legacy, Version(1, 9, 0))));
    check("something else", None);
    assert!(Version(1, 6, 1) < OLDEST && OLDEST < Version(1, 8, 0));
}

/// A program of this name that prints this for its version.
fn fake(name: &str, version: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("stead-test-{}-{name}", std::process::id()));
    fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn programs_that_will_not_do_are_told_of_with_what_to_do() {
    let told = |name: &str, version, wanted| {
        let path = fake(name, version);
        let found = named(&path, None).and_then(|(name, variant, found)| fit(wanted, &name, variant, found));
        fs::remove_file(&path).unwrap();
        found.map_err(|error| error.to_string().replace(&path, "iptables"))
    };
    let check = |version, wanted, expect: Result<(), &str>| {
        assert_eq!(
            told(&format!("iptables-{}", version_name(version)), version, wanted),
            expect.map_err(str::to_owned)
        );
    };
    check("iptables v1.8.9 (nf_tables)", Variant::Nft, Ok(()));
    check("iptables v1.6.1", Variant::Legacy, Err("iptables is version 1.6.1; 1.6.2 or newer is needed"));
    let other = "iptables of kind legacy is not installed, or its programs are of the other kind";
    check("iptables v1.8.7 (nf_tables)", Variant::Legacy, Err(other));
    check("hello", Variant::Nft, Err("iptables prints no version that can be read: \"hello\""));
    assert!(matches!(named("iptables-that-is-not-there", None), Err(Error::NotInstalled)));
    let text = Error::NotInstalled.to_string();
    assert!(text.contains("install the package iptables"), "{text}");
}

/// Fit for a file's name.
fn version_name(version: &str) -> String {
    version.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[test]
fn rules_go_where_the_hosts_are() {
    use Variant::{Legacy, Nft};
    let check = |installed: &[Variant], host, kubernetes: &[Variant], any: &[Variant], expect| {
        let signs = Signs { kubernetes: kubernetes.into(), any: any.into() };
        assert_eq!(choose(installed, host, &signs), expect, "{installed:?} {host:?} {signs:?}");
    };
    let both = [Legacy, Nft];
    check(&both, Some(Nft), &[], &[], Some(Nft));
    check(&both, Some(Legacy), &[], &[], Some(Legacy));
    check(&both, None, &[], &[], Some(Nft));
    check(&both, Some(Nft), &[Legacy], &both, Some(Legacy));
    check(&both, Some(Legacy), &[Nft], &both, Some(Nft));
    check(&both, Some(Nft), &both, &both, Some(Nft));
    check(&both, Some(Nft), &[], &[Legacy], Some(Legacy));
    check(&both, Some(Legacy), &[], &both, Some(Legacy));
    check(&[Legacy], Some(Legacy), &[Nft], &[Nft], Some(Legacy));
    check(&[Nft], Some(Nft), &[Legacy], &[Legacy], Some(Nft));
    check(&[], None, &[], &[], None);
}

#[test]
fn what_it_complains_about_is_shown() {
    let check = |text, expect| assert_eq!(line_number(text), expect, "{text}");
    check("Couldn't load target `BLA':No such file or directory; Error occurred at line: 3", Some(3));
    check("iptables-restore: line 12 failed", Some(12));
    check("iptables-nft-restore: line 2 failed: Bad rule (does a matching rule exist in that chain?).", Some(2));
    check("Permission denied", None);
    check("line ", None);
}

#[test]
fn chains_of_others_are_found_in_a_listing() {
    let listing =
        "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT";
    assert_eq!(listing.lines().filter_map(foreign_name).collect::<Vec<_>>(), ["KUBE-SERVICES", "OUTPUT"]);
}

const RULES: &str = "*nat\n:KUBE-MARK-MASQ - [0:0]\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n";

#[test]
fn both_kinds_write_and_read_back_in_a_namespace_and_are_found_by_it() {
    for variant in Variant::ALL {
        let namespace = Namespace::create().unwrap();
        let programs = Programs::of(variant, Some(&namespace)).unwrap();
        assert_eq!((programs.variant(), programs.version() >= OLDEST), (variant, true));
        for family in Family::ALL {
            programs.restore(family, RULES).unwrap();
            let saved = programs.save(family, "nat").unwrap();
            assert!(saved.contains("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"), "{saved}");
        }
        assert_eq!(Programs::find_in(&namespace).unwrap().variant(), variant);
        // One that is cut off is not carried out.
        let cut = RULES.replace("KUBE-MARK-MASQ", "KUBE-OTHER").replace("COMMIT\n", "");
        assert!(matches!(programs.restore(Family::V4, &cut), Err(Error::Failed { .. })));
        assert!(!programs.save(Family::V4, "nat").unwrap().contains("KUBE-OTHER"));
        let error = programs.restore(Family::V4, &RULES.replace("-j MARK", "-j NONE")).unwrap_err();
        assert!(error.to_string().contains("(`-A KUBE-MARK-MASQ -j NONE"), "{error}");
    }
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_then_told() {
    let namespace = Namespace::create().unwrap();
    let path = std::env::temp_dir().join(format!("stead-test-xtables-{}.lock", std::process::id()));
    let programs = Programs::of(Variant::Legacy, Some(&namespace)).unwrap().with_lock(path.clone());
    let held: File = hold(&path);
    let error = programs.restore(Family::V4, RULES).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }) && error.may_pass(), "{error}");
    drop(held);
    programs.restore(Family::V4, RULES).unwrap();
    fs::remove_file(path).unwrap();
}
