// The client where the suite has fetched it to, and what every part uses.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

export const k8s = await import(pathToFileURL(process.env.CLIENT).href);
export const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);

export const PLACE = "default";
export const core = config.makeApiClient(k8s.CoreV1Api);

/** Options of a PATCH of this form, such as `MergePatch`. */
export const as = (form) => k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy[form]);

export const names = (list) => list.items.map((item) => item.metadata.name);

/** What the server says in answer to what it must refuse. */
export async function refused(code, reason, work) {
  try {
    await work();
  } catch (error) {
    const said = typeof error.body === "string" ? JSON.parse(error.body) : error.body;
    assert.deepEqual([error.code, said?.reason], [code, reason], error.message);
    return said;
  }
  assert.fail(`${reason} was expected`);
}

export async function until(what, check) {
  const end = Date.now() + 30_000;
  while (!(await check())) {
    assert.ok(Date.now() < end, `${what} in time`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
