//! `stead auth`: who the server takes one for, and what that one may do.

use std::io;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::{
    api::Api,
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
    print::{self, Form, Found, Output, table},
};

#[derive(Debug, Args)]
pub struct AuthArgs {
    #[command(subcommand)]
    command: Auth,
}

#[derive(Debug, Subcommand)]
enum Auth {
    /// Tell whether something is allowed; the exit code says it too
    CanI(CanIArgs),
    /// Tell who the server takes one for
    Whoami(WhoamiArgs),
}

#[derive(Debug, Args)]
struct CanIArgs {
    /// VERB TYPE, VERB TYPE/NAME or VERB /PATH
    #[arg(value_name = "VERB")]
    words: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// In all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Of the object: log, scale, status …
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Say nothing; the exit code tells
    #[arg(long, short)]
    quiet: bool,
    /// All that is allowed in the namespace
    #[arg(long, conflicts_with_all = ["quiet", "all_namespaces", "subresource"])]
    list: bool,
    /// With --list: no line of headings
    #[arg(long, requires = "list")]
    no_headers: bool,
}

#[derive(Debug, Args)]
struct WhoamiArgs {
    #[command(flatten)]
    connection: Connection,
    /// json, yaml, name, jsonpath=TEMPLATE, or custom-columns=HEADER:PATH,…
    #[arg(long, short, value_name = "FORMAT")]
    output: Option<Output>,
}

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
const VERBS: [&str; 16] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "impersonate",
    "*",
    "approve",
    "sign",
    "escalate",
    "attest",
];
const PATH_VERBS: [&str; 8] = ["get", "put", "post", "head", "options", "delete", "patch", "*"];

pub(crate) async fn run(args: &AuthArgs) -> Result<(), VerbError> {
    match &args.command {
        Auth::CanI(args) if args.list => list(args).await,
        Auth::CanI(args) => can_i(args).await,
        Auth::Whoami(args) => whoami(args).await,
    }
}

async fn can_i(args: &CanIArgs) -> Result<(), VerbError> {
    let [verb, what] = args.words.as_slice() else {
        let problem = "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.";
        return Err(VerbError::usage(problem));
    };
    let api = args.connection.open().await?;
    let spec = if what.starts_with('/') {
        if args.subresource.is_some() {
            return Err(VerbError::usage("--subresource can not be used with NonResourceURL"));
        }
        warn_of_verb(verb, &PATH_VERBS);
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        json!({"resourceAttributes": args.attributes(verb, what, &api).await?})
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = api.send(Method::POST, &format!("{REVIEWS}/selfsubjectaccessreviews"), &review).await?;
    let status = &answer["status"];
    let is_allowed = status["allowed"] == true;
    if !args.quiet {
        let reasons = ["reason", "evaluationError"].map(|key| status[key].as_str().unwrap_or_default());
        let reasons = reasons.iter().filter(|reason| !reason.is_empty() && !is_allowed);
        let reasons: String = reasons.map(|reason| format!(" - {reason}")).collect();
        println!("{}{reasons}", if is_allowed { "yes" } else { "no" });
    }
    if is_allowed { Ok(()) } else { Err(VerbError::Told) }
}

impl CanIArgs {
    async fn attributes(&self, verb: &str, what: &str, api: &Api) -> Result<Value, VerbError> {
        let (word, name) = what.split_once('/').unwrap_or((what, ""));
        let kinds = Kinds::read(api).await?;
        let kind: Option<Kind> = if word == "*" { None } else { kinds.find(word).ok().cloned() };
        match &kind {
            None if word != "*" => eprintln!("Warning: the server doesn't have a resource type '{word}'\n"),
            Some(kind) if !kind.is_namespaced && !self.all_namespaces => {
                let group = if kind.group.is_empty() { String::new() } else { format!(" in group '{}'", kind.group) };
                eprintln!("Warning: resource '{}' is not namespace scoped{group}\n", kind.plural);
            }
            _ => {}
        }
        if !self.all_namespaces {
            warn_of_verb(verb, &VERBS);
        }
        let (group, plural) =
            kind.map_or((String::new(), word.to_owned()), |kind| (kind.group.clone(), kind.plural.clone()));
        let namespace = if self.all_namespaces { "" } else { &api.namespace };
        Ok(json!({
            "verb": verb, "group": group, "resource": plural, "name": name, "namespace": namespace,
            "subresource": self.subresource.as_deref().unwrap_or_default(),
        }))
    }
}

fn warn_of_verb(verb: &str, known: &[&str]) {
    if !known.contains(&verb) {
        eprintln!("Warning: verb '{verb}' is not a known verb\n");
    }
}

async fn list(args: &CanIArgs) -> Result<(), VerbError> {
    if !args.words.is_empty() {
        return Err(VerbError::usage("list option must be specified with no arguments"));
    }
    let api = args.connection.open().await?;
    let spec = json!({"namespace": api.namespace});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": spec});
    let answer = api.send(Method::POST, &format!("{REVIEWS}/selfsubjectrulesreviews"), &review).await?;
    let status = &answer["status"];
    if status["incomplete"] == true {
        let why = status["evaluationError"].as_str().unwrap_or_default();
        eprintln!("Warning: the list may be incomplete: {why}");
    }
    let mut rows = Vec::new();
    if !args.no_headers {
        rows.push(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_owned).to_vec());
    }
    let mut rules: Vec<([String; 3], [String; 4])> = Vec::new();
    for rule in entries(&status["resourceRules"]) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let name = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                let (names, verbs) = (bracketed(&texts(&rule["resourceNames"])), bracketed(&texts(&rule["verbs"])));
                let order = [verbs.clone(), bracketed(std::slice::from_ref(&group)), name.clone()];
                rules.push((order, [name, "[]".to_owned(), names, verbs]));
            }
        }
    }
    for rule in entries(&status["nonResourceRules"]) {
        for path in texts(&rule["nonResourceURLs"]) {
            let (path, verbs) = (bracketed(&[path]), bracketed(&texts(&rule["verbs"])));
            rules.push(([verbs.clone(), "[]".to_owned(), path.clone()], [String::new(), path, "[]".to_owned(), verbs]));
        }
    }
    // By verbs, groups, and what they are for, all of them written as above.
    rules.sort();
    rows.extend(rules.into_iter().map(|(_, row)| Vec::from(row)));
    Ok(table::print_rows(&mut io::stdout().lock(), &rows, &mut Vec::new())?)
}

async fn whoami(args: &WhoamiArgs) -> Result<(), VerbError> {
    let api = args.connection.open().await?;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = api.send(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    if let Some(output) = &args.output {
        let objects = [(Kind::default(), answer)];
        return print::objects(&mut io::stdout().lock(), output, &Found { objects: &objects, form: Form::One });
    }
    let user = &answer["status"]["userInfo"];
    let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
    for (title, key) in [("Username", "username"), ("UID", "uid")] {
        if let Some(text) = user[key].as_str().filter(|text| !text.is_empty()) {
            rows.push(vec![title.to_owned(), text.to_owned()]);
        }
    }
    if entries(&user["groups"]).next().is_some() {
        rows.push(vec!["Groups".to_owned(), bracketed(&texts(&user["groups"]))]);
    }
    for (key, values) in user["extra"].as_object().into_iter().flatten() {
        rows.push(vec![format!("Extra: {key}"), bracketed(&texts(values))]);
    }
    Ok(table::print_rows(&mut io::stdout().lock(), &rows, &mut Vec::new())?)
}

fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    entries(value).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A list as Go prints one.
fn bracketed(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}
