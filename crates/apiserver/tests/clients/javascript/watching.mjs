// Lists in pages, watches that resume, and what happens to those who come back too late.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { PLACE, as, config, core, k8s, names, refused, until } from "./client.mjs";

const namespace = PLACE;
const MAPS = `/api/v1/namespaces/${PLACE}/configmaps`;
const make = (name, l) =>
  core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels: { l } } } });
const list = (options) => core.listNamespacedConfigMap({ namespace, ...options });

export async function listsArePagedAndSelected() {
  for (const number of [0, 1, 2, 3, 4]) {
    await make(`page-${number}`, number % 2 ? "odd" : "even");
  }
  const [seen, revisions] = [[], new Set()];
  let token;
  do {
    const page = await list({ limit: 2, _continue: token, labelSelector: "l in (odd, even)" });
    seen.push(...names(page));
    token = page.metadata._continue;
    revisions.add(page.metadata.resourceVersion);
    if (seen.length === 2) {
      await make("page-late", "odd");
    }
  } while (token);
  assert.deepEqual([seen, revisions.size], [[0, 1, 2, 3, 4].map((number) => `page-${number}`), 1]);
  assert.deepEqual(names(await list({ labelSelector: "l=odd,l!=even" })), ["page-1", "page-3", "page-late"]);
  assert.deepEqual(names(await list({ fieldSelector: "metadata.name=page-2" })), ["page-2"]);
  await refused(400, "BadRequest", () => list({ fieldSelector: "data.a=b" }));
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "l" });
}

/** The first `count` events of a watch, or all until it ends; the error that it ends with, if any. */
async function events(count, options) {
  const found = [];
  const watch = new k8s.Watch(config);
  const ended = await new Promise((resolve, reject) => {
    const seen = (type, object) => {
      if (found.length < count) {
        found.push([type, object.metadata?.name, object.metadata?.resourceVersion, object]);
      }
      if (found.length === count) {
        request.then((controller) => controller.abort());
        resolve();
      }
    };
    const request = watch.watch(MAPS, options, seen, resolve);
    request.catch(reject);
  });
  return [found, ended];
}

export async function watchesResume() {
  const start = (await list()).metadata.resourceVersion;
  await make("a", "x");
  await make("b", "x");
  await core.patchNamespacedConfigMap({ namespace, name: "a", body: { data: { k: "v" } } }, as("MergePatch"));
  await core.deleteNamespacedConfigMap({ namespace, name: "b" });
  const short = (found) => found.map(([type, name]) => `${type} ${name}`);
  const [all] = await events(4, { resourceVersion: start });
  assert.deepEqual(short(all), ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"]);
  const [rest] = await events(2, { resourceVersion: all[1][2] });
  assert.deepEqual(rest, all.slice(2));
  const [none, ended] = await events(9, { resourceVersion: all[3][2], timeoutSeconds: 1 });
  assert.deepEqual([none, ended], [[], null]);
  const [selected] = await events(2, {
    resourceVersion: start,
    fieldSelector: "metadata.name=b",
    labelSelector: "l=x",
  });
  assert.deepEqual(short(selected), ["ADDED b", "DELETED b"]);
  const [streamed] = await events(2, {
    sendInitialEvents: true,
    resourceVersionMatch: "NotOlderThan",
    allowWatchBookmarks: true,
    labelSelector: "l",
  });
  assert.deepEqual(short(streamed), ["ADDED a", "BOOKMARK undefined"]);
  assert.equal(streamed[1][3].metadata.annotations["k8s.io/initial-events-end"], "true");
  await core.deleteNamespacedConfigMap({ namespace, name: "a" });
}

export async function whatExpiredIsListedAgain() {
  await make("gone", "x");
  const before = await list();
  const informer = k8s.makeInformer(config, MAPS, () => list());
  const said = [];
  for (const event of ["add", "update", "delete"]) {
    informer.on(event, (object) => said.push(`${event} ${object.metadata.name}`));
  }
  // A connection that is cut is no reason to give up.
  informer.on("error", () => setTimeout(() => informer.start(), 20));
  let connections = 0;
  informer.on("connect", () => connections++);
  await informer.start();
  await make("stays", "x");
  await until("the informer to know what there is", () => informer.get("gone", PLACE) && informer.get("stays", PLACE));

  const lines = createInterface(process.stdin);
  console.log("restart");
  assert.deepEqual(await once(lines, "line"), ["restarted"]);
  lines.close();
  await until("the informer to list again", () => said.includes("add come") && said.includes("delete gone"));
  assert.ok(connections > 1 && informer.get("stays", PLACE) && !informer.get("gone", PLACE));
  assert.equal(said.filter((event) => event === "add stays").length, 1, "what it knew is not new");
  await core.patchNamespacedConfigMap({ namespace, name: "stays", body: { data: { k: "v" } } }, as("MergePatch"));
  await until("the watch to go on", () => said.includes("update stays"));
  await informer.stop();

  const resourceVersion = before.metadata.resourceVersion;
  const [[[type, , , late]]] = await events(1, { resourceVersion });
  assert.deepEqual([type, late.code, late.reason], ["ERROR", 410, "Expired"]);
  await refused(410, "Expired", () => list({ resourceVersion, resourceVersionMatch: "Exact" }));
  assert.deepEqual(names(await list()).filter((name) => ["come", "gone", "stays"].includes(name)), ["come", "stays"]);
}
