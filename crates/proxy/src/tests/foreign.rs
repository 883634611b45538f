//! What somebody else does to the kernel's tables, and what the loop does about it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;

fn nft(namespace: &Namespace, text: &str) -> String {
    let run = || {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{text}");
        String::from_utf8(output.stdout).unwrap()
    };
    namespace.run(run).unwrap()
}

/// Chains that come before ours in every hook, and go their own ways.
const FOREIGN: &str = "add table ip theirs
    add chain ip theirs in { type nat hook prerouting priority -150; }
    add chain ip theirs out { type nat hook output priority -150; }
    add rule ip theirs out ip daddr 10.99.0.1 dnat to 10.99.0.2
    add table ip stead-too
    add chain ip stead-too gate { type filter hook input priority -300; }";

#[tokio::test]
async fn what_somebody_changed_is_put_right_and_told_and_what_is_theirs_stays() {
    assert!(VERIFY_PERIOD <= Duration::from_secs(15), "two of them are to pass within half a minute");
    let namespace = Namespace::create().unwrap();
    let plane = Box::new(NfTables::open_in(&namespace).unwrap());
    let cache = ServiceCache::unwatched();
    cache.apply([service("web", "10.96.0.1"), slice("web", &["10.244.1.2"])].into_iter().chain(lists_done()));
    let rig = Rig::over(cache, namespace, plane, Duration::from_millis(20));
    let is_right = |rig: &Rig<Namespace>| {
        let snapshot = rig.cache.read();
        let plan = plan_all(&snapshot, &config().context(&snapshot, rig.addresses.0.lock().unwrap().clone())).0;
        NfTables::open_in(&rig.plane).unwrap().preview(&plan).unwrap().is_empty()
    };
    let healed = |rig: &Rig<Namespace>| -> u64 {
        let metrics = rig.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix("stead_proxy_foreign_changes_healed_total "));
        value.unwrap().parse().unwrap()
    };
    let told = |rig: &Rig<Namespace>| {
        let events = rig.events.lock().unwrap();
        let are_ours = events.iter().filter(|event| event["reason"] == "ForeignChangesHealed");
        are_ours.filter(|event| event["involvedObject"]["kind"] == "Node").count()
    };
    rig.until(is_right).await;
    nft(&rig.plane, FOREIGN);
    let changes = [
        "flush ruleset",
        "delete table ip stead",
        "flush map ip stead frontends",
        "delete element ip stead frontends { 10.96.0.1 . tcp . 80 }",
        "flush chain ip stead nat-prerouting",
        "add element ip stead outlying { 10.98.0.1 }",
    ];
    for change in changes {
        let before = (healed(&rig), told(&rig));
        nft(&rig.plane, change);
        rig.until(|rig| healed(rig) > before.0 && is_right(rig)).await;
        println!("{change}: {} operations", healed(&rig) - before.0);
    }
    rig.until(|rig| told(rig) > 0).await;
    let before = healed(&rig);
    nft(&rig.plane, FOREIGN);
    // A change of ours meets a ruleset that others have changed as well.
    rig.cache.apply([slice("web", &["10.244.1.3"])]);
    rig.until(is_right).await;
    nft(&rig.plane, "delete table ip stead");
    rig.until(|rig| healed(rig) > before && is_right(rig)).await;
    let theirs = nft(&rig.plane, "list ruleset");
    assert!(theirs.contains("dnat to 10.99.0.2") && theirs.contains("table ip stead-too"), "{theirs}");
}
