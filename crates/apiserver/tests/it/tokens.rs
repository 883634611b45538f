//! Tokens of ServiceAccounts, acting as others, and the reviews that ask about rights.

use serde_json::{Value, json};
use stead_apiserver::Identity;

use crate::support::{Client, Cluster};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

async fn account(admin: &Client) -> Value {
    admin.post(ACCOUNTS, &json!({"metadata": {"name": "bot"}})).await.expect(201)
}

async fn token(admin: &Client, spec: Value) -> String {
    let answer = admin.post(&format!("{ACCOUNTS}/bot/token"), &json!({"spec": spec})).await.expect(201);
    assert!(answer["status"]["expirationTimestamp"].is_string());
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_names_its_account_while_that_is_there() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let made = account(&admin).await;
    let bearer = cluster
        .client(Identity::anonymous())
        .with_header("authorization", &format!("Bearer {}", token(&admin, json!({})).await));
    let who = bearer.post(SELF, &json!({})).await.expect(201);
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:bot");
    assert_eq!(user["uid"], made["metadata"]["uid"]);
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert!(user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap().starts_with("JTI="));
    let refused = bearer.get("/api/v1/namespaces/default/secrets").await;
    assert_eq!(
        refused.message(),
        "secrets is forbidden: User \"system:serviceaccount:default:bot\" cannot list resource \"secrets\" in API group \
         \"\" in the namespace \"default\""
    );
    refused.expect(403);
    bearer.get("/apis").await.expect(200);
    let keys = bearer.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(keys["keys"][0]["crv"], "P-256");
    assert_eq!(bearer.get("/.well-known/openid-configuration").await.expect(200)["issuer"], ISSUER);
    admin.delete(&format!("{ACCOUNTS}/bot")).await.expect(200);
    bearer.post(SELF, &json!({})).await.expect(401);
    let nonsense = cluster.client(Identity::anonymous()).with_header("authorization", "Bearer x.y.z");
    assert_eq!(nonsense.get("/healthz").await.expect(401)["message"], "Unauthorized");
}

#[tokio::test]
async fn tokens_are_bound_to_secrets_and_asked_for_by_the_accounts_own_name() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    account(&admin).await;
    let path = format!("{ACCOUNTS}/bot/token");
    let other = admin.post(&path, &json!({"metadata": {"name": "foo"}, "spec": {}})).await;
    let expected = "TokenRequest.authentication.k8s.io \"bot\" is invalid: metadata.name: Invalid value: \"foo\": must match the service account name if specified";
    assert_eq!((other.code.as_u16(), other.message()), (422, expected));
    admin.post(&path, &json!({"metadata": {"namespace": "other"}, "spec": {}})).await.expect(400);
    let bound = json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s"}});
    let missing = admin.post(&path, &json!({"spec": bound})).await;
    assert_eq!((missing.code.as_u16(), missing.message()), (404, "secrets \"s\" not found"));
    let secrets = "/api/v1/namespaces/default/secrets";
    admin.post(secrets, &json!({"metadata": {"name": "s"}})).await.expect(201);
    let token = token(&admin, bound).await;
    let bearer = cluster.client(Identity::anonymous()).with_header("authorization", &format!("Bearer {token}"));
    bearer.post(SELF, &json!({})).await.expect(201);
    admin.delete(&format!("{secrets}/s")).await.expect(200);
    bearer.post(SELF, &json!({})).await.expect(401);
}

#[tokio::test]
async fn tokens_are_bound_to_audiences_and_pods() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    account(&admin).await;
    let review = |token: &str, audiences: Value| json!({"spec": {"token": token, "audiences": audiences}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let vault = token(&admin, json!({"audiences": ["vault"]})).await;
    let good = admin.post(reviews, &review(&vault, json!(["vault", "x"]))).await.expect(201);
    assert_eq!((&good["status"]["authenticated"], &good["status"]["audiences"]), (&json!(true), &json!(["vault"])));
    let bad = admin.post(reviews, &review(&vault, json!([]))).await.expect(201);
    assert_eq!(bad["status"].get("authenticated"), None);
    assert!(bad["status"]["error"].as_str().unwrap().contains("invalid for the target audiences"), "{bad}");
    cluster
        .client(Identity::anonymous())
        .with_header("authorization", &format!("Bearer {vault}"))
        .get("/api")
        .await
        .expect(401);

    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "bot", "nodeName": "node1", "containers": [{"name": "c", "image": "i"}],
    }});
    let pod = admin.post(pods, &pod).await.expect(201);
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]});
    let bound = json!({"spec": {"boundObjectRef": reference}});
    let node = |name: &str| cluster.client(Identity::new(format!("system:node:{name}"), &["system:nodes"]));
    let path = format!("{ACCOUNTS}/bot/token");
    let answer = node("node1").post(&path, &bound).await.expect(201);
    node("node2").post(&path, &bound).await.expect(403);
    node("node1").post(&path, &json!({"spec": {}})).await.expect(403);
    let bearer = format!("Bearer {}", answer["status"]["token"].as_str().unwrap());
    let bearer = cluster.client(Identity::anonymous()).with_header("authorization", &bearer);
    let who = bearer.post(SELF, &json!({})).await.expect(201);
    assert_eq!(who["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    admin.delete_with(&format!("{pods}/p"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    bearer.post(SELF, &json!({})).await.expect(401);

    let short = admin.post(&path, &json!({"spec": {"expirationSeconds": 5}})).await;
    assert_eq!(
        short.message(),
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a \
         duration less than 10 minutes"
    );
    admin.post(&format!("{ACCOUNTS}/nobody/token"), &json!({"spec": {}})).await.expect(404);
}

#[tokio::test]
async fn rights_can_be_asked_about() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let node = cluster.client(Identity::new("system:node:node1", &["system:nodes"]));
    let group = "/apis/authorization.k8s.io/v1";
    let asks =
        |verb: &str, resource: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": resource}}});
    for (client, verb, resource, allowed) in [
        (&admin, "delete", "secrets", true),
        (&node, "list", "pods", true),
        (&node, "list", "secrets", false),
        (&node, "create", "services", false),
    ] {
        let path = format!("{group}/selfsubjectaccessreviews");
        let answer = client.post(&path, &asks(verb, resource)).await.expect(201);
        assert_eq!(answer["status"]["allowed"], allowed, "{verb} {resource}");
    }
    let mut other = asks("list", "pods");
    other["spec"]["user"] = "jane".into();
    other["spec"]["groups"] = json!(["system:masters"]);
    let answer = admin.post(&format!("{group}/subjectaccessreviews"), &other).await.expect(201);
    assert_eq!(answer["status"]["allowed"], true);
    other["spec"]["groups"] = json!([]);
    other["spec"]["resourceAttributes"]["namespace"] = "default".into();
    let local = format!("{group}/namespaces/default/localsubjectaccessreviews");
    assert_eq!(admin.post(&local, &other).await.expect(201)["status"]["allowed"], false);
    node.post(&format!("{group}/subjectaccessreviews"), &other).await.expect(403);
    let both = json!({"spec": {}});
    let refused = admin.post(&format!("{group}/selfsubjectaccessreviews"), &both).await;
    assert!(refused.message().contains("exactly one of nonResourceAttributes or resourceAttributes must be specified"));
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = node.post(&format!("{group}/selfsubjectrulesreviews"), &rules).await.expect(201);
    let rules = rules["status"]["resourceRules"].as_array().unwrap().clone();
    assert!(rules.iter().all(|rule| !rule["resources"].as_array().unwrap().contains(&json!("secrets"))));
}

#[tokio::test]
async fn administrators_alone_act_as_others() {
    let cluster = Cluster::new().await;
    let as_jane =
        |client: Client| client.with_header("impersonate-user", "jane").with_header("impersonate-group", "dev");
    let who = as_jane(cluster.admin()).post(SELF, &json!({})).await.expect(201);
    let user = &who["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"]), (&json!("jane"), &json!(["dev", "system:authenticated"])));
    let refused = as_jane(cluster.admin()).get("/api/v1/pods").await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("User \"jane\" cannot list resource \"pods\""));
    let node = cluster.client(Identity::new("system:node:node1", &["system:nodes"]));
    let refused = as_jane(node).post(SELF, &json!({})).await;
    assert!(refused.message().contains("cannot impersonate resource \"users\""), "{}", refused.text);
    refused.expect(403);
}
