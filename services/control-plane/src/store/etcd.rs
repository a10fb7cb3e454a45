//! etcd as the store.

mod convert;
mod watch;

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, SortOrder, SortTarget, TlsOptions,
    Txn,
};

use super::{
    Entry, Error, Key, LeaseId, Listing, Outcome, Prefix, Revision, Store, Transaction, Watch,
    config, ttl_seconds,
};
use convert::Root;

/// Entries that are asked for at once: answers stay below the size that gRPC takes.
const PAGE_ENTRIES: i64 = 256;

/// A connection to etcd, for the keys of one cluster.
pub struct Etcd {
    client: Client,
    root: Root,
    timeout: Duration,
}

impl Etcd {
    /// Prepares to talk to etcd. It need not be there yet, unless there are credentials: those are checked now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what the configuration has wrong, and what etcd says to the credentials.
    pub async fn open(config: &config::Etcd) -> Result<Etcd, Error> {
        config.check()?;
        let timeout = config.request_timeout();
        // Pings find a connection that is cut off, and without a majority etcd is to say so instead of staying silent.
        let mut options = ConnectOptions::new()
            .with_connect_timeout(timeout)
            .with_keep_alive(timeout / 2, timeout / 2)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some(tls) = &config.tls {
            options = options.with_tls(tls_options(tls)?);
        }
        if let Some(credentials) = &config.credentials {
            options = options
                .with_user(&credentials.user, credentials.password()?)
                .with_auto_token_refresh(true);
        }
        let connecting = Client::connect(&config.endpoints, Some(options));
        let client = within(timeout, connecting).await?;
        Ok(Etcd {
            client,
            root: Root::new(&config.cluster),
            timeout,
        })
    }

    async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        within(self.timeout, request).await
    }

    /// A page of the entries from `from` on, as of `at` or of now.
    async fn page(
        &self,
        from: Vec<u8>,
        end: Vec<u8>,
        at: Option<Revision>,
    ) -> Result<(Listing, bool), Error> {
        let mut options = GetOptions::new()
            .with_range(end)
            .with_sort(SortTarget::Key, SortOrder::Ascend)
            .with_limit(PAGE_ENTRIES);
        if let Some(at) = at {
            options = options.with_revision(convert::signed(at.0)?);
        }
        let mut client = self.client.kv_client();
        let response = self.ask(client.get(from, Some(options))).await?;
        let entries = response.kvs().iter().map(|kv| self.root.entry(kv));
        let revision = convert::revision(response.header())?;
        let listing = Listing {
            revision: at.unwrap_or(revision),
            entries: entries.collect::<Result<_, _>>()?,
        };
        Ok((listing, response.more()))
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let mut client = self.client.kv_client();
        let response = self.ask(client.get(self.root.key(key), None)).await?;
        let entry = response.kvs().first().map(|kv| self.root.entry(kv));
        entry.transpose()
    }

    async fn list(&self, prefix: &Prefix) -> Result<Listing, Error> {
        let (from, end) = self.root.range(prefix);
        let (mut listing, mut more) = self.page(from, end.clone(), None).await?;
        while more {
            let last = listing
                .entries
                .last()
                .ok_or_else(|| Error::Corrupt("a page without entries, and more".to_owned()))?;
            let mut from = self.root.key(&last.key);
            from.push(0);
            let page;
            (page, more) = self.page(from, end.clone(), Some(listing.revision)).await?;
            listing.entries.extend(page.entries);
        }
        Ok(listing)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        transaction.check()?;
        let compare = transaction
            .compare
            .iter()
            .map(|compare| self.root.compare(compare));
        let writes = transaction
            .writes
            .into_iter()
            .map(|write| self.root.write(write));
        let request = Txn::new()
            .when(compare.collect::<Result<Vec<_>, _>>()?)
            .and_then(writes.collect::<Result<Vec<_>, _>>()?);
        let mut client = self.client.kv_client();
        let response = self.ask(client.txn(request)).await?;
        if !response.succeeded() {
            return Ok(Outcome::Conflict);
        }
        Ok(Outcome::Committed(convert::revision(response.header())?))
    }

    async fn watch(&self, prefix: &Prefix, after: Option<Revision>) -> Result<Watch, Error> {
        let source = watch::Following::new(self.clone_for_watch(), prefix.clone(), after);
        Ok(Watch(Box::new(source)))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let ttl = convert::signed(ttl_seconds(ttl))?;
        let mut client = self.client.lease_client();
        let response = self.ask(client.grant(ttl, None)).await?;
        Ok(LeaseId(convert::unsigned(response.id())?))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        let mut client = self.client.lease_client();
        let lease = convert::signed(lease.0)?;
        self.ask(client.keep_alive(lease)).await?;
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let mut client = self.client.lease_client();
        let lease = convert::signed(lease.0)?;
        match self.ask(client.revoke(lease)).await {
            Ok(_) | Err(Error::LeaseGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Etcd {
    fn clone_for_watch(&self) -> Etcd {
        Etcd {
            client: self.client.clone(),
            root: self.root.clone(),
            timeout: self.timeout,
        }
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("root", &self.root).finish()
    }
}

fn tls_options(tls: &config::Tls) -> Result<TlsOptions, Error> {
    let mut options =
        TlsOptions::new().ca_certificate(Certificate::from_pem(config::read(&tls.ca_file)?));
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        options = options.identity(Identity::from_pem(
            config::read(certificate)?,
            config::read(key)?,
        ));
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

async fn within<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, request).await {
        Ok(answer) => answer.map_err(convert::error),
        Err(_) => Err(Error::TimedOut),
    }
}
