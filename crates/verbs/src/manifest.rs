//! Objects from files: YAML with several documents, JSON, Lists, whole directories, standard input as `-`, pages of the web.

mod web;

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;
use stead_api::{legacy::Version, meta};

use crate::{error::VerbError, selection};

/// How large one file may be; the server takes 3 MiB in one request.
const MAX_BYTES: u64 = 32 << 20;

/// Where manifests are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Files {
    /// Manifests, in YAML or JSON: files, directories, URLs, `-` for standard input
    #[arg(long, short, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// With directories: what is below them too
    #[arg(long, short = 'R')]
    recursive: bool,
}

impl Files {
    /// Whether none were given.
    pub(crate) fn is_empty(&self) -> bool {
        self.filename.is_empty()
    }

    /// All their objects, in order; the items of a List one by one.
    pub(crate) async fn read(&self) -> Result<Vec<Value>, VerbError> {
        if self.is_empty() {
            return Err(VerbError::usage("must specify --filename"));
        }
        let mut objects = Vec::new();
        for path in &self.filename {
            if let Some(url) = path.to_str().filter(|path| web::is_page(path)) {
                objects.extend(parse(path, &web::get(url).await?)?);
                continue;
            }
            for file in self.files(path)? {
                objects.extend(parse(&file, &text(&file)?)?);
            }
        }
        if objects.is_empty() {
            return Err(VerbError::argument("--filename", "no objects found there"));
        }
        Ok(objects.into_iter().map(named).collect())
    }

    /// The text of the one file that was given, whatever it is.
    pub(crate) fn read_as_is(&self) -> Result<String, VerbError> {
        match self.filename.as_slice() {
            [file] => text(file),
            _ => Err(VerbError::usage("--raw can only use a single local file or stdin")),
        }
    }

    /// Those that `selector` chooses, for a verb that takes `words` instead of manifests too.
    pub(crate) async fn read_chosen(
        &self,
        words: &[String],
        selector: Option<&String>,
    ) -> Result<Vec<Value>, VerbError> {
        if !words.is_empty() {
            return Err(VerbError::usage(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let mut objects = self.read().await?;
        if let Some(selector) = selection::given(selector) {
            let selector = selection::parse_selector(selector)?;
            objects.retain(|object| selector.matches(labels(object)));
        }
        Ok(objects)
    }

    /// A file itself, or what a directory has of manifests, by name.
    fn files(&self, path: &Path) -> Result<Vec<PathBuf>, VerbError> {
        if path == Path::new("-") || !path.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let failed = |source| VerbError::Read { path: path.to_owned(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file = entry.path();
            let is_manifest = file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
            // A link to a directory is not followed: it may lead back.
            if self.recursive && entry.file_type().map_err(failed)?.is_dir() {
                found.extend(self.files(&file)?);
            } else if is_manifest && file.is_file() {
                found.push(file);
            }
        }
        found.sort();
        Ok(found)
    }
}

fn labels(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    meta::labels(object).or_else(|| object.get("labels").filter(|_| is_flat(object))?.as_object())
}

/// Whether the object has its metadata beside everything else, as in 2014.
fn is_flat(object: &Value) -> bool {
    object["apiVersion"] == Version::V1beta1.as_str()
}

/// Says the name and the namespace of an object of 2014 where every other has them, too.
fn named(mut object: Value) -> Value {
    if is_flat(&object) {
        for (flat, field) in [("id", "name"), ("namespace", "namespace")] {
            if let Some(text) = object[flat].as_str().map(str::to_owned) {
                meta::set(&mut object, field, text);
            }
        }
    }
    object
}

/// The text of a file or of standard input, in bounds.
fn text(path: &Path) -> Result<String, VerbError> {
    if path != Path::new("-") && !path.exists() {
        return Err(VerbError::usage(format!("the path {path:?} does not exist")));
    }
    let mut text = String::new();
    let read = match path != Path::new("-") {
        true => fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)),
        false => io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text),
    };
    read.map_err(|source| VerbError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > MAX_BYTES {
        return Err(VerbError::TooLarge { path: path.to_owned(), mebibytes: MAX_BYTES >> 20 });
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Value>, VerbError> {
    let documents: Vec<Value> = if text.trim_start().starts_with('{') {
        let read: Result<_, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        read.map_err(|error| VerbError::Manifest { path: path.to_owned(), problem: error.to_string() })?
    } else {
        let options = serde_saphyr::options! { with_snippet: false };
        let read = serde_saphyr::from_multiple_with_options(text, options);
        read.map_err(|error| {
            // Advice to programmers, in the middle of what is wrong and where.
            let problem = error.to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", "");
            VerbError::Manifest { path: path.to_owned(), problem }
        })?
    };
    let mut objects = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let refuse = |problem| VerbError::Document { path: path.to_owned(), number: number + 1, problem };
        match document {
            Value::Null => {}
            Value::Object(ref map) if !map.contains_key("kind") => return Err(refuse("Object 'Kind' is missing")),
            Value::Object(ref map) if !map.contains_key("apiVersion") => {
                return Err(refuse("Object 'apiVersion' is missing"));
            }
            Value::Object(mut map) => {
                let is_list = map["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
                match map.remove("items") {
                    Some(Value::Array(items)) if is_list => objects.extend(items),
                    Some(items) => {
                        map.insert("items".to_owned(), items);
                        objects.push(Value::Object(map));
                    }
                    None => objects.push(Value::Object(map)),
                }
            }
            _ => return Err(refuse("it is no object")),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_and_lists_become_objects() {
        let check = |text: &str, expect: Result<&[&str], &str>| {
            let read = parse(Path::new("x.yaml"), text);
            let names = read.map(|objects| {
                objects.iter().map(|object| stead_api::meta::name(object).to_owned()).collect::<Vec<_>>()
            });
            match (names, expect) {
                (Ok(names), Ok(expect)) => assert_eq!(names, expect),
                (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
                (read, expect) => panic!("{text}: {read:?}, not {expect:?}"),
            }
        };
        let service = |name: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n");
        check(&format!("{}---\n{}---\n", service("a"), service("b")), Ok(&["a", "b"]));
        check("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"c\"}}", Ok(&["c"]));
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: d}}\n";
        check(list, Ok(&["d"]));
        check("apiVersion: v1\n", Err("Object 'Kind' is missing"));
        check("a: [", Err("error converting YAML to JSON"));
        check("a: 1\na: 2\n", Err("error converting YAML to JSON: duplicate mapping key: a at line 2, column 1"));
        check("- 1\n", Err("it is no object"));
    }

    #[test]
    fn objects_of_2014_have_their_names_where_all_have() {
        let check = |object: serde_json::Value, expect: [&str; 2]| {
            let object = named(object);
            assert_eq!([meta::name(&object), meta::namespace(&object)], expect, "{object}");
        };
        check(json!({"apiVersion": "v1beta1", "id": "a", "namespace": "b"}), ["a", "b"]);
        check(json!({"apiVersion": "v1beta1", "metadata": {"name": "c", "namespace": "b"}}), ["c", "b"]);
        check(json!({"apiVersion": "v1", "id": "a", "namespace": "b"}), ["", ""]);
        check(json!("a"), ["", ""]);
    }

    fn files(path: &Path, recursive: bool) -> Files {
        Files { filename: vec![path.to_owned()], recursive }
    }

    #[test]
    fn directories_are_read_as_deep_as_asked() {
        let directory = tempfile::TempDir::new().unwrap();
        let below = directory.path().join("below/deeper");
        fs::create_dir_all(&below).unwrap();
        fs::write(directory.path().join("b.yaml"), "").unwrap();
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        fs::write(below.join("a.json"), "").unwrap();
        let found = |recursive| {
            let found = files(directory.path(), recursive).files(directory.path()).unwrap();
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            found.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(found(false), ["b.yaml"]);
        assert_eq!(found(true), ["b.yaml", "a.json"]);
    }

    #[tokio::test]
    async fn a_page_is_read_in_bounds() {
        use std::io::{BufRead as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = std::thread::spawn(move || {
            for (status, body) in [("200 OK", "{apiVersion: v1, kind: Service}"), ("404 Not Found", "")] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = io::BufReader::new(stream.try_clone().unwrap()).lines();
                assert_eq!(lines.next().unwrap().unwrap(), "GET /x.yaml?a=b HTTP/1.1");
                while !lines.next().unwrap().unwrap().is_empty() {}
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                    .unwrap();
            }
        });
        let url = format!("http://{address}/x.yaml?a=b");
        assert_eq!(web::get(&url).await.unwrap(), "{apiVersion: v1, kind: Service}");
        let error = web::get(&url).await.unwrap_err().to_string();
        assert!(error.contains("status code=404"), "{error}");
        serve.join().unwrap();
    }

    #[tokio::test]
    async fn a_selector_chooses_among_manifests_by_their_labels() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let modern = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {tier: front}}";
        let flat = "apiVersion: v1beta1\nkind: Service\nid: b\nlabels: {tier: front}";
        let other = "apiVersion: v1\nkind: Service\nmetadata: {name: c, labels: {tier: back}}";
        fs::write(file.path(), format!("{modern}\n---\n{flat}\n---\n{other}\n")).unwrap();
        let files = files(file.path(), false);
        let check = async |selector: &str, expect: Result<&[&str], &str>| {
            let chosen = files.read_chosen(&[], Some(&selector.to_owned())).await;
            let names = chosen.map(|all| all.iter().map(|one| meta::name(one).to_owned()).collect::<Vec<_>>());
            match (names, expect) {
                (Ok(names), Ok(expect)) => assert_eq!(names, expect, "{selector}"),
                (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
                (read, expect) => panic!("{selector}: {read:?}, not {expect:?}"),
            }
        };
        check("tier=front", Ok(&["a", "b"])).await;
        check("tier notin (front,back)", Ok(&[])).await;
        check("", Ok(&["a", "b", "c"])).await;
        check("=", Err("found '=', expected")).await;
        assert!(files.read_chosen(&["svc".to_owned()], None).await.is_err());
    }

    #[test]
    fn no_file_takes_more_stack_or_memory_than_it_may() {
        let refused = |text: &str| {
            let text = text.to_owned();
            // Less than a program's main thread has.
            let parser = std::thread::Builder::new().stack_size(4 << 20);
            let parser = parser.spawn(move || parse(Path::new("x.yaml"), &text).unwrap_err().to_string());
            parser.unwrap().join().unwrap()
        };
        for (open, close) in
            [("{a: ", "}"), ("[", "]"), ("{? ", "}"), ("- ", ""), ("a: &a ", ""), ("{\"a\":", "}"), ("{\"a\":[", "]}")]
        {
            for levels in [70, 200, 100_000] {
                let error = refused(&format!("{}1{}", open.repeat(levels), close.repeat(levels)));
                assert!(error.starts_with("error: x.yaml: "), "{levels} levels of {open}: {error}");
            }
        }
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..20 {
            let below = format!("*a{},", level - 1).repeat(10);
            laughs += &format!("a{level}: &a{level} [{below}]\n");
        }
        refused(&laughs);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 20).unwrap();
        let error = text(file.path()).unwrap_err().to_string();
        assert!(error.ends_with(": it has more than 32 MiB: split it"), "{error}");
    }
}
