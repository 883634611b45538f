"""Every kind that is served: an object of it as the client's typed models read it, written back without a change."""

from datetime import datetime, timezone

from kubernetes import client

META = client.V1ObjectMeta
NOW = datetime.now(timezone.utc)


def template():
    container = client.V1Container(
        name="main",
        image="stead.local/hello-app:1.0",
        ports=[client.V1ContainerPort(container_port=8080, name="http")],
        env=[client.V1EnvVar(name="A", value="b")],
        resources=client.V1ResourceRequirements(limits={"cpu": "0.5", "memory": "64Mi"}),
        readiness_probe=client.V1Probe(http_get=client.V1HTTPGetAction(path="/", port="http")),
    )
    return client.V1PodTemplateSpec(
        metadata=META(labels={"app": "py"}),
        spec=client.V1PodSpec(
            containers=[container],
            volumes=[client.V1Volume(name="v", empty_dir=client.V1EmptyDirVolumeSource(size_limit="1Gi"))],
        ),
    )


def objects():
    """The API, the name in its methods, and an object."""
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    networking = client.NetworkingV1Api()
    labels = {"app": "py"}
    selector = client.V1LabelSelector(match_labels=labels)
    about = client.V1ObjectReference(kind="Pod", name="x", namespace="default", api_version="v1")
    address = client.V1EndpointAddress(ip="192.0.2.7", hostname="h")
    subset = client.V1EndpointSubset(
        addresses=[address], ports=[client.CoreV1EndpointPort(port=80, name="http")]
    )
    return [
        (core, "namespaced_config_map", client.V1ConfigMap(data={"a": "b"}, binary_data={"c": "AAEC"})),
        (core, "namespaced_endpoints", client.V1Endpoints(subsets=[subset])),
        (
            core,
            "namespaced_event",
            client.CoreV1Event(
                metadata=META(), involved_object=about, reason="R", message="m", type="Normal",
                first_timestamp=NOW, last_timestamp=NOW, count=3, source=client.V1EventSource(component="py"),
            ),
        ),
        (core, "namespace", client.V1Namespace()),
        (core, "node", client.V1Node(spec=client.V1NodeSpec(taints=[client.V1Taint(key="k", effect="NoSchedule")]))),
        (core, "namespaced_pod", client.V1Pod(spec=template().spec)),
        (
            core,
            "namespaced_replication_controller",
            client.V1ReplicationController(
                spec=client.V1ReplicationControllerSpec(replicas=2, selector=labels, template=template())
            ),
        ),
        (core, "namespaced_secret", client.V1Secret(string_data={"a": "b"}, type="Opaque")),
        (core, "namespaced_service_account", client.V1ServiceAccount()),
        (
            core,
            "namespaced_service",
            client.V1Service(
                spec=client.V1ServiceSpec(
                    selector=labels, type="NodePort", session_affinity="ClientIP",
                    ports=[client.V1ServicePort(port=80, target_port="http", name="http")],
                )
            ),
        ),
        (
            apps,
            "namespaced_deployment",
            client.V1Deployment(spec=client.V1DeploymentSpec(replicas=2, selector=selector, template=template())),
        ),
        (
            apps,
            "namespaced_replica_set",
            client.V1ReplicaSet(spec=client.V1ReplicaSetSpec(replicas=2, selector=selector, template=template())),
        ),
        (
            client.CoordinationV1Api(),
            "namespaced_lease",
            client.V1Lease(
                spec=client.V1LeaseSpec(
                    holder_identity="py", lease_duration_seconds=15, acquire_time=NOW, renew_time=NOW
                )
            ),
        ),
        (
            client.DiscoveryV1Api(),
            "namespaced_endpoint_slice",
            client.V1EndpointSlice(
                address_type="IPv4",
                endpoints=[
                    client.V1Endpoint(
                        addresses=["192.0.2.8"], conditions=client.V1EndpointConditions(ready=True), zone="a"
                    )
                ],
                ports=[client.DiscoveryV1EndpointPort(port=80, name="http")],
            ),
        ),
        (
            client.EventsV1Api(),
            "namespaced_event",
            client.EventsV1Event(
                metadata=META(), event_time=NOW, reason="R", action="A", type="Warning", note="n", regarding=about,
                reporting_controller="example.org/py", reporting_instance="py-1",
            ),
        ),
        (
            networking,
            "ip_address",
            client.V1IPAddress(
                metadata=META(name="10.96.77.77"),
                spec=client.V1IPAddressSpec(
                    parent_ref=client.V1ParentReference(resource="services", name="py", namespace="default")
                ),
            ),
        ),
        (networking, "service_cidr", client.V1ServiceCIDR(spec=client.V1ServiceCIDRSpec(cidrs=["10.99.0.0/24"]))),
    ]


def call(api, verb, noun, *arguments, **named):
    return getattr(api, f"{verb}_{noun}")(*arguments, **named)


def each_is_read_and_written_back():
    tried = set()
    for api, noun, made in objects():
        made.metadata = made.metadata or META()
        made.metadata.name = name = made.metadata.name or "py"
        place = ["default"] if noun.startswith("namespaced_") else []
        created = call(api, "create", noun, *place, body=made)
        read = call(api, "read", noun, name, *place)
        assert type(read) is type(made) and read.metadata.uid == created.metadata.uid, (noun, read)
        written = call(api, "replace", noun, name, *place, body=read)
        assert written.metadata.resource_version == read.metadata.resource_version, (noun, read, written)
        listed = call(api, "list", noun, *place)
        assert name in [item.metadata.name for item in listed.items], noun
        everywhere = f"list_{noun.removeprefix('namespaced_')}_for_all_namespaces"
        if place:
            listed = getattr(api, everywhere)()
            assert name in [item.metadata.name for item in listed.items], noun
        tried.add((type(api).__name__.removesuffix("V1Api").lower(), noun.removeprefix("namespaced_").replace("_", "")))
        call(api, "delete", noun, name, *place)
    missing = served() - tried
    assert not missing, f"kinds that are served and not tried: {missing}"
    reviews()


def served():
    """Group and kind of what can be read at version 1, as discovery tells."""
    names = {"": "core", "apps": "apps"}
    groups = [("", client.CoreV1Api().get_api_resources())]
    apis = {
        "apps": client.AppsV1Api(),
        "coordination.k8s.io": client.CoordinationV1Api(),
        "discovery.k8s.io": client.DiscoveryV1Api(),
        "events.k8s.io": client.EventsV1Api(),
        "networking.k8s.io": client.NetworkingV1Api(),
        "authentication.k8s.io": client.AuthenticationV1Api(),
        "authorization.k8s.io": client.AuthorizationV1Api(),
    }
    listed = [group.name for group in client.ApisApi().get_api_versions().groups]
    assert set(listed) <= set(apis), listed
    groups += [(group, apis[group].get_api_resources()) for group in listed]
    return {
        (names.get(group, group.split(".")[0]), resource.kind.lower())
        for group, resources in groups
        for resource in resources.resources
        if "list" in resource.verbs
    }


def reviews():
    authentication, authorization = client.AuthenticationV1Api(), client.AuthorizationV1Api()
    who = authentication.create_self_subject_review(client.V1SelfSubjectReview())
    assert who.status.user_info.username == "kubernetes-admin", who
    token = authentication.create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token="none")))
    assert not token.status.authenticated, token
    attributes = client.V1ResourceAttributes(verb="delete", resource="secrets", namespace="default")
    mine = authorization.create_self_subject_access_review(
        client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    )
    assert mine.status.allowed, mine
    spec = client.V1SubjectAccessReviewSpec(user="nobody", resource_attributes=attributes)
    review = client.V1SubjectAccessReview(spec=spec)
    assert not authorization.create_subject_access_review(review).status.allowed
    local = client.V1LocalSubjectAccessReview(metadata=META(namespace="default"), spec=spec)
    assert not authorization.create_namespaced_local_subject_access_review("default", local).status.allowed
    rules = authorization.create_self_subject_rules_review(
        client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace="default"))
    )
    assert rules.status.resource_rules[0].verbs == ["*"], rules
    core = client.CoreV1Api()
    request = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=1200)
    )
    core.create_namespaced_service_account("default", client.V1ServiceAccount(metadata=META(name="py-token")))
    issued = core.create_namespaced_service_account_token("py-token", "default", request)
    assert issued.status.token.count(".") == 2 and issued.status.expiration_timestamp > NOW
    version = client.VersionApi().get_code()
    assert (version.major, version.minor) == ("1", "36"), version
