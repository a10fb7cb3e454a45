//! Our words in etcd's, and back.

use etcd_client::{CompareOp, KeyValue, PutOptions, ResponseHeader, TxnOp};
use tonic::Code;

use crate::store::{
    ClusterName, Compare, Entry, Error, Expected, Key, LeaseId, Prefix, Revision, Write,
};

/// What all keys of the cluster begin with in etcd.
#[derive(Debug, Clone)]
pub struct Root(String);

impl Root {
    pub fn new(cluster: &ClusterName) -> Root {
        Root(cluster.root())
    }

    /// The key's name in etcd.
    pub fn key(&self, key: &Key) -> Vec<u8> {
        format!("{}{key}", self.0).into_bytes()
    }

    /// The first name under the prefix, and the first one behind all of them.
    pub fn range(&self, prefix: &Prefix) -> (Vec<u8>, Vec<u8>) {
        let from = format!("{}{}", self.0, prefix.as_str()).into_bytes();
        let mut end = from.clone();
        // Both end with a slash, which is followed by a zero.
        let last = end.last_mut().expect("the root is not empty");
        *last += 1;
        (from, end)
    }

    /// The key that a name in etcd stands for.
    pub fn own(&self, name: &[u8]) -> Result<Key, Error> {
        let own = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix(&self.0))
            .and_then(|name| Key::new(name).ok());
        own.ok_or_else(|| Error::Corrupt(format!("the key {:?}", String::from_utf8_lossy(name))))
    }

    pub fn entry(&self, kv: &KeyValue) -> Result<Entry, Error> {
        let lease = unsigned(kv.lease())?;
        Ok(Entry {
            key: self.own(kv.key())?,
            value: kv.value().to_vec().into(),
            created: Revision(unsigned(kv.create_revision())?),
            revision: Revision(unsigned(kv.mod_revision())?),
            lease: (lease != 0).then_some(LeaseId(lease)),
        })
    }

    pub fn compare(&self, compare: &Compare) -> Result<etcd_client::Compare, Error> {
        let key = self.key(&compare.key);
        let revision = match compare.is {
            // etcd says of a key that is not there that its last write was at 0.
            Expected::Absent => 0,
            Expected::At(revision) => signed(revision.0)?,
        };
        Ok(etcd_client::Compare::mod_revision(
            key,
            CompareOp::Equal,
            revision,
        ))
    }

    pub fn write(&self, write: Write) -> Result<TxnOp, Error> {
        Ok(match write {
            Write::Put { key, value, lease } => {
                let lease = lease.map(|lease| signed(lease.0)).transpose()?;
                let options = lease.map(|lease| PutOptions::new().with_lease(lease));
                TxnOp::put(self.key(&key), value, options)
            }
            Write::Delete(key) => TxnOp::delete(self.key(&key), None),
        })
    }
}

pub fn revision(header: Option<&ResponseHeader>) -> Result<Revision, Error> {
    let header = header.ok_or_else(|| Error::Corrupt("an answer without a header".to_owned()))?;
    Ok(Revision(unsigned(header.revision())?))
}

pub fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::Invalid(format!("{number} is too large")))
}

pub fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Corrupt(format!("the number {number}")))
}

pub fn error(error: etcd_client::Error) -> Error {
    use etcd_client::Error as Etcd;
    match error {
        Etcd::GRpcStatus(status) => of_status(status.code(), status.message()),
        Etcd::InvalidArgs(_) | Etcd::InvalidUri(_) | Etcd::InvalidMetadataValue(_) => {
            Error::Invalid(error.to_string())
        }
        // The client says in words, and only so, that there is no such lease.
        Etcd::LeaseKeepAliveError(message) if message.contains("not found") => Error::LeaseGone,
        Etcd::Utf8Error(_) => Error::Corrupt(error.to_string()),
        other => Error::Away(other.to_string()),
    }
}

fn of_status(code: Code, message: &str) -> Error {
    let words = || format!("{code:?}: {message}");
    match code {
        Code::NotFound if message.contains("lease") => Error::LeaseGone,
        Code::Unauthenticated | Code::PermissionDenied => Error::Denied(words()),
        // A user or password that is wrong is an invalid argument to etcd.
        Code::InvalidArgument if message.contains("authentication") => Error::Denied(words()),
        Code::InvalidArgument | Code::Unimplemented | Code::NotFound | Code::AlreadyExists => {
            Error::Invalid(words())
        }
        Code::DeadlineExceeded => Error::TimedOut,
        Code::DataLoss => Error::Corrupt(words()),
        // Above all Unavailable; what etcd may say of a changing leader or of too much load.
        _ => Error::Away(words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Retrying a wrong password for ever hides it; giving up on a leader change stops the control plane.
    #[test]
    fn an_error_says_whether_a_retry_helps() {
        let retryable = |code, message| of_status(code, message).is_retryable();
        assert!(retryable(Code::Unavailable, "etcdserver: no leader"));
        assert!(retryable(Code::DeadlineExceeded, ""));
        assert!(retryable(
            Code::ResourceExhausted,
            "etcdserver: too many requests"
        ));
        assert!(retryable(Code::Internal, "h2 protocol error"));
        assert!(!retryable(Code::PermissionDenied, ""));
        assert!(!retryable(
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password"
        ));
        assert!(!retryable(
            Code::InvalidArgument,
            "etcdserver: too many operations"
        ));
        let gone = of_status(Code::NotFound, "etcdserver: requested lease not found");
        assert!(matches!(gone, Error::LeaseGone));
    }

    // With another end, a watch of one cluster would see those of others.
    #[test]
    fn a_range_ends_behind_its_prefix() {
        let root = Root::new(&ClusterName::new("a").unwrap());
        let (from, end) = root.range(&Prefix::below(&Key::new("nodes").unwrap()));
        assert_eq!(from, b"/catena/v1/a/nodes/");
        assert_eq!(end, b"/catena/v1/a/nodes0");
        assert!(root.own(b"/catena/v1/b/nodes/1").is_err());
        assert_eq!(
            root.own(b"/catena/v1/a/nodes/1").unwrap().as_str(),
            "nodes/1"
        );
    }
}
