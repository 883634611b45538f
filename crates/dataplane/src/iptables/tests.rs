use super::*;

#[test]
fn a_frontend_is_read_from_its_rule() {
    let node = ["192.168.56.101".parse().unwrap()];
    let check = |rule: &str, expect: &[&str]| {
        let found = listing::frontends(rule, Family::V4, &node);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{rule}");
    };
    check(
        "-d 10.96.0.1/32 -p tcp -m comment --comment \"a/b cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A",
        &["10.96.0.1:80/TCP"],
    );
    check("-p udp -m comment --comment \"a/b\" -m udp --dport 30053 -j KUBE-EXT-A", &["192.168.56.101:30053/UDP"]);
    check("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", &[]);
}
