"""Leader election on a Lease, as the client has it: two candidates, of which one leads until it gives up."""

import threading
import time

from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

PATIENCE = 40


class Candidate:
    def __init__(self, name, leaders):
        self.name, self.leaders = name, leaders
        self.leads, self.give_up, self.stopped = threading.Event(), threading.Event(), threading.Event()
        config = electionconfig.Config(
            LeaseLock("py-leader", "default", name),
            lease_duration=3, renew_deadline=2, retry_period=1,
            onstarted_leading=self.lead, onstopped_leading=self.stop,
        )
        threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True).start()

    def lead(self):
        self.leaders.append(self.name)
        assert len(self.leaders) == 1, f"{self.leaders} lead at a time"
        self.leads.set()
        self.give_up.wait(PATIENCE)
        self.leaders.remove(self.name)
        # An error of its work is how a candidate ends; its lease then runs out.
        raise InterruptedError(f"{self.name} gives up")

    def stop(self):
        self.stopped.set()


def one_candidate_leads_at_a_time():
    leases, leaders = client.CoordinationV1Api(), []
    first = Candidate("first", leaders)
    assert first.leads.wait(PATIENCE)
    second = Candidate("second", leaders)
    began = leases.read_namespaced_lease("py-leader", "default")
    while (renewed := leases.read_namespaced_lease("py-leader", "default")).spec.renew_time == began.spec.renew_time:
        time.sleep(0.05)
    assert renewed.spec.holder_identity == "first" and renewed.spec.acquire_time == began.spec.acquire_time, renewed
    assert leaders == ["first"]
    first.give_up.set()
    assert first.stopped.wait(PATIENCE) and second.leads.wait(PATIENCE) and leaders == ["second"]
    taken = leases.read_namespaced_lease("py-leader", "default")
    assert taken.spec.holder_identity == "second" and taken.spec.lease_duration_seconds == 3, taken
    # Who read before the change of hands cannot write after it.
    renewed.spec.holder_identity = "first"
    try:
        leases.replace_namespaced_lease("py-leader", "default", renewed)
        raise AssertionError("two hold the lease")
    except client.exceptions.ApiException as error:
        assert error.status == 409, error
