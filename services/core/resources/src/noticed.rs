//! What is noticed of a manifest as it is written, that its types do not tell: they know no difference between what is empty
//! and what was left out.

use crate::{document::Node, resource::Kind};

/// Lists of an authorization that are there and empty, and so allow any: where they are, and what is said of them.
///
/// They mean the same as lists that are left out, as everywhere in manifests of Kubernetes; but who has emptied one may have
/// meant that nothing is allowed.
pub(crate) fn open(kind: Kind, spec: &Node) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if kind != Kind::BrokerAuthorization {
        return found;
    }
    let policies = spec.field("authorizationPolicies");
    let rules = list(policies.and_then(|policies| policies.field("rules")));
    for (rule, node) in rules.iter().enumerate() {
        for (index, resource) in list(node.field("brokerResources")).iter().enumerate() {
            let method = resource.field("method").and_then(Node::text);
            let connects = method.is_some_and(|method| method.eq_ignore_ascii_case("Connect"));
            let (field, any) = if connects {
                ("clientIds", "any client id")
            } else {
                ("topics", "any topic")
            };
            if resource.field(field).is_some_and(is_empty) {
                found.push((
                    format!("spec.authorizationPolicies.rules[{rule}].brokerResources[{index}].{field}"),
                    format!(
                        "is empty, and allows {any}, as if it were left out: leave it out, or take the entry out to allow nothing"
                    ),
                ));
            }
        }
    }
    found
}

/// Whether a Broker says nothing of `cardinality.backendChain.workers`.
pub(crate) fn leaves_out_workers(kind: Kind, spec: Option<&Node>) -> bool {
    let cardinality = spec.and_then(|spec| spec.field("cardinality"));
    let chain = cardinality.and_then(|cardinality| cardinality.field("backendChain"));
    let workers = chain.and_then(|chain| chain.field("workers"));
    kind == Kind::Broker && workers.is_none_or(|workers| *workers == Node::Null)
}

fn list(node: Option<&Node>) -> &[Node] {
    match node {
        Some(Node::List(nodes)) => nodes,
        _ => &[],
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(node, Node::Null) || matches!(node, Node::List(nodes) if nodes.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::{parse, read, resource::Spec, write};

    fn authorization(resources: &str) -> String {
        format!(
            "apiVersion: catena.dev/v1\nkind: BrokerAuthorization\nmetadata: {{name: plant}}\n\
             spec: {{authorizationPolicies: {{rules: [{{}}, {{brokerResources: [{resources}]}}]}}}}\n"
        )
    }

    // Who empties a list to take rights away would give all of them, and hear nothing of it.
    #[test]
    fn an_empty_list_means_any_and_is_told() {
        let warned = |resources: &str| {
            let read = read(&authorization(resources)).unwrap();
            let warnings = read.warnings.iter().map(ToString::to_string);
            warnings.collect::<Vec<_>>()
        };
        for empty in ["topics: []", "topics: "] {
            let said = warned(&format!(
                "{{method: Connect}}, {{method: Publish, {empty}}}"
            ));
            let place = "BrokerAuthorization/plant: spec.authorizationPolicies.rules[1].brokerResources[1].topics: is empty";
            assert!(said.len() == 1 && said[0].starts_with(place), "{said:?}");
        }
        let said = warned("{method: connect, clientIds: [], topics: []}");
        assert!(
            said.len() == 1 && said[0].contains("any client id"),
            "{said:?}"
        );
        let said = warned(
            "{method: Connect, topics: []}, {method: Subscribe, clientIds: [], topics: [a]}",
        );
        assert_eq!(
            said, [""; 0],
            "what does not belong to the method allows nothing"
        );
        // And it means what it means when it is left out.
        let spec = |resources| match parse(&authorization(resources)).unwrap().remove(0).spec {
            Spec::BrokerAuthorization(spec) => spec,
            other => panic!("{other:?}"),
        };
        let (left_out, empty) = (
            spec("{method: Connect}, {method: Publish}"),
            spec("{method: Connect, clientIds: []}, {method: Publish, topics: []}"),
        );
        assert_eq!(left_out, empty);
    }

    // What is shown and kept as a backup would be warned of when it is applied again.
    #[test]
    fn nothing_is_said_of_what_we_write() {
        let text = authorization("{method: Connect}, {method: Publish}");
        let written = write::yaml(&parse(&text).unwrap());
        assert!(!written.contains("topics"), "{written}");
        assert_eq!(read(&written).unwrap().warnings, []);
    }

    // A list of a thousand such would make an answer that no client takes.
    #[test]
    fn warnings_are_bounded() {
        let resources = "{method: Publish, topics: []}, ".repeat(1_000);
        let read = read(&authorization(&resources)).unwrap();
        assert_eq!(read.warnings.len(), crate::PROBLEMS_MAX);
    }

    #[test]
    fn whether_workers_are_said_is_known() {
        let broker = |spec: &str| {
            let text = format!(
                "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec: {spec}\n"
            );
            read(&text).unwrap().leaves_out_workers
        };
        assert!(broker("{memoryProfile: Low}"));
        assert!(broker("{cardinality: {backendChain: {partitions: 1}}}"));
        assert!(!broker("{cardinality: {backendChain: {workers: 1}}}"));
        assert!(!read(&authorization("")).unwrap().leaves_out_workers);
    }
}
