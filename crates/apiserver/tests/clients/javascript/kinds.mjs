// Every kind that is served: an object of it as the client's typed classes read it, written back without a change.

import assert from "node:assert/strict";

import { PLACE, config, core, k8s, names } from "./client.mjs";

const template = {
  metadata: { labels: { app: "js" } },
  spec: {
    containers: [
      {
        name: "main",
        image: "stead.local/hello-app:1.0",
        ports: [{ containerPort: 8080, name: "http" }],
        env: [{ name: "A", value: "b" }],
        resources: { limits: { cpu: "0.5", memory: "64Mi" } },
        readinessProbe: { httpGet: { path: "/", port: "http" } },
      },
    ],
    volumes: [{ name: "v", emptyDir: { sizeLimit: "1Gi" } }],
  },
};
const now = new Date();
const about = { kind: "Pod", name: "x", namespace: PLACE, apiVersion: "v1" };
const workload = { replicas: 2, selector: { matchLabels: { app: "js" } }, template };

/** The API, the noun in its methods, whether it is in a namespace, and an object. */
const objects = [
  [k8s.CoreV1Api, "ConfigMap", true, { data: { a: "b" }, binaryData: { c: "AAEC" } }],
  [
    k8s.CoreV1Api,
    "Endpoints",
    true,
    { subsets: [{ addresses: [{ ip: "192.0.2.7", hostname: "h" }], ports: [{ port: 80, name: "http" }] }] },
  ],
  [
    k8s.CoreV1Api,
    "Event",
    true,
    {
      involvedObject: about, reason: "R", message: "m", type: "Normal", count: 3, source: { component: "js" },
      firstTimestamp: now, lastTimestamp: now,
    },
  ],
  [k8s.CoreV1Api, "Namespace", false, {}],
  [k8s.CoreV1Api, "Node", false, { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } }],
  [k8s.CoreV1Api, "Pod", true, { spec: template.spec }],
  [k8s.CoreV1Api, "ReplicationController", true, { spec: { replicas: 2, selector: { app: "js" }, template } }],
  [k8s.CoreV1Api, "Secret", true, { stringData: { a: "b" }, type: "Opaque" }],
  [k8s.CoreV1Api, "ServiceAccount", true, {}],
  [
    k8s.CoreV1Api,
    "Service",
    true,
    {
      spec: {
        selector: { app: "js" }, type: "NodePort", sessionAffinity: "ClientIP",
        ports: [{ port: 80, targetPort: "http", name: "http" }],
      },
    },
  ],
  [k8s.AppsV1Api, "Deployment", true, { spec: workload }],
  [k8s.AppsV1Api, "ReplicaSet", true, { spec: workload }],
  [
    k8s.CoordinationV1Api,
    "Lease",
    true,
    {
      spec: {
        holderIdentity: "js", leaseDurationSeconds: 15,
        acquireTime: new k8s.V1MicroTime(now), renewTime: new k8s.V1MicroTime(now),
      },
    },
  ],
  [
    k8s.DiscoveryV1Api,
    "EndpointSlice",
    true,
    {
      addressType: "IPv4",
      endpoints: [{ addresses: ["192.0.2.8"], conditions: { ready: true }, zone: "a" }],
      ports: [{ port: 80, name: "http" }],
    },
  ],
  [
    k8s.EventsV1Api,
    "Event",
    true,
    {
      eventTime: new k8s.V1MicroTime(now), reason: "R", action: "A", type: "Warning", note: "n", regarding: about,
      reportingController: "example.org/js", reportingInstance: "js-1",
    },
  ],
  [
    k8s.NetworkingV1Api,
    "IPAddress",
    false,
    {
      metadata: { name: "10.96.88.88" },
      spec: { parentRef: { resource: "services", name: "js", namespace: PLACE } },
    },
  ],
  [k8s.NetworkingV1Api, "ServiceCIDR", false, { spec: { cidrs: ["10.98.0.0/24"] } }],
];

export async function eachIsReadAndWrittenBack() {
  for (const [api, noun, namespaced, made] of objects) {
    const client = config.makeApiClient(api);
    const [place, namespace] = namespaced ? ["Namespaced", PLACE] : ["", undefined];
    const call = (verb, more) => client[`${verb}${place}${noun}`]({ namespace, ...more });
    const body = { ...made, metadata: { name: "js", ...made.metadata } };
    const name = body.metadata.name;
    const created = await call("create", { body });
    const read = await call("read", { name });
    assert.equal(read.metadata.uid, created.metadata.uid, noun);
    assert.ok(read.metadata.creationTimestamp instanceof Date, noun);
    assert.match(read.constructor.name, new RegExp(`${noun}$`));
    const written = await call("replace", { name, body: read });
    assert.equal(written.metadata.resourceVersion, read.metadata.resourceVersion, noun);
    assert.ok(names(await call("list", {})).includes(name), noun);
    if (namespaced) {
      assert.ok(names(await client[`list${noun}ForAllNamespaces`]({})).includes(name), noun);
    }
    await call("delete", { name });
  }
  await reviews();
}

async function reviews() {
  const authentication = config.makeApiClient(k8s.AuthenticationV1Api);
  const authorization = config.makeApiClient(k8s.AuthorizationV1Api);
  const who = await authentication.createSelfSubjectReview({ body: {} });
  assert.equal(who.status.userInfo.username, "kubernetes-admin");
  const token = await authentication.createTokenReview({ body: { spec: { token: "none" } } });
  assert.ok(!token.status.authenticated);
  const resourceAttributes = { verb: "delete", resource: "secrets", namespace: PLACE };
  const mine = await authorization.createSelfSubjectAccessReview({ body: { spec: { resourceAttributes } } });
  assert.equal(mine.status.allowed, true);
  const spec = { user: "nobody", resourceAttributes };
  const theirs = await authorization.createSubjectAccessReview({ body: { spec } });
  assert.equal(theirs.status.allowed, false);
  const body = { metadata: { namespace: PLACE }, spec };
  const local = await authorization.createNamespacedLocalSubjectAccessReview({ namespace: PLACE, body });
  assert.equal(local.status.allowed, false);
  const rules = await authorization.createSelfSubjectRulesReview({ body: { spec: { namespace: PLACE } } });
  assert.deepEqual(rules.status.resourceRules[0].verbs, ["*"]);
  await core.createNamespacedServiceAccount({ namespace: PLACE, body: { metadata: { name: "js-token" } } });
  const request = { namespace: PLACE, name: "js-token", body: { spec: { audiences: [], expirationSeconds: 1200 } } };
  const issued = await core.createNamespacedServiceAccountToken(request);
  assert.ok(issued.status.token.split(".").length === 3 && issued.status.expirationTimestamp > now);
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  assert.deepEqual([version.major, version.minor], ["1", "36"]);
}
