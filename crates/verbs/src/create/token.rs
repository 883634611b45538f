//! `stead create token`: a token for a ServiceAccount, which the server signs and nobody keeps.

use clap::Args;
use http::Method;
use serde_json::json;

use crate::{api::escape, connection::Connection, duration::Span, error::VerbError, kinds::segment};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The ServiceAccount
    #[arg(value_name = "NAME")]
    name: String,
    /// How long it is to be good for, as 10m or 24h; the server may give more or less
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// Who may take it (default: the API server)
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// What it ends with: Pod, Node or Secret
    #[arg(long, value_name = "KIND", requires = "bound_object_name")]
    bound_object_kind: Option<String>,
    /// The name of what it ends with
    #[arg(long, value_name = "NAME", requires = "bound_object_kind")]
    bound_object_name: Option<String>,
    /// Its uid (default: whichever has the name)
    #[arg(long, value_name = "UID", requires = "bound_object_kind")]
    bound_object_uid: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: &TokenArgs) -> Result<(), VerbError> {
    let mut spec = json!({"audiences": args.audience});
    match args.duration {
        None => {}
        Some(Span::Negative) => return Err(VerbError::usage("--duration must be greater than or equal to 0")),
        Some(Span::Positive(time)) if time.subsec_nanos() > 0 => {
            return Err(VerbError::usage("--duration cannot be expressed in units less than seconds"));
        }
        Some(Span::Positive(time)) if time.is_zero() => {}
        Some(Span::Positive(time)) => spec["expirationSeconds"] = time.as_secs().into(),
    }
    if let Some(kind) = &args.bound_object_kind {
        spec["boundObjectRef"] = json!({
            "kind": kind, "apiVersion": "v1", "name": args.bound_object_name, "uid": args.bound_object_uid,
        });
    }
    let api = args.connection.open().await?;
    let name = segment("resource name", &args.name)?;
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{name}/token", escape(&api.namespace));
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let answer = api.send(Method::POST, &path, &request).await;
    let answer = answer.map_err(|error| error.into_cause_of("failed to create token:"))?;
    let token = answer["status"]["token"].as_str().filter(|token| !token.is_empty());
    println!("{}", token.ok_or_else(|| VerbError::usage("failed to create token: no token in server response"))?);
    Ok(())
}
