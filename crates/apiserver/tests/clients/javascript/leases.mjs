// Leader election on a Lease, which this client leaves to its users: who writes the version that he has read holds it, and who
// has seen it unchanged for its duration may take it.

import assert from "node:assert/strict";

import { PLACE, config, k8s, refused, until } from "./client.mjs";

const leases = config.makeApiClient(k8s.CoordinationV1Api);
const NAME = "js-leader";
const DURATION = 1;
const RETRY = 100;

class Candidate {
  constructor(name) {
    Object.assign(this, { name, leads: false, stopped: false, seen: undefined, since: 0 });
    this.running = this.run();
  }

  async run() {
    while (!this.stopped) {
      this.leads = await this.acquireOrRenew();
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
    this.leads = false;
  }

  async acquireOrRenew() {
    const now = new k8s.V1MicroTime();
    try {
      const lease = await leases.readNamespacedLease({ namespace: PLACE, name: NAME });
      if (lease.metadata.resourceVersion !== this.seen) {
        [this.seen, this.since] = [lease.metadata.resourceVersion, Date.now()];
      }
      const { spec } = lease;
      const mine = spec.holderIdentity === this.name;
      if (!mine && Date.now() - this.since < spec.leaseDurationSeconds * 1000) {
        return false;
      }
      spec.renewTime = now;
      if (!mine) {
        Object.assign(spec, { holderIdentity: this.name, acquireTime: now });
        spec.leaseTransitions = (spec.leaseTransitions ?? 0) + 1;
      }
      const written = await leases.replaceNamespacedLease({ namespace: PLACE, name: NAME, body: lease });
      this.seen = written.metadata.resourceVersion;
      return true;
    } catch (error) {
      if (error.code !== 404) {
        assert.equal(error.code, 409, error.message);
        return false;
      }
    }
    const spec = { holderIdentity: this.name, leaseDurationSeconds: DURATION, acquireTime: now, renewTime: now };
    try {
      await leases.createNamespacedLease({ namespace: PLACE, body: { metadata: { name: NAME }, spec } });
      return true;
    } catch (error) {
      assert.equal(error.code, 409, error.message);
      return false;
    }
  }
}

export async function oneCandidateLeadsAtATime() {
  const candidates = ["a", "b", "c"].map((name) => new Candidate(name));
  const leaders = () => candidates.filter((candidate) => candidate.leads);
  const read = () => leases.readNamespacedLease({ namespace: PLACE, name: NAME });
  await until("a leader", () => leaders().length > 0);
  const [first] = leaders();
  const began = await read();
  await until("a renewal", async () => (await read()).spec.renewTime > began.spec.renewTime);
  assert.deepEqual(leaders(), [first]);
  const renewed = await read();
  assert.deepEqual(renewed.spec.acquireTime, began.spec.acquireTime);
  first.stopped = true;
  await first.running;
  await until("another leader", () => leaders().length > 0);
  const [second] = leaders();
  assert.ok(second !== first && leaders().length === 1);
  const taken = await read();
  assert.deepEqual([taken.spec.holderIdentity, taken.spec.leaseTransitions], [second.name, 1]);
  // Who read before the change of hands cannot write after it.
  await refused(409, "Conflict", () => leases.replaceNamespacedLease({ namespace: PLACE, name: NAME, body: renewed }));
  for (const candidate of candidates) {
    candidate.stopped = true;
    await candidate.running;
  }
}
