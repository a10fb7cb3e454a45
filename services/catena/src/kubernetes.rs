//! Options of the Kubernetes API that reviews the tokens of clients, for whoever authenticates clients.

use std::path::PathBuf;

use anyhow::anyhow;
use catena_authentication::Kubernetes;
use clap::Args;

/// Where service account tokens are reviewed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[command(
    next_help_heading = "The Kubernetes API, which reviews the service account tokens of clients"
)]
pub struct KubernetesApi {
    /// Where it is: https://HOST[:PORT] [default: in a pod, where Kubernetes says; elsewhere none]
    #[arg(long, value_name = "URL", env = "CATENA_KUBERNETES_API")]
    pub kubernetes_api: Option<String>,

    /// A file with the token that it knows this process by, read again when it changes
    /// [default: /var/run/secrets/kubernetes.io/serviceaccount/token]
    #[arg(long, value_name = "FILE", env = "CATENA_KUBERNETES_TOKEN_FILE")]
    pub kubernetes_token_file: Option<PathBuf>,

    /// A PEM file of the CAs that its certificate may be of, read again when it changes
    /// [default: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt]
    #[arg(long, value_name = "FILE", env = "CATENA_KUBERNETES_CA")]
    pub kubernetes_ca: Option<PathBuf>,
}

impl KubernetesApi {
    /// What is not said here, as `other` says it.
    pub fn or(self, other: KubernetesApi) -> KubernetesApi {
        KubernetesApi {
            kubernetes_api: self.kubernetes_api.or(other.kubernetes_api),
            kubernetes_token_file: self.kubernetes_token_file.or(other.kubernetes_token_file),
            kubernetes_ca: self.kubernetes_ca.or(other.kubernetes_ca),
        }
    }

    /// The API, if there is one.
    ///
    /// # Errors
    /// A URL that makes no sense, or would send tokens in clear text.
    pub fn find(self) -> anyhow::Result<Option<Kubernetes>> {
        self.find_or(Kubernetes::of_this_pod())
    }

    fn find_or(self, usual: Option<String>) -> anyhow::Result<Option<Kubernetes>> {
        let Some(url) = self.kubernetes_api.or(usual) else {
            return Ok(None);
        };
        let found = Kubernetes::at(url, self.kubernetes_token_file, self.kubernetes_ca);
        found
            .map(Some)
            .map_err(|why| anyhow!("--kubernetes-api: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Tokens of clients go to another place than was said, or in clear text.
    #[test]
    fn what_is_said_goes_before_what_a_pod_finds() {
        let said = KubernetesApi {
            kubernetes_api: Some("https://api.example".to_owned()),
            kubernetes_token_file: Some("/token".into()),
            kubernetes_ca: None,
        };
        let pod = Some("https://10.0.0.1:443".to_owned());
        let found = said.clone().find_or(pod.clone()).unwrap().unwrap();
        assert_eq!(found.endpoint, "https://api.example");
        assert_eq!(found.token, PathBuf::from("/token"));
        assert!(found.authorities.ends_with("serviceaccount/ca.crt"));
        let found = KubernetesApi::default().find_or(pod).unwrap().unwrap();
        assert_eq!(found.endpoint, "https://10.0.0.1:443");
        assert_eq!(KubernetesApi::default().find_or(None).unwrap(), None);
        for wrong in ["http://api.example", "https://api.example/k8s", "api"] {
            let wrong = KubernetesApi {
                kubernetes_api: Some(wrong.to_owned()),
                ..said.clone()
            };
            assert!(wrong.find_or(None).is_err());
        }
    }
}
