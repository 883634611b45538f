//! A transaction as text for people: what `nft -f` takes.

use std::fmt::{self, Display, Formatter};

use stead_model::{Family, Protocol};

use super::{
    BaseChain, Change, Comparison, Data, Direction, Elements, Expiring, Field, LinkName, Name, Selector, Set, Shape,
    Statement, Transaction, Verdict,
    element::{print_fields, print_range},
};

impl Display for Transaction {
    /// Each change on its own line; elements many to a line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", address_family(self.family), self.table)
    }
}

const fn address_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(name, table) if table.comment.is_empty() => write!(f, "add table {name}"),
            Self::AddTable(name, table) => write!(f, "add table {name} {{ comment \"{}\"; }}", table.comment),
            Self::DeleteTable(name) => write!(f, "delete table {name}"),
            Self::AddSet(name, set) => print_set(name, set, f),
            Self::AddChain(name, chain) => {
                write!(f, "add chain {name} {}", chain.name)?;
                let Some(base) = chain.base else { return Ok(()) };
                let BaseChain { hook, priority } = base;
                write!(f, " {{ type {} hook {} priority {priority}; policy accept; }}", hook.kind(), hook.name())
            }
            Self::FlushChain(name, chain) => write!(f, "flush chain {name} {chain}"),
            Self::DeleteChain(name, chain) => write!(f, "delete chain {name} {chain}"),
            Self::DeleteRule(name, chain, handle) => write!(f, "delete rule {name} {chain} handle {handle}"),
            Self::AddRule(name, chain, rule) | Self::InsertRule(name, chain, rule) => {
                let verb = if matches!(self, Self::AddRule(..)) { "add" } else { "insert" };
                write!(f, "{verb} rule {name} {chain}")?;
                rule.iter().try_for_each(|statement| {
                    f.write_str(" ")?;
                    print_statement(statement, name.family, f)
                })
            }
            Self::AddElements(name, set, elements) => print_elements("add", name, set, elements, f),
            Self::DeleteElements(name, set, elements) => print_elements("delete", name, set, elements, f),
            Self::AddExpiring(name, map, shape, elements) => print_expiring(name, map, *shape, elements, f),
            Self::FlushSet(name, set) => write!(f, "flush set {name} {set}"),
            Self::AddVerdict(name, map, key, verdict) => {
                write!(f, "add element {name} {map} {{ {:x}:{:x} : {verdict} }}", key >> 16, key & 0xffff)
            }
            Self::DeleteVerdict(name, map, key) => {
                write!(f, "delete element {name} {map} {{ {:x}:{:x} }}", key >> 16, key & 0xffff)
            }
        }
    }
}

fn print_set(name: &Name, set: &Set, f: &mut Formatter<'_>) -> fmt::Result {
    let kind = if matches!(set.shape.data, Data::None | Data::Counter | Data::End) { "set" } else { "map" };
    write!(f, "add {kind} {name} {} {{ ", set.name)?;
    print_shape(set.shape, f)?;
    if set.dynamic.is_some() {
        f.write_str(" flags dynamic,timeout;")?;
    }
    match set.shape.data {
        Data::End => f.write_str(" flags interval;")?,
        Data::Counter => f.write_str(" counter;")?,
        Data::None | Data::Fields(_) | Data::Verdict => {}
    }
    if let Some(timeout) = set.dynamic {
        write!(f, " timeout {}s;", timeout.as_secs())?;
    }
    if let Some(size) = set.size {
        write!(f, " size {size};")?;
    }
    f.write_str(" }")
}

fn print_shape(shape: Shape, f: &mut Formatter<'_>) -> fmt::Result {
    // A number without a type of its own can only be named by an expression, and then all fields are.
    let by_expression = shape.key.contains(&Field::Random);
    let field_name = |field: Field| match field {
        Field::Classid if by_expression => "meta priority",
        field => field.name(),
    };
    let print_names = |fields: &[Field], f: &mut Formatter<'_>| {
        fields
            .iter()
            .enumerate()
            .try_for_each(|(index, field)| write!(f, "{}{}", if index == 0 { "" } else { " . " }, field_name(*field)))
    };
    f.write_str(if by_expression { "typeof " } else { "type " })?;
    print_names(shape.key, f)?;
    match shape.data {
        Data::None | Data::Counter | Data::End => {}
        Data::Fields(fields) => {
            f.write_str(" : ")?;
            print_names(fields, f)?;
        }
        Data::Verdict => f.write_str(" : verdict")?,
    }
    f.write_str(";")
}

fn print_elements(verb: &str, name: &Name, set: &str, elements: &Elements, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "{verb} element {name} {set} {{ ")?;
    let shape = elements.shape();
    for (index, (key, data)) in elements.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        match shape.data {
            Data::End => print_range(shape.key, key, data, f)?,
            _ => print_fields(shape.key, key, f)?,
        }
        if let (Data::Fields(fields), "add") = (shape.data, verb) {
            f.write_str(" : ")?;
            print_fields(fields, data, f)?;
        }
    }
    f.write_str(" }")
}

fn print_expiring(name: &Name, map: &str, shape: Shape, elements: &[Expiring], f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "add element {name} {map} {{ ")?;
    for (index, element) in elements.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        print_fields(shape.key, element.key.as_bytes(), f)?;
        write!(f, " timeout {}s expires {}s", element.timeout.as_secs(), element.left.as_secs())?;
        if let Data::Fields(fields) = shape.data {
            f.write_str(" : ")?;
            print_fields(fields, element.data.as_bytes(), f)?;
        }
    }
    f.write_str(" }")
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

fn print_selectors(selectors: &[Selector], family: Family, f: &mut Formatter<'_>) -> fmt::Result {
    selectors.iter().enumerate().try_for_each(|(index, selector)| {
        f.write_str(if index == 0 { "" } else { " . " })?;
        print_selector(*selector, family, f)
    })
}

fn print_selector(selector: Selector, family: Family, f: &mut Formatter<'_>) -> fmt::Result {
    let ip = address_family(family);
    match selector {
        Selector::SourceAddress => write!(f, "{ip} saddr"),
        Selector::DestinationAddress => write!(f, "{ip} daddr"),
        Selector::Protocol => f.write_str("meta l4proto"),
        Selector::SourcePort => f.write_str("th sport"),
        Selector::DestinationPort => f.write_str("th dport"),
        Selector::Priority => f.write_str("meta priority"),
        Selector::Random(modulus) => write!(f, "numgen random mod {modulus}"),
        Selector::Turn(modulus) => write!(f, "numgen inc mod {modulus}"),
        Selector::Hash { key, modulus, seed } => {
            f.write_str("jhash ")?;
            print_selectors(key, family, f)?;
            write!(f, " mod {modulus} seed {seed:#x}")
        }
        Selector::OriginalDestinationAddress => write!(f, "ct original {ip} daddr"),
        Selector::OriginalDestinationPort => f.write_str("ct original proto-dst"),
    }
}

fn print_statement(statement: &Statement, family: Family, f: &mut Formatter<'_>) -> fmt::Result {
    let keyed = |before: &str, key: &[Selector], after: &str, f: &mut Formatter<'_>| {
        f.write_str(before)?;
        print_selectors(key, family, f)?;
        f.write_str(after)
    };
    match statement {
        Statement::Protocol(protocol) => write!(f, "meta l4proto {}", protocol_name(*protocol)),
        Statement::Range(selector, comparison, range) => {
            print_selector(*selector, family, f)?;
            write!(f, "{} {}", if *comparison == Comparison::Equal { "" } else { " !=" }, range.trunc())
        }
        Statement::Link(LinkName::Whole(name)) => write!(f, "iifname \"{name}\""),
        Statement::Link(LinkName::Prefix(prefix)) => write!(f, "iifname \"{prefix}*\""),
        Statement::OtherLink(LinkName::Whole(name)) => write!(f, "iifname != \"{name}\""),
        Statement::OtherLink(LinkName::Prefix(prefix)) => write!(f, "iifname != \"{prefix}*\""),
        Statement::LinkOut(LinkName::Whole(name)) => write!(f, "oifname \"{name}\""),
        Statement::LinkOut(LinkName::Prefix(prefix)) => write!(f, "oifname \"{prefix}*\""),
        Statement::NoLink => f.write_str("iif 0"),
        Statement::SourceIsOwn => f.write_str("fib saddr type local"),
        Statement::NotTranslated => f.write_str("ct status & dnat == 0"),
        Statement::Direction(Direction::Original) => f.write_str("ct direction original"),
        Statement::Direction(Direction::Reply) => f.write_str("ct direction reply"),
        Statement::InSet(key, set) => keyed("", key, &format!(" @{set}"), f),
        Statement::SetPriority(key, map) => keyed("meta priority set ", key, &format!(" map @{map}"), f),
        Statement::SetMark(key, map) => keyed("meta mark set ", key, &format!(" map @{map}"), f),
        Statement::VerdictMap(key, map) => keyed("", key, &format!(" vmap @{map}"), f),
        Statement::Dnat(key, map) => {
            keyed(&format!("dnat {} to ", address_family(family)), key, &format!(" map @{map}"), f)
        }
        Statement::Masquerade => f.write_str("masquerade"),
        Statement::RejectReset => f.write_str("reject with tcp reset"),
        Statement::Reject => f.write_str("reject"),
        Statement::Remember(key, map, timeout) => {
            keyed(&format!("update @{map} {{ "), key, &format!(" timeout {}s : meta priority }}", timeout.as_secs()), f)
        }
        Statement::Forget(key, map) => keyed(&format!("delete @{map} {{ "), key, " : meta priority }", f),
        Statement::Verdict(verdict) => verdict.fmt(f),
        Statement::Match(extension) => write!(f, "xt match \"{}\"", extension.name),
        Statement::Target(extension) => write!(f, "xt target \"{}\"", extension.name),
        Statement::Counter => f.write_str("counter"),
        Statement::Note(text) => write!(f, "comment \"{text}\""),
    }
}

const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
