//! A lab is gone with its process, however that ends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use stead_sys::link::{Links, VethEnd};
use stead_testbed::{Host, Lab, Layout};

const CHILD: &str = "STEAD_TESTBED_CHILD";

/// The links of a host, by name.
fn names(links: &mut Links) -> Vec<String> {
    links.list().unwrap().into_iter().map(|link| link.name).collect()
}

/// The part of the test that is killed: in the process that the test below starts, inside a host of its parent.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let lab = Lab::build(Layout::default()).unwrap();
    let inside = lab.pod(2, 2).namespace();
    let ends = [VethEnd { name: "probe", namespace: None }, VethEnd { name: "probe", namespace: Some(inside) }];
    Links::open().unwrap().create_veth(ends[0], ends[1]).unwrap();
    println!("\nready");
    // Until it is killed; and no longer than its parent's pipe.
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    let observer = Host::create("observer").unwrap();
    let start = || -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "leftovers::child", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut child = observer.run(start).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the child builds its lab");
    let mut links = observer.links().unwrap();
    assert_eq!(names(&mut links), ["lo", "probe"]);
    child.kill().unwrap();
    child.wait().unwrap();
    // The link into the lab goes when the namespace of its other end does.
    let deadline = Instant::now() + Duration::from_secs(30);
    while names(&mut links) != ["lo"] {
        assert!(Instant::now() < deadline, "the lab is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}
