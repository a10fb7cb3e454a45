//! Resources in columns: what one wants to know of each kind at a glance.

use catena_proto::admin::v1 as proto;
use catena_resources::Kind;
use serde_json::Value;

use super::shown;

/// Between two columns.
const GAP: &str = "   ";

/// A table of resources of one kind.
///
/// # Errors
/// What no control plane of ours sends.
pub fn table(kind: Kind, resources: &[&proto::Resource]) -> anyhow::Result<String> {
    let heads: &[&str] = match kind {
        Kind::Broker => &[
            "NAME",
            "PARTITIONS",
            "WORKERS",
            "REDUNDANCY",
            "MEMORY",
            "VERSION",
        ],
        Kind::BrokerListener => &["NAME", "SERVICE", "PORTS", "STATUS", "VERSION"],
        Kind::BrokerAuthentication => &["NAME", "METHODS", "VERSION"],
        Kind::BrokerAuthorization => &["NAME", "RULES", "VERSION"],
    };
    let mut rows = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    for resource in resources {
        rows.push(row(kind, resource)?);
    }
    Ok(columns(&rows))
}

fn row(kind: Kind, resource: &proto::Resource) -> anyhow::Result<Vec<String>> {
    let value = shown::value(resource)?;
    let spec = &value["spec"];
    let chain = &spec["cardinality"]["backendChain"];
    let mut row = vec![resource.id.clone().unwrap_or_default().name];
    row.extend(match kind {
        Kind::Broker => vec![
            word(&chain["partitions"]),
            word(&chain["workers"]),
            word(&chain["redundancyFactor"]),
            word(&spec["memoryProfile"]),
        ],
        Kind::BrokerListener => {
            vec![word(&spec["serviceType"]), ports(spec), status(resource)]
        }
        Kind::BrokerAuthentication => {
            let methods = spec["authenticationMethods"].as_array();
            let methods = methods.into_iter().flatten();
            let methods: Vec<String> = methods.map(|method| word(&method["method"])).collect();
            vec![or_nothing(methods.join(", "))]
        }
        Kind::BrokerAuthorization => {
            let rules = spec["authorizationPolicies"]["rules"].as_array();
            vec![rules.map_or(0, Vec::len).to_string()]
        }
    });
    row.push(resource.version.to_string());
    Ok(row)
}

/// `1883, 8883 TLS authn=default authz=plant`.
fn ports(spec: &Value) -> String {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports: Vec<String> = ports
        .map(|port| {
            let mut words = word(&port["port"]);
            if port["protocol"] == "WebSockets" {
                words.push_str(" WS");
            }
            if port["tls"].is_object() {
                words.push_str(" TLS");
            }
            for (field, short) in [
                ("authenticationRef", "authn"),
                ("authorizationRef", "authz"),
            ] {
                if let Some(name) = port[field].as_str() {
                    words.push_str(&format!(" {short}={name}"));
                }
            }
            words
        })
        .collect();
    or_nothing(ports.join(", "))
}

/// How its ports are: the first problem, or on how many gateways all are open.
fn status(resource: &proto::Resource) -> String {
    let is_broken = |port: &&proto::ListenerPort| !port.open || !port.problem.is_empty();
    if let Some(broken) = resource.ports.iter().find(is_broken) {
        return port(broken);
    }
    let gateways: std::collections::BTreeSet<&str> = resource
        .ports
        .iter()
        .map(|port| port.gateway.as_str())
        .collect();
    match gateways.len() {
        0 => "-".to_owned(),
        1 => "open on 1 gateway".to_owned(),
        more => format!("open on {more} gateways"),
    }
}

/// `8883 on gateway-1: closed, no certificate`.
pub fn port(port: &proto::ListenerPort) -> String {
    let state = if port.open { "open" } else { "closed" };
    let mut words = format!("{} on {}: {state}", port.port, port.gateway);
    if !port.problem.is_empty() {
        words += &format!(", {}", port.problem);
    }
    words
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join(GAP).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // What is wrong must not be hidden behind what is well.
    #[test]
    fn a_listener_shows_its_ports_and_the_first_problem() {
        let port = |gateway: &str, problem: &str| proto::ListenerPort {
            gateway: gateway.to_owned(),
            port: 8883,
            open: problem.is_empty(),
            problem: problem.to_owned(),
        };
        let mut resource = proto::Resource {
            id: Some(proto::ResourceId {
                kind: "BrokerListener".to_owned(),
                name: "default".to_owned(),
            }),
            version: 7,
            manifest: r#"{"spec":{"serviceType":"ClusterIp","ports":[{"port":1883},
                {"port":8883,"tls":{},"authenticationRef":"users"}]}}"#
                .to_owned(),
            ports: vec![port("a", ""), port("b", "")],
        };
        let shown = table(Kind::BrokerListener, &[&resource]).unwrap();
        let cells = |line: &str| -> Vec<String> {
            line.split(GAP)
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect()
        };
        let lines: Vec<Vec<String>> = shown.lines().map(cells).collect();
        assert_eq!(
            lines,
            [
                ["NAME", "SERVICE", "PORTS", "STATUS", "VERSION"],
                [
                    "default",
                    "ClusterIp",
                    "1883, 8883 TLS authn=users",
                    "open on 2 gateways",
                    "7"
                ]
            ]
        );
        resource.ports[1] = port("b", "no certificate");
        let shown = table(Kind::BrokerListener, &[&resource]).unwrap();
        assert!(
            shown.contains("8883 on b: closed, no certificate"),
            "{shown}"
        );
    }
}
