//! `-o custom-columns=HEADER:PATH,…`.

use std::io::Write;

use serde_json::Value;

use super::{json_path, table};
use crate::error::VerbError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CustomColumns(Vec<(String, String)>);

impl CustomColumns {
    pub(crate) fn parse(text: &str) -> Result<Self, VerbError> {
        let column = |part: &str| match part.split_once(':') {
            Some((header, path)) if !header.is_empty() && !path.is_empty() => {
                let path = if path.starts_with(['.', '{', '[', '$']) { path.to_owned() } else { format!(".{path}") };
                json_path::all(&path, &Value::Null)?;
                Ok((header.to_owned(), path))
            }
            _ => Err(VerbError::argument(
                "-o custom-columns",
                format!("unexpected column {part:?}: expected HEADER:PATH"),
            )),
        };
        Ok(Self(text.split(',').map(column).collect::<Result<_, _>>()?))
    }

    pub(crate) fn print<'a>(
        &self,
        out: &mut impl Write,
        objects: impl Iterator<Item = &'a Value>,
    ) -> Result<(), VerbError> {
        let mut rows = vec![self.0.iter().map(|(header, _)| header.clone()).collect::<Vec<_>>()];
        for object in objects {
            let cell = |path: &str| {
                let found = json_path::all(path, object)?;
                let words: Vec<String> = found.into_iter().map(json_path::plain).collect();
                Ok(if words.is_empty() { "<none>".to_owned() } else { words.join(",") })
            };
            rows.push(self.0.iter().map(|(_, path)| cell(path)).collect::<Result<_, VerbError>>()?);
        }
        table::print_rows(out, &rows, &mut Vec::new())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_cut_from_paths() {
        let objects = [
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}, {"port": 2}]}}),
            json!({"metadata": {"name": "b"}}),
        ];
        let mut out = Vec::new();
        let columns = CustomColumns::parse("NAME:.metadata.name,PORTS:spec.ports[*].port").unwrap();
        columns.print(&mut out, objects.iter()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME   PORTS\na      1,2\nb      <none>\n");
        assert!(CustomColumns::parse("NAME").is_err());
    }
}
