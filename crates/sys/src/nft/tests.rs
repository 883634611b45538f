//! Against the kernel of this machine, each test in a namespace of its own.

use std::{
    borrow::Cow,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    time::Duration,
};

use stead_model::{Family, Protocol};

use super::*;
use crate::namespace::Namespace;

const NAME: Name = Name { family: Family::V4, table: "try" };
const FRONTENDS: Shape =
    Shape { key: &[Field::Ipv4Addr, Field::InetProto, Field::InetService], data: Data::Fields(&[Field::Classid]) };
const SLOTS: Shape = Shape { key: &[Field::Classid, Field::Random], data: Data::Fields(&[Field::Classid]) };
const BACKENDS: Shape = Shape { key: &[Field::Classid], data: Data::Fields(&[Field::Ipv4Addr, Field::InetService]) };
const STICKY: Shape = Shape {
    key: &[Field::Ipv4Addr, Field::Ipv4Addr, Field::InetProto, Field::InetService],
    data: Data::Fields(&[Field::Classid]),
};
const RANGES: Shape =
    Shape { key: &[Field::Ipv4Addr, Field::InetProto, Field::InetService, Field::Ipv4Addr], data: Data::End };
const VERDICTS: Shape = Shape { key: &[Field::Classid], data: Data::Verdict };

fn frontend(number: u32) -> Words {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + number));
    Words::new().address(address).protocol(Protocol::Tcp).port(80)
}

fn frontends(numbers: impl Iterator<Item = u32>) -> Elements {
    let mut elements = Elements::new(FRONTENDS);
    numbers.for_each(|number| elements.push(frontend(number).as_bytes(), Words::new().number(number).as_bytes()));
    elements
}

/// The sources that three frontends may be reached from.
fn ranges() -> Elements {
    let mut elements = Elements::new(RANGES);
    for (number, first, last) in [(0, [192, 0, 2, 0], [192, 0, 2, 255]), (1, [0; 4], [255; 4]), (2, [10; 4], [10; 4])] {
        let key = |address: [u8; 4]| frontend(number).address(Ipv4Addr::from(address).into());
        elements.push(key(first).as_bytes(), key(last).as_bytes());
    }
    elements
}

fn set(name: &'static str, shape: Shape) -> Change {
    Change::AddSet(NAME, Set { name, shape, size: Some(100_000), dynamic: None })
}

fn table() -> Vec<Change> {
    vec![Change::AddTable(NAME, Table { comment: "a try".into() }), set("frontends", FRONTENDS)]
}

/// One of every statement and every kind of set.
fn everything() -> Transaction {
    use Selector::*;
    let sticky = Set { name: "sticky", shape: STICKY, size: Some(1000), dynamic: Some(Duration::from_secs(10800)) };
    let frontend = vec![DestinationAddress, Protocol, DestinationPort];
    let client = vec![SourceAddress, DestinationAddress, Protocol, DestinationPort];
    let range = |text: &str| Statement::Range(DestinationAddress, Comparison::Different, text.parse().unwrap());
    let hash = |key| Hash { key, modulus: 8191, seed: 0x7374_6561 };
    let base = |hook, priority| Some(BaseChain { hook, priority });
    let chain = |name: &'static str, base| Change::AddChain(NAME, Chain { name: name.into(), base });
    let rule = |chain: &'static str, rule: Rule| Change::AddRule(NAME, chain.into(), rule);
    let mut changes = table();
    changes.extend([
        set("ranges", RANGES),
        set("slots", SLOTS),
        set("backends", BACKENDS),
        Change::AddSet(NAME, Set { name: "kinds", shape: VERDICTS, size: None, dynamic: None }),
        Change::AddSet(NAME, sticky),
        chain("send", None),
        chain("in", base(Hook::Prerouting, -100)),
        chain("own", base(Hook::Output, -100)),
        chain("out", base(Hook::Postrouting, 100)),
        rule("in", vec![range("10.96.0.0/16"), range("10.96.0.0/13"), range("10.96.0.1/32"), range("0.0.0.0/0")]),
        rule("in", vec![Statement::SetPriority(frontend.clone(), "frontends"), Statement::Verdict(Verdict::Drop)]),
        rule(
            "in",
            vec![
                Statement::SetPriority(vec![Priority, Random(7)], "slots"),
                Statement::Verdict(Verdict::Jump("send".into())),
            ],
        ),
        rule("in", vec![Statement::SetPriority(vec![Priority, Turn(3)], "slots")]),
        rule("in", vec![Statement::SetPriority(vec![Priority, hash(&[SourceAddress])], "slots")]),
        rule(
            "in",
            vec![Statement::SetPriority(
                vec![Priority, hash(&[SourceAddress, DestinationAddress, Protocol, SourcePort, DestinationPort])],
                "slots",
            )],
        ),
        rule("in", vec![Statement::VerdictMap(vec![Priority], "kinds")]),
        rule("in", vec![Statement::Protocol(stead_model::Protocol::Tcp), Statement::RejectReset]),
        rule("in", vec![Statement::Reject]),
        rule("in", vec![Statement::Remember(client.clone(), "sticky", Duration::from_secs(5))]),
        rule("in", vec![Statement::Forget(client, "sticky")]),
        rule(
            "send",
            vec![Statement::Protocol(stead_model::Protocol::Udp), Statement::Dnat(vec![Priority], "backends")],
        ),
        rule("out", vec![Statement::NotTranslated, Statement::Verdict(Verdict::Accept)]),
        rule(
            "out",
            vec![
                Statement::Protocol(stead_model::Protocol::Udp),
                Statement::InSet(vec![OriginalDestinationAddress, Protocol, OriginalDestinationPort], "frontends"),
                Statement::Masquerade,
            ],
        ),
        rule("own", vec![Statement::Verdict(Verdict::Return)]),
        set("counted", Shape { data: Data::Counter, ..RANGES }),
        chain("every-in", base(Hook::EveryPrerouting, 0)),
        chain("every-out", base(Hook::EveryOutput, 0)),
        rule("every-in", vec![Statement::Direction(Direction::Original), Statement::Verdict(Verdict::Accept)]),
        rule(
            "every-out",
            vec![
                Statement::Direction(Direction::Reply),
                Statement::InSet(vec![DestinationAddress, Protocol, DestinationPort, SourceAddress], "counted"),
            ],
        ),
        rule(
            "in",
            vec![
                Statement::InSet(vec![DestinationAddress, Protocol, DestinationPort, SourceAddress], "ranges"),
                Statement::Verdict(Verdict::Return),
            ],
        ),
        rule("out", vec![Statement::Link(LinkName::Whole("br0".into())), Statement::Verdict(Verdict::Return)]),
        rule("out", vec![Statement::Link(LinkName::Prefix("veth".into())), Statement::Verdict(Verdict::Return)]),
        rule("out", vec![Statement::SourceIsOwn, Statement::Masquerade]),
        rule("out", vec![Statement::LinkOut(LinkName::Whole("br0".into())), Statement::NoLink]),
        rule("out", vec![Statement::LinkOut(LinkName::Prefix("br".into())), Statement::Verdict(Verdict::Return)]),
        Change::AddElements(NAME, "ranges", ranges()),
        Change::AddVerdict(NAME, "kinds", 0xa000_0001, Verdict::Goto("send".into())),
        Change::AddElements(NAME, "frontends", frontends(0..3)),
        Change::DeleteElements(NAME, "frontends", frontends(1..2)),
    ]);
    Transaction { changes }
}

fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> String {
    let run = || {
        let mut command = Command::new("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nft is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    namespace.run(run).unwrap()
}

#[test]
fn text_loads_as_the_same_ruleset_as_the_messages() {
    let transaction = everything();
    let [by_messages, by_text] = [(); 2].map(|()| Namespace::create().unwrap());
    Nftables::open_in(&by_messages).unwrap().commit(&transaction, None).unwrap();
    nft(&by_text, &["-f", "-"], &transaction.to_string());
    let listing = nft(&by_messages, &["list", "ruleset"], "");
    assert_eq!(listing, nft(&by_text, &["list", "ruleset"], ""));
    assert!(listing.contains("comment \"a try\"") && listing.contains("10.96.0.2 . tcp . 80 : 0:2"), "{listing}");
}

#[test]
fn what_was_committed_is_read_back() {
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    let transaction = everything();
    tables.commit(&transaction, None).unwrap();

    let infos = tables.tables(Family::V4).unwrap();
    assert_eq!(infos, [TableInfo { name: "try".into(), comment: Some("a try".into()), flags: 0 }]);
    assert_eq!(tables.tables(Family::V6).unwrap(), []);
    let chains = tables.chains(NAME).unwrap();
    let bases = chains.iter().map(|chain| (chain.name.as_str(), chain.base)).collect::<Vec<_>>();
    let expect = [
        ("send", None),
        ("in", Some((0, -100))),
        ("own", Some((3, -100))),
        ("out", Some((4, 100))),
        ("every-in", Some((0, 0))),
        ("every-out", Some((3, 0))),
    ];
    assert_eq!(bases, expect);
    let written = transaction.changes.iter().filter_map(|change| match change {
        Change::AddRule(_, chain, rule) => Some((Cow::clone(chain), digest(rule))),
        _ => None,
    });
    let mut written = written.collect::<Vec<_>>();
    let mut read = tables.rules(NAME).unwrap();
    written.sort_by(|a, b| a.0.cmp(&b.0));
    read.sort_by(|a, b| a.chain.cmp(&b.chain));
    let read = read.into_iter().map(|rule| (Cow::from(rule.chain), rule.digest.unwrap())).collect::<Vec<_>>();
    assert_eq!(read, written);
    let sets = tables.sets(NAME).unwrap();
    let frontends_set = sets.iter().find(|set| set.name == "frontends").unwrap();
    assert_eq!((frontends_set.key_size, frontends_set.data_size, frontends_set.size), (12, 4, Some(100_000)));
    assert_eq!(frontends_set.count, Some(2));
    assert_eq!(tables.elements(NAME, "frontends", FRONTENDS).unwrap().len(), 2);
    assert_eq!(tables.verdicts(NAME, "kinds").unwrap(), [(0xa000_0001, Some("send".into()))]);
}

#[test]
fn ranges_are_read_back_and_removed() {
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    tables.commit(&everything(), None).unwrap();
    let sorted = |elements: &Elements| {
        let mut all: Vec<_> = elements.iter().map(|(first, last)| (first.to_vec(), last.to_vec())).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&tables.elements(NAME, "ranges", RANGES).unwrap()), sorted(&ranges()));
    let remove = Change::DeleteElements(NAME, "ranges", ranges());
    let text = "delete element ip try ranges { 10.96.0.0 . tcp . 80 . 192.0.2.0-192.0.2.255, ";
    assert!(remove.to_string().starts_with(text), "{remove}");
    tables.commit(&Transaction { changes: vec![remove] }, None).unwrap();
    assert!(tables.elements(NAME, "ranges", RANGES).unwrap().is_empty());
}

#[test]
fn many_elements_are_split_and_all_arrive() {
    const COUNT: u32 = 50_000;
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    let mut changes = table();
    changes.push(Change::AddElements(NAME, "frontends", frontends(0..COUNT)));
    let commit = tables.commit(&Transaction { changes }, None).unwrap();
    assert!(commit.bytes > 1 << 20 && commit.messages > 10, "{commit:?}");
    let read = tables.elements(NAME, "frontends", FRONTENDS).unwrap();
    let mut numbers = read.iter().map(|(_, data)| WordReader(data).number().unwrap()).collect::<Vec<_>>();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..COUNT));

    let wanted = frontends((COUNT - 2000..COUNT + 3).rev());
    let found = tables.elements_of(NAME, "frontends", &wanted).unwrap();
    assert_eq!(found.len(), 2000);
}

#[test]
fn a_refusal_names_the_change_and_nothing_of_the_batch_stands() {
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    let mut changes = table();
    changes.push(Change::AddElements(NAME, "frontends", frontends(0..5000)));
    changes.push(Change::DeleteElements(NAME, "frontends", frontends(7000..7001)));
    let error = tables.commit(&Transaction { changes }, None).unwrap_err();
    assert!(error.is_missing());
    let text = error.to_string();
    assert!(text.contains("delete element ip try frontends { 10.96.27.88 . tcp . 80 }"), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
    assert_eq!(tables.tables(Family::V4).unwrap(), []);

    let transaction = Transaction { changes: table() };
    tables.commit(&transaction, None).unwrap();
    assert_eq!(tables.tables(Family::V4).unwrap().len(), 1);
}

#[test]
fn a_commit_can_insist_on_a_generation() {
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    let generation = tables.generation().unwrap();
    let transaction = Transaction { changes: table() };
    tables.commit(&transaction, Some(generation)).unwrap();
    assert_eq!(tables.generation().unwrap(), generation + 1);
    tables.commit(&transaction, Some(generation + 1)).unwrap();
    assert!(matches!(tables.commit(&transaction, Some(generation + 1)), Err(Error::Stale)));
    tables.commit(&transaction, None).unwrap();
}

#[test]
fn a_missing_table_is_named_with_the_place_in_the_request() {
    let namespace = Namespace::create().unwrap();
    let mut tables = Nftables::open_in(&namespace).unwrap();
    let missing = Transaction { changes: vec![Change::DeleteTable(NAME)] };
    let error = tables.commit(&missing, None).unwrap_err();
    assert_eq!(error.to_string(), "nf_tables refused `delete table ip try`: No such file or directory (at byte 20)");
}
