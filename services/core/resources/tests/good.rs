//! Manifests that apply: `testdata/good`. Those called azure-... are written for the broker whose schema we follow.

use std::{fs, path::PathBuf};

use catena_resources::{
    Broker, Field, Kind, MemoryProfile, Place, QueueStrategy, Resource, Resources, Spec, Switch,
    explain, parse, write,
};

fn text(name: &str) -> String {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/good");
    fs::read_to_string(directory.join(name).with_extension("yaml")).unwrap()
}

fn read(name: &str) -> Vec<Resource> {
    parse(&text(name)).unwrap_or_else(|invalid| panic!("{name}: {invalid}"))
}

fn broker(text: &str) -> Broker {
    let manifest = format!(
        "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec: {text}"
    );
    match parse(&manifest).unwrap().remove(0).spec {
        Spec::Broker(broker) => *broker,
        other => panic!("{other:?}"),
    }
}

// Who comes with manifests of their own must not have to change them; and what they are stored and shown as is the same.
#[test]
fn manifests_apply_as_they_are() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/good");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let resources = read(&name);
        let yaml = write::yaml(&resources);
        assert_eq!(parse(&yaml).unwrap(), resources, "{name}:\n{yaml}");
        let json = serde_json::to_string_pretty(&resources[0]).unwrap();
        assert_eq!(parse(&json).unwrap(), resources[..1], "{name}:\n{json}");
        count += 1;
    }
    assert!(count >= 9, "{count} files");
}

// The manifests of one deployment refer to each other.
#[test]
fn a_whole_deployment_holds_together() {
    let mut all = Resources::default();
    for name in [
        "azure-broker",
        "azure-listeners",
        "azure-authentication",
        "azure-authorization",
    ] {
        for resource in read(name) {
            all.put(1, resource.into());
        }
    }
    assert_eq!(all.check(Place::Kubernetes), Ok(()));
    let mut ours = Resources::default();
    for resource in read("ours") {
        ours.put(1, resource.into());
    }
    assert_eq!(ours.check(Place::Kubernetes), Ok(()));
    assert_eq!(ours.check(Place::Elsewhere), Ok(()));
}

// A value that is read as another is worse than one that is refused.
#[test]
fn what_is_said_is_what_is_taken() {
    let resources = read("azure-broker");
    let Spec::Broker(broker) = &resources[0].spec else {
        panic!("{resources:?}")
    };
    assert_eq!(broker.cardinality.backend_chain.workers, 2);
    assert_eq!(broker.advanced.clients.max_keep_alive_seconds, 10_000);
    assert_eq!(broker.packet_bytes_max(), 1 << 20);
    let limit = broker.advanced.clients.subscriber_queue_limit;
    assert_eq!(
        (limit.length, limit.strategy),
        (Some(1_000), QueueStrategy::DropOldest)
    );
    let certs = broker.advanced.internal_certs.as_ref().unwrap();
    assert_eq!(certs.renew_before.0.as_secs(), 45 * 60);
    let metadata = &resources[0].metadata;
    assert_eq!(metadata.namespace.as_deref(), Some("azure-iot-operations"));
    assert_eq!(metadata.annotations.len(), 1);

    let resources = read("yaml");
    let Spec::BrokerListener(listener) = &resources[0].spec else {
        panic!("{resources:?}")
    };
    assert_eq!(listener.ports[1].port, 1884);
    assert_eq!(listener.ports[1].max_connections, Some(10));
    // `on` and `yes` are text: YAML 1.2 has no other words for true.
    assert_eq!(resources[0].metadata.annotations["note"], "on");
    assert_eq!(resources[1].metadata.annotations["text"], "two\nlines\n");
}

// Each default of the documentation, which clusters that say nothing run with.
#[test]
fn what_is_left_out_has_its_default() {
    let broker = broker("{}");
    assert_eq!(broker, Broker::default());
    let (cardinality, advanced) = (&broker.cardinality, &broker.advanced);
    assert_eq!(
        (cardinality.frontend.replicas, cardinality.frontend.workers),
        (1, 2)
    );
    let chain = cardinality.backend_chain;
    assert_eq!(
        (chain.partitions, chain.redundancy_factor, chain.workers),
        (1, 1, 1)
    );
    assert_eq!(broker.memory_profile, MemoryProfile::Medium);
    assert_eq!(broker.packet_bytes_max(), 64 << 20);
    assert_eq!(broker.retained_bytes_max(), 144 << 20);
    let clients = &advanced.clients;
    assert_eq!(clients.max_session_expiry_seconds, 3_600);
    assert_eq!(clients.max_message_expiry_seconds, None);
    assert_eq!(
        (clients.max_receive_maximum, clients.max_keep_alive_seconds),
        (65_535, 65_535)
    );
    assert_eq!(clients.subscriber_queue_limit.length, None);
    assert_eq!(clients.subscriber_queue_limit.strategy, QueueStrategy::None);
    assert_eq!(clients.max_subscriptions, 100_000);
    assert_eq!(
        (clients.max_publish_rate, clients.max_publish_bytes_rate),
        (None, None)
    );
    assert_eq!(advanced.encrypt_internal_traffic, Switch::Enabled);
    assert_eq!(broker.failure_timeout().as_secs(), 3);
    assert_eq!(advanced.shard_key_levels, 0);
    assert_eq!(
        advanced.shared_subscriptions.strategy.to_string(),
        "roundRobin"
    );
    let diagnostics = &broker.diagnostics;
    assert_eq!(diagnostics.logs.level, "info");
    assert_eq!(diagnostics.metrics.prometheus_port, 9_600);
    let check = diagnostics.self_check;
    assert_eq!(
        (check.mode, check.interval_seconds, check.timeout_seconds),
        (Switch::Enabled, 30, 15)
    );
    let traces = diagnostics.traces;
    assert_eq!(
        (traces.cache_size_megabytes, traces.span_channel_capacity),
        (16, 1_000)
    );
    assert_eq!(
        (
            traces.self_tracing.interval_seconds,
            traces.sample_ratio.millionths()
        ),
        (30, 10_000)
    );
    assert_eq!(diagnostics.sys_topics, Switch::Disabled);
    assert_eq!(broker.generate_resource_limits.cpu, Switch::Enabled);
    assert_eq!(
        (&broker.persistence, &broker.disk_backed_message_buffer),
        (&None, &None)
    );
}

#[test]
fn what_is_left_out_of_persistence_has_its_default() {
    let persistence = broker("{persistence: {maxSize: 1Gi}}").persistence.unwrap();
    assert_eq!(persistence.max_size.bytes(), 1 << 30);
    assert_eq!(persistence.sync.to_string(), "Always");
    assert_eq!(persistence.encryption.mode, Switch::Enabled);
    assert_eq!(persistence.retain.mode.to_string(), "All");
    assert_eq!(persistence.subscriber_queue.mode.to_string(), "All");
    assert_eq!(persistence.state_store.mode.to_string(), "All");
    assert_eq!(
        persistence.dynamic_settings.user_property_key,
        "aio-persistence"
    );
    assert_eq!(persistence.dynamic_settings.user_property_value, "true");
}

// What the documentation shows is copied.
#[test]
fn the_documentation_applies_and_names_every_field() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/resources.md");
    let page = fs::read_to_string(path).unwrap();
    let mut all = Resources::default();
    for block in page.split("```yaml\n").skip(1) {
        let (example, _) = block.split_once("```").unwrap();
        for resource in parse(example).unwrap() {
            all.put(1, resource.into());
        }
    }
    all.put(
        1,
        Resource::new("default", Spec::Broker(Box::default())).into(),
    );
    assert_eq!(all.check(Place::Kubernetes), Ok(()));

    fn names(field: &Field, path: &str, found: &mut Vec<(String, String)>, kind: Kind) {
        for inner in &field.fields {
            let path = format!("{path}.{}", inner.name);
            let name = inner.name.trim_end_matches("[]").to_owned();
            let below = explain(kind, path.split_once('.').unwrap().1).unwrap();
            found.push((path.clone(), name));
            names(&below, &path, found, kind);
        }
    }
    let mut found = Vec::new();
    for (_, kind) in Kind::ALL {
        let field = explain(*kind, "").unwrap();
        names(&field, &kind.to_string(), &mut found, *kind);
    }
    assert!(found.len() > 100, "{} fields", found.len());
    found.retain(|(_, name)| !page.contains(name.as_str()));
    assert!(found.is_empty(), "docs/resources.md lacks {found:?}");
}
