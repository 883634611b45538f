use super::*;

fn field<'a>(definition: &str, name: &str) -> &'a Field {
    Schema::get().object(definition).and_then(|o| o.field(name)).unwrap_or_else(|| panic!("{definition} {name}"))
}

#[test]
fn every_fact_in_the_table_is_read_and_is_of_a_field_that_exists() {
    let (facts, unread) = marks::parse();
    assert!(unread.is_empty(), "{unread:?}");
    for (definition, marks) in facts {
        let object = Schema::get().object(definition).unwrap_or_else(|| panic!("no {definition}"));
        for name in marks.fields.keys() {
            assert!(object.field(name).is_some(), "no {name} in {definition}");
        }
    }
}

#[test]
fn every_kind_has_its_object_and_no_object_too_many_fields() {
    for definition in [
        "io.k8s.api.core.v1.Namespace",
        "io.k8s.api.core.v1.Node",
        "io.k8s.api.core.v1.Pod",
        "io.k8s.api.core.v1.Service",
        "io.k8s.api.core.v1.Endpoints",
        "io.k8s.api.core.v1.ConfigMap",
        "io.k8s.api.core.v1.ServiceAccount",
        "io.k8s.api.core.v1.Event",
        "io.k8s.api.core.v1.Binding",
        "io.k8s.api.core.v1.ReplicationController",
        "io.k8s.api.apps.v1.ReplicaSet",
        "io.k8s.api.apps.v1.Deployment",
        "io.k8s.api.discovery.v1.EndpointSlice",
        "io.k8s.api.coordination.v1.Lease",
        "io.k8s.api.events.v1.Event",
        "io.k8s.api.networking.v1.IPAddress",
        "io.k8s.api.networking.v1.ServiceCIDR",
        "io.k8s.api.autoscaling.v1.Scale",
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    ] {
        let object = Schema::get().object(definition).unwrap_or_else(|| panic!("no {definition}"));
        assert!(object.field("kind").is_some(), "{definition}");
    }
    assert!(Schema::get().objects.iter().all(|o| o.fields.len() <= 128));
}

#[test]
fn types_and_facts_of_some_fields() {
    let service = "io.k8s.api.core.v1.ServiceSpec";
    let ports = field(service, "ports");
    assert_eq!(ports.list, ListType::Map(vec!["port".to_owned(), "protocol".to_owned()]));
    assert_eq!((ports.patch, ports.merge_key.as_deref()), (PatchStrategy::Merge, Some("port")));
    assert_eq!(ports.ty.go_type(Schema::get()), "[]v1.ServicePort");
    assert!(field(service, "selector").atomic_map);
    assert_eq!(field(service, "selector").ty, Type::Map(Box::new(Type::Text)));

    let port = "io.k8s.api.core.v1.ServicePort";
    assert_eq!(field(port, "port").ty, Type::Int32);
    assert_eq!(field(port, "targetPort").ty, Type::IntOrString);
    assert_eq!(field(port, "protocol").go_type(Schema::get()), "v1.Protocol");
    assert_eq!(field(port, "nodePort").empty, Empty::Dropped);
    assert_eq!(field(port, "port").empty, Empty::Kept);
    assert_eq!(field("io.k8s.api.discovery.v1.EndpointPort", "name").empty, Empty::Kept);
    assert_eq!(field("io.k8s.api.core.v1.ResourceRequirements", "limits").ty, Type::Map(Box::new(Type::Quantity)));
    assert_eq!(field("io.k8s.api.core.v1.ConfigMap", "binaryData").ty, Type::Map(Box::new(Type::Bytes)));
    assert_eq!(field("io.k8s.api.coordination.v1.LeaseSpec", "renewTime").ty, Type::MicroTime);
    assert_eq!(field("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", "fieldsV1").ty, Type::Any);
}
