//! Who has certificates of ports issued (`tls.mode: Automatic`): the control plane of a cluster, or a CA of our own.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use catena_gateway::ports::{IssuedPort, Issues};
use catena_membership::ControlPlane;
use catena_pki::{Authority, Automatic, Ca, OwnSigner, Security, Signer};
use tokio::sync::watch;
use tracing::info;

/// The CA is that of the control plane.
#[derive(Debug)]
pub struct ByControlPlane {
    control_plane: ControlPlane,
    is_known: bool,
}

impl ByControlPlane {
    /// Who does not show who he is over `security` gets no certificates.
    pub fn new(control_plane: &ControlPlane, security: &Security) -> ByControlPlane {
        ByControlPlane {
            control_plane: control_plane.clone(),
            is_known: security.is_tls(),
        }
    }
}

impl Issues for ByControlPlane {
    fn issue(&self, port: &IssuedPort) -> Result<Automatic, String> {
        if !self.is_known {
            return Err(
                "the control plane issues certificates to gateways that show their own: start all processes with \
                 --internal-tls on, or use tls.mode Manual"
                    .to_owned(),
            );
        }
        let names = port.subject.names();
        let signer = self
            .control_plane
            .server_signer(port.listener.clone(), port.port, names);
        Ok(issued_by(signer, port))
    }
}

/// Nothing is kept: a process asks anew when it starts.
fn issued_by(signer: impl Signer, port: &IssuedPort) -> Automatic {
    let wishes = port.terms.wishes;
    Automatic::start(port.to_string(), None, wishes, signer, |_, _| {})
}

/// The CA is the secret `catena-ca` of a broker that is alone; made when it is first needed.
#[derive(Debug)]
pub struct ByOwnCa {
    directory: Option<PathBuf>,
    authority: Mutex<Option<Arc<Authority>>>,
}

impl ByOwnCa {
    /// With the CA in `directory`, which has secrets.
    pub fn in_directory(directory: Option<PathBuf>) -> ByOwnCa {
        ByOwnCa {
            directory,
            authority: Mutex::default(),
        }
    }

    fn authority(&self) -> Result<Arc<Authority>, String> {
        let mut known = self
            .authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = &*known {
            return Ok(authority.clone());
        }
        let directory = self.directory.as_deref().ok_or(
            "there is no place for the CA: start the broker with --secrets-dir DIR or --data-dir DIR, where it makes \
             the secret catena-ca",
        )?;
        let ca = Ca::open_or_create(directory, "standalone").map_err(|error| error.to_string())?;
        info!(
            directory = %directory.display(),
            fingerprint = catena_pki::hex(&ca.fingerprint()),
            "certificates of ports come from the CA in catena-ca: clients need what `catena ca show --pem` prints"
        );
        let authority = Authority::open(directory).map_err(|error| error.to_string())?;
        Ok(known.insert(Arc::new(authority)).clone())
    }
}

impl Issues for ByOwnCa {
    fn issue(&self, port: &IssuedPort) -> Result<Automatic, String> {
        let authority = self.authority()?;
        // What lasts longer is another port to issue for.
        let (_, duration) = watch::channel(port.terms.duration);
        let signer = OwnSigner::new(authority, port.subject.clone(), duration);
        Ok(issued_by(signer, port))
    }
}
