//! What the last release says stays as it is `released.txt`: messages get fields, services get methods, and none changes its meaning.
//!
//! Processes of a version and of the one before work together while a cluster is upgraded, and what is on disk is read by the next
//! version. `make protocol` writes the file, which is done once for each release, when [`catena_proto::PROTOCOL`] is decided.

use std::{collections::BTreeSet, fs, path::Path};

use catena_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Writes `released.txt` in place of comparing with it.
const WRITE: &str = "CATENA_PROTOCOL_WRITE";

/// A line for all that somebody else may depend on.
fn lines() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).expect("a descriptor set");
    let mut lines = BTreeSet::new();
    for file in files.file {
        let package = file.package().to_owned();
        for message in &file.message_type {
            of_message(&package, message, &mut lines);
        }
        for one in &file.enum_type {
            of_enum(&package, one, &mut lines);
        }
        for service in &file.service {
            of_service(&package, service, &mut lines);
        }
    }
    lines.retain(|line| line.starts_with("catena."));
    lines
}

fn of_message(within: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{within}.{}", message.name());
    for field in &message.field {
        // What is in no `oneof` and what is in one of its own are told apart: only the first is 0 when it is not there.
        let choice = field
            .oneof_index
            .map_or("", |index| message.oneof_decl[index as usize].name());
        lines.insert(
            format!(
                "{name} {} = {} {} {choice}",
                field.name(),
                field.number(),
                kind(field),
            )
            .trim_end()
            .to_owned(),
        );
    }
    for nested in &message.nested_type {
        of_message(&name, nested, lines);
    }
    for nested in &message.enum_type {
        of_enum(&name, nested, lines);
    }
}

fn kind(field: &FieldDescriptorProto) -> String {
    let repeated = match field.label() {
        Label::Repeated => "repeated ",
        Label::Optional | Label::Required => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        plain => plain.as_str_name().to_owned(),
    };
    format!("{repeated}{kind}")
}

fn of_enum(within: &str, one: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &one.value {
        lines.insert(format!(
            "{within}.{} {} = {}",
            one.name(),
            value.name(),
            value.number(),
        ));
    }
}

fn of_service(within: &str, service: &ServiceDescriptorProto, lines: &mut BTreeSet<String>) {
    for method in &service.method {
        let stream = |is_stream| if is_stream { "stream " } else { "" };
        lines.insert(format!(
            "{within}.{} {} ({}{}) -> {}{}",
            service.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type(),
        ));
    }
}

// A gateway of the version before would take what a new backend says for something else, in the middle of an upgrade.
#[test]
fn what_the_last_release_says_is_still_said_in_the_same_way() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("released.txt");
    let now = lines();
    if std::env::var_os(WRITE).is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&path, text).expect("the file can be written");
    }
    let released = fs::read_to_string(&path).expect("released.txt");
    let broken: Vec<&str> = released
        .lines()
        .filter(|line| !now.contains(*line))
        .collect();
    assert!(
        broken.is_empty(),
        "these are not as they were released; leave them, and add fields with new numbers beside them:\n{}",
        broken.join("\n")
    );
    assert!(released.lines().count() > 500, "most of it is missing");
}
