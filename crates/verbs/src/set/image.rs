//! `stead set image`: which image each named container runs.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, LISTS, containers, nested, pod_spec};
use crate::{
    api::{Api, STRATEGIC_PATCH},
    chosen::Chosen,
    error::{VerbError, told},
    pairs,
    write::DryRun,
};

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// TYPE NAME… or TYPE/NAME…, then CONTAINER=IMAGE; `*=IMAGE` for all containers
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: &ImageArgs) -> Result<(), VerbError> {
    let (objects, changes) = pairs::split(&args.words, "image")?;
    args.common.demand_objects(objects)?;
    let images = pairs::parse(changes, "image")?;
    if !images.unset.is_empty() {
        return Err(VerbError::usage(format!("invalid image format: {}-", images.unset[0])));
    }
    if images.set.is_empty() {
        return Err(VerbError::usage("at least one image update is required"));
    }
    if images.set.len() > 1 && images.set.contains_key("*") {
        return Err(VerbError::usage(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs",
        ));
    }
    let common = &args.common;
    let (api, read) = common.choice.read(objects, &common.reach, &common.connection).await?;
    let mut problems = read.problems;
    for one in &read.objects {
        let Some(place) = pod_spec(&one.kind.kind) else {
            let kind = &one.kind.kind;
            problems.push(VerbError::usage(format!(
                "{} the object is not a pod or does not have a pod template: {kind}",
                one.title()
            )));
            continue;
        };
        let mut found = Vec::new();
        for (name, image) in &images.set {
            let before = found.len();
            let spec = one.object.pointer(place).unwrap_or(&Value::Null);
            for list in LISTS {
                let named = containers(spec, list).filter(|one| name == "*" || one["name"] == name.as_str());
                found.extend(named.map(|one| (list, one.clone(), image.as_str())));
            }
            if found.len() == before {
                problems.push(VerbError::usage(format!("unable to find container named {name:?}")));
            }
        }
        found.retain(|(_, container, image)| container["image"] != *image);
        if !found.is_empty() {
            problems.extend(change(common, &api, one, place, &found).await.err());
        }
    }
    told(problems)
}

async fn change(
    common: &Common,
    api: &Api,
    one: &Chosen,
    place: &str,
    found: &[(&str, Value, &str)],
) -> Result<(), VerbError> {
    if common.options.dry_run == DryRun::Client {
        let mut object = one.object.clone();
        for (list, container, image) in found {
            let containers = object.pointer_mut(&format!("{place}/{list}")).and_then(Value::as_array_mut);
            for one in containers.into_iter().flatten().filter(|one| one["name"] == container["name"]) {
                one["image"] = (*image).into();
            }
        }
        return common.options.report(&one.kind, object, "image updated");
    }
    let mut spec = json!({});
    for list in LISTS {
        let changed = found.iter().filter(|(of, _, _)| *of == list);
        let entries: Vec<Value> =
            changed.map(|(_, container, image)| json!({"name": container["name"], "image": image})).collect();
        if !entries.is_empty() {
            spec[list] = entries.into();
        }
    }
    let path = format!("{}?{}", one.path()?, common.options.query());
    let after = api.patch(&path, STRATEGIC_PATCH, &nested(place, spec)).await?;
    common.options.report(&one.kind, after, "image updated")
}
