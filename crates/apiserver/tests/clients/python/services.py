"""Services: created, changed by every patch there is, applied, dry, refused and deleted."""

import json

from kubernetes import client, dynamic, utils
from kubernetes.client.exceptions import ApiException

PLACE = "default"


def service(name, **spec):
    ports = [client.V1ServicePort(port=80, target_port=8080, name="http")]
    return client.V1Service(
        metadata=client.V1ObjectMeta(name=name, labels={"of": "py"}),
        spec=client.V1ServiceSpec(selector={"app": name}, ports=ports, **spec),
    )


def refused(status, reason, work):
    """What the server says in answer to what it must refuse."""
    try:
        work()
    except ApiException as error:
        said = json.loads(error.body)
        assert (error.status, said["reason"]) == (status, reason), said
        return said
    raise AssertionError(f"{reason} was expected")


def are_created_changed_and_deleted():
    core = client.CoreV1Api()
    imagined = core.create_namespaced_service(PLACE, service("imagined"), dry_run="All")
    assert imagined.spec.cluster_ip.startswith("10.96.") and imagined.metadata.uid
    refused(404, "NotFound", lambda: core.read_namespaced_service("imagined", PLACE))
    made = core.create_namespaced_service(PLACE, service("web"))
    assert made.spec.cluster_ips == [made.spec.cluster_ip] and made.spec.ports[0].protocol == "TCP"
    said = refused(409, "AlreadyExists", lambda: core.create_namespaced_service(PLACE, service("web")))
    assert said["details"]["kind"] == "services", said
    said = refused(422, "Invalid", lambda: core.create_namespaced_service(PLACE, service("bad", type="Nothing")))
    assert said["details"]["causes"][0]["field"] == "spec.type", said

    # Merge, for which the client chooses the strategic form; then the two others by their names.
    patch = {"spec": {"ports": [{"port": 443, "name": "https"}], "type": "NodePort"}}
    changed = core.patch_namespaced_service("web", PLACE, patch, _content_type="application/strategic-merge-patch+json")
    assert sorted(port.port for port in changed.spec.ports) == [80, 443], changed.spec.ports
    assert all(30000 <= port.node_port <= 32767 for port in changed.spec.ports), changed.spec.ports
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}]}, "metadata": {"labels": {"of": None, "by": "merge"}}}
    changed = core.patch_namespaced_service("web", PLACE, patch, _content_type="application/merge-patch+json")
    assert len(changed.spec.ports) == 1 and changed.metadata.labels == {"by": "merge"}, changed
    steps = [{"op": "test", "path": "/spec/type", "value": "NodePort"}, {"op": "replace", "path": "/spec/type", "value": "ClusterIP"}]
    changed = core.patch_namespaced_service("web", PLACE, steps, _content_type="application/json-patch+json")
    assert changed.spec.type == "ClusterIP" and changed.spec.ports[0].node_port is None, changed.spec
    said = refused(422, "Invalid", lambda: core.patch_namespaced_service("web", PLACE, steps, _content_type="application/json-patch+json"))
    assert "the server rejected our request" in said["message"], said
    unguided = core.patch_namespaced_service("web", PLACE, {"spec": {"sessionAffinity": "ClientIP"}})
    assert unguided.spec.session_affinity_config.client_ip.timeout_seconds == 10800, unguided.spec

    # Two who have read the same: the second to write is told.
    first, second = (core.read_namespaced_service("web", PLACE) for _ in range(2))
    first.metadata.annotations = {"who": "first"}
    core.replace_namespaced_service("web", PLACE, first)
    second.metadata.annotations = {"who": "second"}
    refused(409, "Conflict", lambda: core.replace_namespaced_service("web", PLACE, second))

    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    core.patch_namespaced_service("web", PLACE, {"spec": {"type": "LoadBalancer"}})
    assert core.patch_namespaced_service_status("web", PLACE, status).status.load_balancer.ingress[0].ip == "192.0.2.9"
    strict = {"spec": {"unheardOf": 1}}
    refused(422, "Invalid", lambda: core.patch_namespaced_service("web", PLACE, strict, field_validation="Strict"))
    _, _, headers = core.patch_namespaced_service_with_http_info("web", PLACE, strict, field_validation="Warn")
    assert 'unknown field \\"spec.unheardOf\\"' in headers["Warning"], headers

    preconditions = client.V1Preconditions(uid="another")
    refused(409, "Conflict", lambda: core.delete_namespaced_service("web", PLACE, body=client.V1DeleteOptions(preconditions=preconditions)))
    core.delete_namespaced_service("web", PLACE, dry_run="All")
    gone = core.delete_namespaced_service("web", PLACE, propagation_policy="Background")
    assert gone.metadata.name == "web", gone
    for name in ("a", "b"):
        core.create_namespaced_service(PLACE, service(name))
    core.delete_collection_namespaced_service(PLACE, label_selector="of=py")
    assert [item.metadata.name for item in core.list_namespaced_service(PLACE).items] == ["kubernetes"]


def are_applied():
    """Server-side apply, by the typed client and by the one that learns kinds from discovery."""
    api = client.ApiClient()
    core = client.CoreV1Api()

    def body(affinity):
        ports = [{"port": 80, "targetPort": 8080}]
        spec = {"sessionAffinity": affinity, "ports": ports}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "applied"}, "spec": spec}

    def apply(manager, affinity, **options):
        kind = "application/apply-patch+yaml"
        return core.patch_namespaced_service(
            "applied", PLACE, body(affinity), field_manager=manager, _content_type=kind, **options
        )

    made = apply("one", "ClientIP")
    assert [(fields.manager, fields.operation) for fields in made.metadata.managed_fields] == [("one", "Apply")], made
    said = refused(409, "Conflict", lambda: apply("two", "None"))
    cause = said["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.sessionAffinity"), said
    assert apply("two", "None", force=True).spec.session_affinity == "None"

    services = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="Service")
    taken = services.server_side_apply(body("ClientIP"), namespace=PLACE, field_manager="one", force_conflicts=True)
    assert taken.spec.sessionAffinity == "ClientIP"
    assert services.get(name="applied", namespace=PLACE).metadata.uid == made.metadata.uid
    services.delete(name="applied", namespace=PLACE)
    utils.create_from_dict(api, {**body("None"), "metadata": {"name": "from-dict"}}, namespace=PLACE)
    core.delete_namespaced_service("from-dict", PLACE)
