//! `/flagz` and `/statusz`, as each Kubernetes program serves them: text for people, and JSON (`config.k8s.io`, `v1alpha1` and `v1beta1`) for who asks for
//! that by name (`Accept: application/json;v=v1beta1;g=config.k8s.io;as=Flagz`).

use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::{Answer, json as json_answer, text};

/// Of this process.
const NAME: &str = "stead-proxy";
/// The Kubernetes version whose proxy this stands for.
const EMULATES: &str = "1.36";
const PATHS: [&str; 6] = ["/configz", "/flagz", "/healthz", "/metrics", "/proxyMode", "/statusz"];

/// One of the two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Flagz,
    Statusz,
}

impl Page {
    const fn path_name(self) -> &'static str {
        match self {
            Self::Flagz => "flagz",
            Self::Statusz => "statusz",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Flagz => "Flagz",
            Self::Statusz => "Statusz",
        }
    }

    fn answer(self, headers: &HeaderMap, object: Value, lines: &str) -> Answer {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
        let mut wanted = accept.split(',').map(|each| each.split(';').map(str::trim).collect::<Vec<_>>());
        let found = wanted.find_map(|range| match range[0] {
            "application/json" => self.version(&range[1..]).map(Some),
            "text/plain" | "text/*" | "*/*" => Some(None),
            _ => None,
        });
        match found {
            None => {
                text(StatusCode::NOT_ACCEPTABLE, "only text/plain, and application/json by name, are served here\n")
            }
            Some(None) => {
                let head = format!(
                    "\n{NAME} {}\nWarning: This page is for people: its form may change, and nothing should read it.\n",
                    self.path_name()
                );
                text(StatusCode::OK, head + lines)
            }
            Some(Some(version)) => {
                let mut whole = json!({
                    "kind": self.kind(), "apiVersion": format!("config.k8s.io/{version}"), "metadata": {"name": NAME},
                });
                if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, object) {
                    whole.extend(fields);
                }
                json_answer(StatusCode::OK, whole.to_string())
            }
        }
    }

    /// The version that a client asks for with these parameters of `application/json`.
    fn version(self, parameters: &[&str]) -> Option<&'static str> {
        let has = |name: &str, value: &str| {
            parameters.iter().filter_map(|parameter| parameter.split_once('=')).any(|each| each == (name, value))
        };
        let is_this = has("g", "config.k8s.io") && has("as", self.kind());
        ["v1beta1", "v1alpha1"].into_iter().find(|version| is_this && has("v", version))
    }
}

/// `flags`: `NAME=VALUE`, a line each.
pub(crate) fn flagz(headers: &HeaderMap, flags: &str) -> Answer {
    let all = flags.lines().filter_map(|line| line.split_once('='));
    let object: serde_json::Map<_, _> = all.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Page::Flagz.answer(headers, json!({"flags": object}), flags)
}

pub(crate) fn statusz(headers: &HeaderMap, started: Timestamp, now: Timestamp) -> Answer {
    let up = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let object = json!({
        "startTime": Timestamp::from_second(started.as_second()).unwrap_or(started), "uptimeSeconds": up.as_secs(), "goVersion": "",
        "binaryVersion": version, "emulationVersion": EMULATES, "paths": PATHS,
    });
    let lines = format!(
        "\nStarted: {started:.0}\nUp: {}\nBinary version: {version}\nEmulation version: {EMULATES}\nPaths: {}\n",
        Up(up),
        PATHS.join(" ")
    );
    Page::Statusz.answer(headers, object, &lines)
}

struct Up(Duration);

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(f, "{} hr {:02} min {:02} sec", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;

    async fn read(answer: Answer) -> (u16, String) {
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn accept(range: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(range))])
    }

    #[tokio::test]
    async fn people_get_text_and_programs_what_they_name() {
        let flags = "bind-address=0.0.0.0\nkubeconfig=/a=b\n";
        let (status, text) = read(flagz(&accept("*/*"), flags)).await;
        assert!(status == 200 && text.starts_with("\nstead-proxy flagz\nWarning:") && text.ends_with(flags), "{text}");
        let json = "text/html, application/json;v=v1alpha1;g=config.k8s.io;as=Flagz";
        let (_, text) = read(flagz(&accept(json), flags)).await;
        let expect = json!({
            "kind": "Flagz", "apiVersion": "config.k8s.io/v1alpha1", "metadata": {"name": "stead-proxy"},
            "flags": {"bind-address": "0.0.0.0", "kubeconfig": "/a=b"},
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expect);
        for range in ["text/html", "application/json", "application/json;v=v1;g=config.k8s.io;as=Flagz"] {
            assert_eq!(read(flagz(&accept(range), flags)).await.0, 406, "{range}");
        }
    }

    #[tokio::test]
    async fn status_says_since_when_and_what() {
        let [started, now] = [1_000, 8_261].map(|second| Timestamp::from_second(second).unwrap());
        let (_, text) = read(statusz(&HeaderMap::new(), started, now)).await;
        assert!(text.contains("\nStarted: 1970-01-01T00:16:40Z\nUp: 2 hr 01 min 01 sec\n"), "{text}");
        assert!(text.contains("Emulation version: 1.36\nPaths: /configz /flagz"), "{text}");
        let (_, text) =
            read(statusz(&accept("application/json;as=Statusz;v=v1beta1;g=config.k8s.io"), started, now)).await;
        let object: Value = serde_json::from_str(&text).unwrap();
        let told = ["apiVersion", "startTime", "uptimeSeconds"].map(|field| object[field].clone());
        assert_eq!(told, [json!("config.k8s.io/v1beta1"), json!("1970-01-01T00:16:40Z"), json!(7_261)]);
    }
}
