//! What people saw in 2015.

use serde_json::{Value, json};

use crate::legacy::table::{describe_service, render, table};

fn check(plural: &str, objects: &[Value], expected: &str) {
    assert_eq!(render(&table(plural, objects).unwrap()), expected);
}

#[test]
fn services() {
    let objects = [
        json!({"metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]}}),
        json!({"metadata": {"name": "myapp"}, "spec": {"clusterIP": "10.96.5.6", "selector": {"name": "myapp"}, "ports": [{"port": 80}]}}),
    ];
    check(
        "services",
        &objects,
        "\
NAME                LABELS                                    SELECTOR            IP                  PORT
kubernetes          component=apiserver,provider=kubernetes   <none>              10.96.0.1           443
myapp               <none>                                    name=myapp          10.96.5.6           80
",
    );
}

#[test]
fn pods_have_a_line_for_each_container() {
    let pod = json!({"metadata": {"name": "two", "labels": {"name": "two"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
        "status": {"podIP": "10.244.1.2", "hostIP": "192.168.56.101", "phase": "Running"}});
    let waiting = json!({"metadata": {"name": "new"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}, "status": {"phase": "Pending"}});
    let rows = table("pods", [&pod, &waiting]).unwrap();
    assert_eq!(rows[0], ["POD", "IP", "CONTAINER(S)", "IMAGE(S)", "HOST", "LABELS", "STATUS"]);
    assert_eq!(rows[1], ["two", "10.244.1.2", "a", "a:1", "node1/192.168.56.101", "name=two", "Running"]);
    assert_eq!(rows[2], ["", "", "b", "b:1", "", "", ""]);
    assert_eq!(rows[3], ["new", "", "a", "a:1", "<unassigned>", "<none>", "Pending"]);
}

#[test]
fn controllers_minions_endpoints_and_namespaces() {
    let controller = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"name": "web"},
        "template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
    let rows = table("replicationcontrollers", [&controller]).unwrap();
    assert_eq!(
        rows,
        [["CONTROLLER", "CONTAINER(S)", "IMAGE(S)", "SELECTOR", "REPLICAS"], ["web", "a", "a:1", "name=web", "2"]]
    );
    let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(table("minions", [&node]).unwrap()[1], ["n", "<none>", "Ready,SchedulingDisabled"]);
    let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80, "protocol": "TCP"}]}]});
    assert_eq!(table("endpoints", [&endpoints]).unwrap()[1], ["e", "10.0.0.1:80,10.0.0.2:80"]);
    let namespace = json!({"metadata": {"name": "default"}, "status": {"phase": "Active"}});
    assert_eq!(table("namespaces", [&namespace]).unwrap()[1], ["default", "<none>", "Active"]);
    assert_eq!(table("configmaps", []), None);
}

#[test]
fn describe_a_service_in_five_lines() {
    let service = json!({"metadata": {"name": "myapp", "labels": {"name": "myapp"}}, "spec": {"selector": {"name": "myapp"}, "ports": [{"port": 80}]}});
    assert_eq!(
        describe_service(&service, &[]),
        "Name:\t\tmyapp\nLabels:\t\tname=myapp\nSelector:\tname=myapp\nPort:\t\t80\nNo events.\n"
    );
}

fn scheduled() -> Value {
    json!({"firstTimestamp": "2015-01-21T10:00:00Z", "lastTimestamp": "2015-01-21T10:00:05Z", "count": 2,
        "involvedObject": {"kind": "Service", "name": "myapp", "fieldPath": "spec"},
        "source": {"component": "proxy", "host": "node1"}, "reason": "made", "message": "It is there"})
}

#[test]
fn events_of_a_service_stand_in_columns() {
    let service = json!({"metadata": {"name": "myapp"}, "spec": {"ports": [{"port": 80}]}});
    let page = describe_service(&service, &[scheduled()]);
    assert_eq!(
        page.split_once("Events:\n").unwrap().1,
        "  FirstSeen\t\t\t\tLastSeen\t\t\tCount\tFrom\t\tSubobjectPath\tReason\tMessage\n  \
         Wed, 21 Jan 2015 10:00:00 +0000\tWed, 21 Jan 2015 10:00:05 +0000\t2\t{proxy node1}\tspec\t\tmade\tIt is there\n"
    );
}

#[test]
fn events() {
    let rows = table("events", &[scheduled()]).unwrap();
    assert_eq!(rows[0].join(" "), "FIRSTSEEN LASTSEEN COUNT NAME KIND SUBOBJECT REASON SOURCE MESSAGE");
    let first = "Wed, 21 Jan 2015 10:00:00 +0000";
    let last = "Wed, 21 Jan 2015 10:00:05 +0000";
    assert_eq!(rows[1], [first, last, "2", "myapp", "Service", "spec", "made", "{proxy node1}", "It is there"]);
}
