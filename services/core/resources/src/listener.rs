//! The BrokerListener: where clients connect, and how.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{certificate::CertificateSpec, spelled::spelled};

/// Ports of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerListener {
    /// The Broker that it belongs to.
    #[serde(default = "default_broker")]
    pub broker_ref: String,
    /// How Kubernetes makes the ports reachable; elsewhere without effect.
    #[serde(default)]
    pub service_type: ServiceType,
    /// The name of the Kubernetes service: a DNS label. By default the name of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The ports; at least one.
    pub ports: Vec<Port>,
}

/// A port that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// TCP port: 1 to 65535, unique over all listeners.
    pub port: u16,
    /// + The IP address to listen on. By default all of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port of the nodes, with service type NodePort only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// What clients speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// The BrokerAuthentication that decides who a client is. Without one every client is anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<String>,
    /// The BrokerAuthorization that decides what a client may do; needs an authenticationRef. Without one everything is
    /// allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_ref: Option<String>,
    /// Without it the port is open to who listens on the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// + Whether a load balancer in front says who connects, by PROXY protocol 1 or 2.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// + Whose limits CONNACK tells.
    #[serde(default)]
    pub compatibility: Compatibility,
    /// + Open connections per gateway: at least 1. Without it the open files of the process are the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// + New connections per gateway and second: at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connect_rate: Option<u32>,
}

/// Encryption of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Where the server certificate comes from.
    pub mode: TlsMode,
    /// With mode Manual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<ManualTls>,
    /// With mode Automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager_certificate_spec: Option<CertificateSpec>,
}

/// A certificate that somebody else keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualTls {
    /// A secret with `tls.crt` and `tls.key`.
    pub secret_ref: String,
}

spelled! {
    /// How Kubernetes makes a listener reachable.
    #[derive(Default)]
    pub enum ServiceType {
        #[default]
        ClusterIp,
        NodePort,
        LoadBalancer,
    }
}

spelled! {
    /// What clients of a port speak.
    #[derive(Default)]
    pub enum Protocol {
        #[default]
        Mqtt,
        WebSockets,
    }
}

spelled! {
    /// Where a server certificate comes from.
    pub enum TlsMode {
        /// From a secret.
        Manual,
        /// From cert-manager, or elsewhere from the cluster's own CA.
        Automatic,
    }
}

spelled! {
    /// Whether a PROXY header begins a connection.
    #[derive(Default)]
    pub enum ProxyProtocol {
        #[default]
        Disabled,
        Optional,
        Required,
    }
}

spelled! {
    /// Whose limits CONNACK tells.
    #[derive(Default)]
    pub enum Compatibility {
        #[default]
        None,
        /// Maximum QoS 1, Receive Maximum 100, no topic alias, no subscription identifiers.
        Azure,
    }
}

fn default_broker() -> String {
    "default".to_owned()
}
