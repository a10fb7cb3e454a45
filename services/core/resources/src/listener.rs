//! The BrokerListener: where clients connect, and how.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{certificate::CertificateSpec, spelled::spelled};

mod rules;

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
    #[schemars(length(min = 1))]
    pub ports: Vec<Port>,
}

/// A port that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// TCP port, unique over all listeners.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// + The IP address to listen on. By default all of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port of the nodes, with service type NodePort only. 0: Kubernetes chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
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
    /// + Origins of web pages that may connect, with WebSockets only: `https://app.example`, `null` (files), `*` (any).
    ///
    /// Without it any may where clients prove who they are, and elsewhere those of the host that they connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub allowed_origins: Option<Vec<String>>,
    /// + Open connections per gateway. Without it the open files of the process are the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub max_connections: Option<u32>,
    /// + New connections per gateway and second. Without it there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32))]
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
        /// From within the Kubernetes cluster.
        #[default]
        ClusterIp,
        /// At a port of each Kubernetes node.
        NodePort,
        /// By a load balancer.
        LoadBalancer,
    }
}

spelled! {
    /// What clients of a port speak.
    #[derive(Default)]
    pub enum Protocol {
        /// MQTT over TCP, or TLS.
        #[default]
        Mqtt,
        /// MQTT over WebSockets, at the paths `/mqtt` and `/`.
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
        /// None does.
        #[default]
        Disabled,
        /// One that begins so is believed.
        Optional,
        /// One that does not is closed.
        Required,
    }
}

spelled! {
    /// Whose limits CONNACK tells.
    #[derive(Default)]
    pub enum Compatibility {
        /// Our own.
        #[default]
        None,
        /// Those of Azure IoT Operations: Maximum QoS 1, Receive Maximum 100, no topic alias, no subscription identifiers.
        Azure,
    }
}

fn default_broker() -> String {
    "default".to_owned()
}
