// Services: created, changed by every patch there is, applied, dry, refused and deleted.

import assert from "node:assert/strict";

import { PLACE, as, config, core, k8s, names, refused } from "./client.mjs";

const namespace = PLACE;
const service = (name, more) => ({
  metadata: { name, labels: { of: "js" } },
  spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080, name: "http" }], ...more },
});

export async function areCreatedChangedAndDeleted() {
  const create = (name, more, options) =>
    core.createNamespacedService({ namespace, body: service(name, more), ...options });
  const read = (name) => core.readNamespacedService({ namespace, name });
  const patch = (form, body, options) =>
    core.patchNamespacedService({ namespace, name: "web", body, ...options }, as(form));

  const imagined = await create("imagined", {}, { dryRun: "All" });
  assert.match(imagined.spec.clusterIP, /^10\.96\./);
  await refused(404, "NotFound", () => read("imagined"));
  const made = await create("web");
  assert.deepEqual(made.spec.clusterIPs, [made.spec.clusterIP]);
  const twice = await refused(409, "AlreadyExists", () => create("web"));
  assert.equal(twice.details.kind, "services");
  const bad = await refused(422, "Invalid", () => create("bad", { type: "Nothing" }));
  assert.equal(bad.details.causes[0].field, "spec.type");

  const ports = (changed) => changed.spec.ports.map((port) => port.port).sort();
  const more = { spec: { ports: [{ port: 443, name: "https" }], type: "NodePort" } };
  const strategic = await patch("StrategicMergePatch", more);
  assert.deepEqual(ports(strategic), [443, 80]);
  assert.ok(strategic.spec.ports.every((port) => port.nodePort >= 30000));
  const fewer = { spec: { ports: [{ port: 80, name: "http" }] }, metadata: { labels: { of: null, by: "merge" } } };
  const merged = await patch("MergePatch", fewer);
  assert.deepEqual([ports(merged), merged.metadata.labels], [[80], { by: "merge" }]);
  const steps = [
    { op: "test", path: "/spec/type", value: "NodePort" },
    { op: "replace", path: "/spec/type", value: "ClusterIP" },
  ];
  assert.equal((await patch("JsonPatch", steps)).spec.type, "ClusterIP");
  await refused(422, "Invalid", () => patch("JsonPatch", steps));

  // Two who have read the same: the second to write is told.
  const [first, second] = [await read("web"), await read("web")];
  const replace = (body, who) =>
    core.replaceNamespacedService({
      namespace,
      name: "web",
      body: { ...body, metadata: { ...body.metadata, annotations: { who } } },
    });
  assert.equal((await replace(first, "first")).metadata.annotations.who, "first");
  await refused(409, "Conflict", () => replace(second, "second"));

  await patch("MergePatch", { spec: { type: "LoadBalancer" } });
  const status = { status: { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] } } };
  const balanced = await core.patchNamespacedServiceStatus({ namespace, name: "web", body: status }, as("MergePatch"));
  assert.equal(balanced.status.loadBalancer.ingress[0].ip, "192.0.2.9");
  const unknown = { spec: { unheardOf: 1 } };
  await refused(422, "Invalid", () => patch("MergePatch", unknown, { fieldValidation: "Strict" }));
  await patch("MergePatch", unknown, { fieldValidation: "Warn" });

  const another = { preconditions: { uid: "another" } };
  await refused(409, "Conflict", () => core.deleteNamespacedService({ namespace, name: "web", body: another }));
  await core.deleteNamespacedService({ namespace, name: "web", dryRun: "All" });
  const gone = await core.deleteNamespacedService({ namespace, name: "web", propagationPolicy: "Background" });
  assert.equal(gone.metadata.name, "web");
  await Promise.all([create("a"), create("b")]);
  await core.deleteCollectionNamespacedService({ namespace, labelSelector: "of=js" });
  assert.deepEqual(names(await core.listNamespacedService({ namespace })), ["kubernetes"]);
}

/** Server-side apply, by the typed client and by the one that learns kinds from discovery. */
export async function areApplied() {
  const body = (sessionAffinity) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "applied", namespace },
    spec: { sessionAffinity, ports: [{ port: 80, targetPort: 8080 }] },
  });
  const apply = (fieldManager, affinity, force) =>
    core.patchNamespacedService(
      { namespace, name: "applied", body: body(affinity), fieldManager, force },
      as("ServerSideApply"),
    );
  const made = await apply("one", "ClientIP");
  const managers = made.metadata.managedFields.map(({ manager, operation }) => [manager, operation]);
  assert.deepEqual(managers, [["one", "Apply"]]);
  const conflict = await refused(409, "Conflict", () => apply("two", "None"));
  const { reason, field } = conflict.details.causes[0];
  assert.deepEqual([reason, field], ["FieldManagerConflict", ".spec.sessionAffinity"]);
  assert.equal((await apply("two", "None", true)).spec.sessionAffinity, "None");

  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const forms = k8s.PatchStrategy;
  const taken = await objects.patch(body("ClientIP"), undefined, undefined, "one", true, forms.ServerSideApply);
  assert.equal(taken.spec.sessionAffinity, "ClientIP");
  assert.equal((await objects.read(body())).metadata.uid, made.metadata.uid);
  const listed = await objects.list("v1", "Service", namespace);
  assert.ok(names(listed).includes("applied"));
  await objects.delete(body());
}
