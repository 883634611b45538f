//! Tables of the older iptables, which nf_tables does not list, from what `iptables-legacy-save` prints.

use std::collections::BTreeMap;

/// One table of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// The program that showed it, without `-save`.
    pub program: &'static str,
    pub table: String,
    /// Chains with their policies; `-` for a chain that has none.
    pub chains: BTreeMap<String, String>,
}

impl LegacyTable {
    pub(super) fn drops_forwarded(&self) -> bool {
        self.chains.get("FORWARD").is_some_and(|policy| policy == "DROP")
    }
}

/// The tables in the text; lines that are neither a table nor a chain are passed over.
pub fn parse_legacy(program: &'static str, text: &str) -> Vec<LegacyTable> {
    let mut tables: Vec<LegacyTable> = Vec::new();
    for line in text.lines() {
        if let Some(table) = line.strip_prefix('*') {
            tables.push(LegacyTable { program, table: table.trim().to_owned(), chains: BTreeMap::new() });
        } else if let (Some(chain), Some(table)) = (line.strip_prefix(':'), tables.last_mut()) {
            let mut words = chain.split_whitespace();
            if let (Some(name), Some(policy)) = (words.next(), words.next()) {
                table.chains.insert(name.to_owned(), policy.to_owned());
            }
        }
    }
    tables
}
