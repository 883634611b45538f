//! Which objects a verb is about, as the server has them: what words or manifests name, or all that a selector chooses.
//!
//! One that cannot be read is a problem beside the others, not the end.

use clap::Args;
use serde_json::Value;
use stead_api::meta;

use crate::{
    api::{Api, escape},
    connection::Connection,
    error::VerbError,
    kinds::{Kind, Kinds},
    manifest::Files,
    selection::{self, Place, Target},
};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Choice {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Those with these labels, as `app=web,tier!=db`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

/// How far a choice without names goes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Reach {
    /// All of the type in the namespace
    #[arg(long, conflicts_with_all = ["selector", "field_selector"])]
    pub(crate) all: bool,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub(crate) all_namespaces: bool,
    /// Those with these fields, as `status.phase=Running`
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) field_selector: Option<String>,
}

impl Reach {
    /// For verbs that need no names: all that there is in the namespace.
    pub(crate) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }
}

/// One object, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) object: Value,
}

impl Chosen {
    pub(crate) fn name(&self) -> &str {
        meta::name(&self.object)
    }

    pub(crate) fn path(&self) -> Result<String, VerbError> {
        self.kind.object(&self.namespace, self.name())
    }

    /// `deployments.apps "web"`, as kubectl names what an error is about.
    pub(crate) fn title(&self) -> String {
        format!("{} {:?}", self.kind.full_plural(), self.name())
    }
}

/// What was found, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) objects: Vec<Chosen>,
    pub(crate) problems: Vec<VerbError>,
    /// Whether one object was asked for by its name.
    pub(crate) is_one: bool,
}

impl Choice {
    /// Connects, and reads what `words` and flags name.
    pub(crate) async fn read(
        &self,
        words: &[String],
        reach: &Reach,
        connection: &Connection,
    ) -> Result<(Api, Read), VerbError> {
        let api = connection.open().await?;
        let kinds = Kinds::read(&api).await?;
        let of_words = self.files.is_empty();
        let selector = self.selector.as_ref().filter(|_| of_words);
        let places = selection::places(words, &self.files, selector, (connection, &api, &kinds)).await?;
        let is_one = matches!(places.as_slice(), [place] if place.target.names.len() == 1);
        let mut read = Read { is_one, ..Read::default() };
        for Place { target: Target { kind, names }, namespace } in places {
            // What is read and changed is what the server has, whatever the version of the file.
            let kind = if of_words { kind } else { kinds.in_v1(&kind).clone() };
            for name in &names {
                match kind.read(&api, &namespace, name).await {
                    Ok(object) => {
                        read.objects.push(Chosen { kind: kind.clone(), namespace: namespace.clone(), object });
                    }
                    Err(error) => read.problems.push(error),
                }
            }
            if !names.is_empty() {
                continue;
            }
            let fields = selection::given(reach.field_selector.as_ref());
            if self.selector().is_none() && fields.is_none() && !reach.all {
                return Err(VerbError::usage("resource(s) were provided, but no name was specified"));
            }
            let within = (!reach.all_namespaces).then_some(namespace.as_str());
            let list = api.get(&format!("{}?{}", kind.collection(within), self.query(reach))).await?;
            read.objects.extend(items(list).into_iter().map(|object| Chosen {
                kind: kind.clone(),
                namespace: meta::namespace(&object).to_owned(),
                object,
            }));
        }
        if let Some(selector) = self.selector().filter(|_| !of_words) {
            // The labels that the server has: it gives some of its own.
            let selector = selection::parse_selector(selector)?;
            read.objects.retain(|one| selector.matches(meta::labels(&one.object)));
        }
        Ok((api, read))
    }

    /// The selector, where it says anything.
    pub(crate) fn selector(&self) -> Option<&str> {
        selection::given(self.selector.as_ref())
    }

    fn query(&self, reach: &Reach) -> String {
        let selector =
            |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key}={}", escape(value)));
        let parts = [selector("labelSelector", &self.selector), selector("fieldSelector", &reach.field_selector)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// A list's items, each with the version and kind that the list says for all.
pub(crate) fn items(mut list: Value) -> Vec<Value> {
    let kind = list["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let version = list["apiVersion"].clone();
    let Value::Array(mut items) = list["items"].take() else { return Vec::new() };
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(kind) = &kind {
            item.entry("kind").or_insert_with(|| kind.as_str().into());
            item.entry("apiVersion").or_insert_with(|| version.clone());
        }
    }
    items
}
