//! Leaves out of objects what no controller reads, before they are kept: with many thousands of objects made by others it is
//! most of the memory. Names, owners, finalizers and times stay: garbage collection and namespaces look at them in every kind.
//!
//! What a Service of 2014 says by marks is written where controllers look for it: an empty selector, a port without a target.

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{IPAddressSpec, ParentReference},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use stead_api::{
    legacy::service::{chooses_all, takes_first_port},
    snapshot::{Change, KindChange},
};

use crate::{endpoint_mirror, endpoint_slices, namespaces, service_cidrs};

pub(crate) fn lean(mut change: KindChange) -> KindChange {
    match &mut change {
        KindChange::EndpointSlice(Change::InitApply(slice) | Change::Apply(slice)) if is_ours(slice) => {
            shrink(&mut slice.endpoints);
        }
        KindChange::EndpointSlice(Change::InitApply(slice) | Change::Apply(slice)) => {
            slice.endpoints = None;
            slice.ports = None;
            forget_words(&mut slice.metadata);
        }
        KindChange::ConfigMap(Change::InitApply(map) | Change::Apply(map))
            if map.metadata.name.as_deref() != Some(namespaces::ROOT_CA) =>
        {
            map.data = None;
            map.binary_data = None;
            forget_words(&mut map.metadata);
        }
        KindChange::IPAddress(Change::InitApply(address) | Change::Apply(address)) => {
            let resource = std::mem::take(&mut address.spec.parent_ref.resource);
            let resource = Some(resource).filter(|_| service_cidrs::is_allocated(address)).unwrap_or_default();
            address.spec = IPAddressSpec { parent_ref: ParentReference { resource, ..ParentReference::default() } };
            forget_words(&mut address.metadata);
        }
        KindChange::Service(Change::InitApply(service) | Change::Apply(service)) => lean_service(service),
        KindChange::Pod(Change::InitApply(pod) | Change::Apply(pod)) => shrink_pod(pod),
        _ => {}
    }
    change
}

fn is_ours(slice: &EndpointSlice) -> bool {
    endpoint_slices::manager_of(slice) == Some(endpoint_slices::MANAGER) || endpoint_mirror::is_managed(slice)
}

/// One label takes half a kilobyte.
fn forget_words(metadata: &mut ObjectMeta) {
    metadata.labels = None;
    metadata.annotations = None;
}

fn lean_service(service: &mut Service) {
    read_marks(service);
    let Some(spec) = &mut service.spec else { return };
    // Only what is made for a selector takes them over.
    if spec.selector.is_none() {
        service.metadata.labels = None;
    }
    shrink(&mut spec.ports);
    shrink(&mut spec.cluster_ips);
    shrink(&mut spec.ip_families);
}

/// The decoder leaves room for more of everything, of containers some kilobytes.
fn shrink_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        spec.containers.shrink_to_fit();
        shrink(&mut spec.volumes);
    }
    if let Some(status) = &mut pod.status {
        shrink(&mut status.conditions);
        shrink(&mut status.container_statuses);
        shrink(&mut status.pod_ips);
    }
}

fn shrink<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

fn read_marks(service: &mut Service) {
    let (all, first) = (chooses_all(service), takes_first_port(service));
    let Some(spec) = &mut service.spec else { return };
    if all {
        spec.selector = Some(Default::default());
    }
    for port in spec.ports.iter_mut().flatten().filter(|_| first) {
        port.target_port = Some(IntOrString::String(String::new()));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::service_pods::target_port;

    #[test]
    fn marks_of_2014_are_read() {
        let service = |annotations: serde_json::Value| {
            let service = json!({"metadata": {"name": "s", "annotations": annotations}, "spec": {"ports": [{"port": 80, "targetPort": 80}]}});
            let service = serde_json::from_value::<Service>(service).unwrap();
            match lean(Change::Apply(service).into()) {
                KindChange::Service(Change::Apply(service)) => service.spec.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let plain = service(json!({}));
        assert_eq!(plain.selector, None);
        let marked = service(json!({
            "v1beta1.stead.local/selector": "everything", "v1beta1.stead.local/container-port": "first",
        }));
        assert_eq!(marked.selector, Some(Default::default()));
        let pod = |ports: serde_json::Value| {
            let pod = json!({"spec": {"containers": [{"name": "a", "ports": ports}, {"name": "b", "ports": [{"containerPort": 9}]}]}});
            serde_json::from_value::<Pod>(pod).unwrap()
        };
        let port = |spec: &k8s_openapi::api::core::v1::ServiceSpec, pod: &Pod| {
            target_port(pod, &spec.ports.as_ref().unwrap()[0])
        };
        let two = pod(json!([{"containerPort": 8080}, {"containerPort": 8081}]));
        assert_eq!((port(&marked, &two), port(&plain, &two)), (Some(8080), Some(80)));
        assert_eq!(port(&marked, &pod(json!([]))), Some(80));
    }
}
