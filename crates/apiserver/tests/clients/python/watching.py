"""Lists in pages, watches that resume, and what happens to those who come back too late."""

import sys
import threading
import time

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import ADDED, ERROR, SharedInformer

PLACE = "default"


def make(name, label):
    meta = client.V1ObjectMeta(name=name, labels={"l": label})
    return client.CoreV1Api().create_namespaced_config_map(PLACE, client.V1ConfigMap(metadata=meta))


def names(listed):
    return [item.metadata.name for item in listed.items]


def lists_are_paged_and_selected():
    core = client.CoreV1Api()
    for number in range(5):
        make(f"page-{number}", "odd" if number % 2 else "even")
    seen, pages, token, revisions = [], 0, None, set()
    while pages == 0 or token:
        page = core.list_namespaced_config_map(PLACE, limit=2, _continue=token, label_selector="l in (odd, even)")
        seen, pages, token = seen + names(page), pages + 1, page.metadata._continue
        revisions.add(page.metadata.resource_version)
        if pages == 1:
            make("page-late", "odd")
    assert seen == [f"page-{number}" for number in range(5)] and pages == 3 and len(revisions) == 1, (seen, revisions)
    assert names(core.list_namespaced_config_map(PLACE, label_selector="l=odd,l!=even")) == ["page-1", "page-3", "page-late"]
    assert names(core.list_namespaced_config_map(PLACE, field_selector="metadata.name=page-2")) == ["page-2"]
    try:
        core.list_namespaced_config_map(PLACE, field_selector="data.a=b")
        raise AssertionError("no such field can be selected by")
    except ApiException as error:
        assert error.status == 400, error
    core.delete_collection_namespaced_config_map(PLACE, label_selector="l")


def watches_resume():
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(PLACE).metadata.resource_version
    make("a", "x")
    make("b", "x")
    core.patch_namespaced_config_map("a", PLACE, {"data": {"k": "v"}})
    core.delete_namespaced_config_map("b", PLACE)

    def events(count, **options):
        watcher, found = watch.Watch(), []
        for event in watcher.stream(core.list_namespaced_config_map, PLACE, **options):
            found.append((event["type"], event["object"].metadata.name, event["object"].metadata.resource_version))
            if len(found) == count:
                watcher.stop()
        return found

    all_events = events(4, resource_version=start)
    assert [event[:2] for event in all_events] == [
        ("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")
    ], all_events
    assert events(2, resource_version=all_events[1][2]) == all_events[2:]
    assert events(9, resource_version=all_events[3][2], timeout_seconds=1) == []
    selected = events(2, resource_version=start, field_selector="metadata.name=b", label_selector="l=x")
    assert [event[:2] for event in selected] == [("ADDED", "b"), ("DELETED", "b")], selected
    streamed()
    core.delete_namespaced_config_map("a", PLACE)


def streamed():
    """A list as the beginning of a watch, which a bookmark ends."""
    options = {
        "send_initial_events": True, "resource_version_match": "NotOlderThan", "allow_watch_bookmarks": True
    }
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(client.CoreV1Api().list_namespaced_config_map, PLACE, label_selector="l", **options):
        seen.append(event["type"])
        if event["type"] == "BOOKMARK":
            assert event["raw_object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true", event
            watcher.stop()
    assert seen == ["ADDED", "BOOKMARK"], seen


def until(what, check):
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end, f"{what} in time"
        time.sleep(0.02)


def what_expired_is_listed_again():
    core = client.CoreV1Api()
    make("gone", "x")
    before = core.list_namespaced_config_map(PLACE)
    page = core.list_namespaced_config_map(PLACE, limit=1)
    informer, problems, added = SharedInformer(core.list_namespaced_config_map, namespace=PLACE), [], threading.Event()
    informer.add_event_handler(ERROR, problems.append)
    informer.add_event_handler(ADDED, lambda found: found.metadata.name == "come" and added.set())
    make("stays", "x")
    informer.start()
    until("the informer to know what there is", lambda: {"default/gone", "default/stays"} <= set(informer.cache.list_keys()))
    print("restart", flush=True)
    assert sys.stdin.readline() == "restarted\n"
    until("the informer to be told that it is late", lambda: any(getattr(error, "status", 0) == 410 for error in problems))
    assert added.wait(30)
    until("what went away to be forgotten", lambda: "default/gone" not in informer.cache.list_keys())
    core.patch_namespaced_config_map("stays", PLACE, {"data": {"k": "v"}})
    until("the watch to go on", lambda: (informer.cache.get_by_key("default/stays").data or {}).get("k") == "v")
    assert "default/come" in informer.cache.list_keys()
    informer.stop()

    def expired(work):
        try:
            work()
            raise AssertionError("an old version must be refused")
        except ApiException as error:
            assert error.status == 410, error

    revision = before.metadata.resource_version
    expired(lambda: list(watch.Watch().stream(core.list_namespaced_config_map, PLACE, resource_version=revision, timeout_seconds=5)))
    expired(lambda: core.list_namespaced_config_map(PLACE, resource_version=revision, resource_version_match="Exact"))
    if page.metadata._continue:
        expired(lambda: core.list_namespaced_config_map(PLACE, limit=1, _continue=page.metadata._continue))
    assert {"come", "stays"} <= set(names(core.list_namespaced_config_map(PLACE)))
