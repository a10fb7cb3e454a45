//! A member's own certificate: kept in its data directory, renewed by the control plane, and got with a join token at
//! first.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use catena_pki::{
    Automatic, BadToken, Held, Identity, Internal, Joining, Keeping, NoIdentity, Role, Security,
    Served, Stored, Token, Trust, certified_key, certified_key_at, generate, request,
};
use catena_proto::internal::v1 as proto;
use tracing::{info, warn};

use crate::{
    endpoints::{Endpoints, InvalidEndpoint},
    signers::{MemberSigner, answer, issued, wishes, words},
};

/// How often a member asks whom to trust.
const TRUST_EVERY: Duration = Duration::from_secs(10);
/// A member of another CA's certificate renews it within this time, by chance: not all at once.
const RENEWED_WITHIN_MS: u64 = 2_000;

/// Who wants to be a member.
#[derive(Debug, Clone)]
pub struct Member {
    pub role: Role,
    pub name: String,
    /// Replicas of the control plane.
    pub control_plane: Vec<String>,
    /// Where the certificate is kept, in a directory `internal`.
    pub data_dir: PathBuf,
    /// Only looked at when there is no certificate.
    pub token: Option<String>,
}

/// Why a process has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "there is no certificate in {path} ({why}): give this process a join token with --join-token-file or \
         --join-token; `catena ca token --role {role}` prints one"
    )]
    NoToken {
        path: String,
        why: String,
        role: Role,
    },
    #[error("{0}")]
    Token(#[from] BadToken),
    #[error("{path} has the certificate of {has}: choose another --data-dir, or remove that one")]
    Another { path: String, has: String },
    #[error("{0}")]
    Name(#[from] NoIdentity),
    #[error("this process cannot join: {0}")]
    Refused(String),
    #[error("no TLS: {0}")]
    Tls(String),
}

/// Gives a process its identity: that of its data directory, or a new one. Waits for the control plane when it has to
/// join, however long that takes. The identity is renewed until [`Keeping`] is dropped. Must be called inside a tokio
/// runtime.
///
/// # Errors
/// [`JoinError`] says what to do.
pub async fn member(member: Member) -> Result<(Internal, Keeping), JoinError> {
    let stored = Stored::new(&member.data_dir);
    let path = stored.directory().display().to_string();
    let io = |source| JoinError::Io {
        path: path.clone(),
        source,
    };
    let why = match stored.read().map_err(io)? {
        None => "nothing is there".to_owned(),
        Some((held, trust)) => match usable(&held) {
            Ok(me) if me.role == member.role && me.name == member.name => {
                return keep(&member, me, held, &trust, stored);
            }
            Ok(me) => {
                let has = me.to_string();
                return Err(JoinError::Another { path, has });
            }
            Err(problem) => problem,
        },
    };
    let Some(token) = &member.token else {
        let role = member.role;
        return Err(JoinError::NoToken { path, why, role });
    };
    let said = Token::read(token)?;
    said.check(&said.cluster, member.role, &member.name)?;
    if SystemTime::now() >= said.expires() {
        return Err(JoinError::Refused(
            "its join token has expired: make a new one with `catena ca token`".to_owned(),
        ));
    }
    let me = Identity::new(said.cluster.clone(), member.role, member.name.clone())?;
    let (held, trust) = join(&member, token, &said, &stored).await?;
    stored.put(&held, &trust).map_err(io)?;
    info!(%me, "joined");
    keep(&member, me, held, &trust, stored)
}

fn usable(held: &Held) -> Result<Identity, String> {
    let certified = certified_key_at(
        held.chain.as_bytes(),
        held.key.as_bytes(),
        SystemTime::now(),
    );
    let certified = certified.map_err(|error| error.to_string())?;
    Identity::of(&certified.chain()[0]).map_err(|error| error.to_string())
}

/// Asks until somebody signs. The key is kept before: whoever asks again after an answer was lost is recognized by it.
async fn join(
    member: &Member,
    token: &str,
    said: &Token,
    stored: &Stored,
) -> Result<(Held, String), JoinError> {
    let io = |source| JoinError::Io {
        path: stored.directory().display().to_string(),
        source,
    };
    let known = stored.key().map_err(io)?;
    let key = match known.filter(|key| request(key).is_ok()) {
        Some(key) => key,
        None => {
            let key = generate(Default::default());
            let key = key.map_err(|error| JoinError::Tls(error.to_string()))?;
            stored.put_key(&key).map_err(io)?;
            key
        }
    };
    let request = request(&key).map_err(JoinError::Tls)?;
    let joining = Joining::new(said.cluster.clone(), said.fingerprint()?);
    let joining = joining.map_err(|error| JoinError::Tls(error.to_string()))?;
    let endpoints = Endpoints::new(&member.control_plane, &Security::Joining(joining))?;
    let mut turn = endpoints.turn();
    let mut told = None;
    loop {
        let asked = proto::JoinRequest {
            token: token.to_owned(),
            name: member.name.clone(),
            request: request.clone().into(),
        };
        let mut client = turn.certificates();
        let joining = tokio::time::timeout(Duration::from_secs(5), client.join(asked)).await;
        let problem = match joining {
            Ok(Ok(answer)) => {
                let issued = issued(answer.into_inner().issued).map_err(JoinError::Refused)?;
                let held = Held {
                    chain: issued.chain,
                    key,
                };
                let shown = certified_key(held.chain.as_bytes(), held.key.as_bytes());
                shown.map_err(|error| JoinError::Refused(error.to_string()))?;
                return Ok((held, issued.trust));
            }
            Ok(Err(status)) if is_final(&status) => {
                return Err(JoinError::Refused(words(&status)));
            }
            Ok(Err(status)) => words(&status),
            Err(_) => "no answer in time".to_owned(),
        };
        if told.as_ref() != Some(&problem) {
            let address = turn.address();
            warn!(address, problem, "cannot join yet: trying again and again");
            told = Some(problem);
        }
        turn.failed().await;
    }
}

fn is_final(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::FailedPrecondition
    )
}

/// Renews what is held, and follows whom to trust.
fn keep(
    member: &Member,
    me: Identity,
    held: Held,
    trust: &str,
    stored: Stored,
) -> Result<(Internal, Keeping), JoinError> {
    let tls = |problem: String| JoinError::Tls(problem);
    let served = Served::new();
    let trust = Trust::new(trust).map_err(|error| tls(error.to_string()))?;
    let internal = Internal::new(me, served.clone(), trust.clone());
    let internal = internal.map_err(|error| tls(error.to_string()))?;
    let security = Security::Mutual(internal.clone());
    let endpoints = Endpoints::new(&member.control_plane, &security)?;
    let (kept, trusted) = (stored.clone(), trust.clone());
    let begun = held.wishes();
    let automatic = Automatic::showing(
        served,
        "internal traffic",
        Some(held),
        begun,
        MemberSigner(endpoints.turn()),
        move |held, issued| {
            if let Err(problem) = trusted.set(&issued.trust) {
                warn!(%problem, "the control plane names CAs that cannot be used");
            }
            if let Err(error) = kept.put(held, &issued.trust) {
                let directory = kept.directory().display();
                warn!(%directory, %error, "the new certificate cannot be kept: after a restart the old one is used");
            }
        },
    );
    let automatic = Arc::new(automatic);
    let following = follow_trust(endpoints, trust, stored, automatic.clone());
    let keeping = Keeping::automatic(automatic, [tokio::spawn(following)]);
    Ok((internal, keeping))
}

/// Takes up new CAs while they and the old ones are both good, and lets the new one sign.
async fn follow_trust(
    endpoints: Endpoints,
    trust: Arc<Trust>,
    stored: Stored,
    automatic: Arc<Automatic>,
) {
    let mut turn = endpoints.turn();
    loop {
        tokio::time::sleep(TRUST_EVERY).await;
        let mut client = turn.certificates();
        let told = answer(client.get_trust(proto::GetTrustRequest {})).await;
        let Some(terms) = told.ok().and_then(|told| told.terms) else {
            turn.failed_briefly(Duration::ZERO).await;
            continue;
        };
        turn.succeeded();
        automatic.wish(wishes(&terms));
        match trust.set(&terms.trust) {
            Ok(false) => {}
            Ok(true) => {
                info!("other CAs are trusted now: asking for a certificate anew");
                if let Err(error) = stored.put_trust(&terms.trust) {
                    warn!(%error, "whom to trust cannot be kept");
                }
                let pause = fastrand::u64(..=RENEWED_WITHIN_MS);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                automatic.renew();
            }
            Err(problem) => {
                warn!(%problem, "the control plane names CAs that cannot be used: those before stay");
            }
        }
    }
}
