use jiff::Timestamp;
use serde_json::{Value, json};

use super::RESOURCE;
use crate::table::{self, Columns, IncludeObject, TableOptions};

mod validate;

const NOW: &str = "2026-01-01T00:10:00Z";

fn cells(spec: Value, status: Value) -> String {
    let pod = json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
        "status": status,
    });
    row(&pod)
}

fn row(pod: &Value) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    let cells = RESOURCE.strategy.cells(pod, now);
    cells.iter().map(|cell| cell.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" | ")
}

#[test]
fn status_reads_as_kubectl_prints_it() {
    let one = || json!({"containers": [{"name": "a"}]});
    let ready = |reason: &str| json!({"type": "Ready", "status": reason});
    for (spec, status, expect) in [
        (one(), json!({"phase": "Pending"}), "p | 0/1 | Pending | 0 | 10m | <none> | <none> | <none> | <none>"),
        (
            json!({"containers": [{"name": "a"}], "nodeName": "node1"}),
            json!({"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}], "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}}]}),
            "p | 1/1 | Running | 0 | 10m | 10.244.1.2 | node1 | <none> | <none>",
        ),
        (
            one(),
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:08:00Z"}}}]}),
            "p | 0/1 | CrashLoopBackOff | 2 (2m ago) | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            one(),
            json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}}]}),
            "p | 0/1 | ErrImagePull | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            one(),
            json!({"phase": "Succeeded", "containerStatuses": [
                {"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}),
            "p | 0/1 | Completed | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            one(),
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
            "p | 0/1 | ExitCode:3 | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            one(),
            json!({"phase": "Failed", "containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
            "p | 0/1 | Signal:9 | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"phase": "Running", "conditions": [ready("False")], "containerStatuses": [
                {"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
                {"name": "b", "ready": true, "state": {"running": {}}}]}),
            "p | 1/2 | NotReady | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            "p | 0/1 | Init:1/2 | 0 | 10m | <none> | <none> | <none> | <none>",
        ),
        (
            json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "x/y"}]}),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            "p | 0/1 | SchedulingGated | 0 | 10m | <none> | <none> | <none> | 0/1",
        ),
    ] {
        assert_eq!(cells(spec, status), expect);
    }
}

#[test]
fn a_deleted_pod_is_terminating_until_its_phase_is_final() {
    for (phase, reason, expect) in
        [("Running", "", "Terminating"), ("Succeeded", "", "Succeeded"), ("Running", "NodeLost", "Unknown")]
    {
        let pod = json!({
            "metadata": {"name": "p", "deletionTimestamp": NOW},
            "status": {"phase": phase, "reason": reason},
        });
        assert!(row(&pod).contains(expect), "{phase} {reason}: {}", row(&pod));
    }
}

#[test]
fn the_row_of_a_pod_that_has_ended_says_so() {
    let now = NOW.parse().unwrap();
    let conditions = |phase: &str| {
        let options = TableOptions { now, include: IncludeObject::None, columns: Columns::Omitted };
        let row = table::row(&RESOURCE, &json!({"metadata": {"name": "p"}, "status": {"phase": phase}}), options);
        row.get("conditions").cloned()
    };
    assert_eq!(conditions("Running"), None);
    for (phase, message) in [("Succeeded", "The pod has completed successfully."), ("Failed", "The pod failed.")] {
        let expect = json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]);
        assert_eq!(conditions(phase), Some(expect));
    }
}
