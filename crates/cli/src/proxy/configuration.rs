//! The settings in force as a KubeProxyConfiguration, for `--write-config-to` and `/configz`, and as flags for `/flagz`.

use serde_json::{Map, Value};

use super::{said::Said, table::ROWS};

/// Every field, with its default where nothing was said.
pub(crate) fn configuration(said: &Said) -> Value {
    let mut root = Map::new();
    for row in ROWS {
        let Some(field) = row.field() else { continue };
        let value = row.form.value_of(said.get(row.name).unwrap_or(row.default));
        place(&mut root, field, value);
    }
    root.insert("apiVersion".to_owned(), "kubeproxy.config.k8s.io/v1alpha1".into());
    root.insert("kind".to_owned(), "KubeProxyConfiguration".into());
    Value::Object(root)
}

/// Every flag with its value, a line each, in the order of their names.
pub(crate) fn flags(said: &Said) -> String {
    let mut rows: Vec<_> = ROWS.iter().filter(|row| row.is_flag()).collect();
    rows.sort_unstable_by_key(|row| row.name);
    rows.into_iter().map(|row| format!("{}={}\n", row.name, said.get(row.name).unwrap_or(row.default))).collect()
}

fn place(fields: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(fields.insert(path.to_owned(), value)),
        Some((name, rest)) => {
            let inner = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
    }
}
