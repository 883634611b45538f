//! Log lines as objects, in the keys of Kubernetes' JSON logs: `ts` (milliseconds since 1970), `caller`, `msg`, `v` (but not of errors), then the fields of
//! the line as they were given. `level` is ours, as there are warnings among these lines.

use std::{
    fmt::{self, Debug},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}", line(event.metadata(), now.as_secs_f64() * 1e3, fields))
    }
}

fn line(metadata: &Metadata<'_>, milliseconds: f64, fields: Fields) -> Value {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
    put("ts", milliseconds.into());
    if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
        put("caller", format!("{file}:{number}").into());
    }
    put("level", metadata.level().as_str().to_lowercase().into());
    put("msg", fields.message.into());
    match *metadata.level() {
        Level::ERROR => {}
        Level::WARN | Level::INFO => put("v", 0.into()),
        Level::DEBUG => put("v", 4.into()),
        Level::TRACE => put("v", 6.into()),
    }
    // A field cannot hide what each line has.
    for (key, value) in fields.others {
        line.entry(key).or_insert(value);
    }
    Value::Object(line)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            _ => self.put(field, text.into()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.put(field, value.into()),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_an_object_with_its_fields() {
        let written = Written::default();
        let ours = written.clone();
        let lines = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || ours.clone());
        tracing::subscriber::with_default(lines.event_format(Json).finish(), || {
            tracing::info!(services = 3, took = ?std::time::Duration::from_millis(2), node = "a \"b\"", "all {}", "done");
            tracing::error!(ts = true, "failed");
            tracing::debug!("seen");
        });
        let bytes = written.0.lock().unwrap().clone();
        let mut lines: Vec<Value> =
            String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            assert!(line.remove("ts").unwrap().as_f64().unwrap() > 1e12);
            assert!(line.remove("caller").unwrap().as_str().unwrap().contains("log/json.rs:"));
        }
        let expect = [
            json!({"level": "info", "msg": "all done", "v": 0, "services": 3, "took": "2ms", "node": "a \"b\""}),
            json!({"level": "error", "msg": "failed"}),
            json!({"level": "debug", "msg": "seen", "v": 4}),
        ];
        assert_eq!(lines, expect);
    }
}
