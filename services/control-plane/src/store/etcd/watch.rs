//! Following changes in etcd.

use std::collections::VecDeque;

use async_trait::async_trait;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};

use super::{Etcd, convert};
use crate::store::{Change, Error, Event, Prefix, Revision, Source, Store as _};

/// A watch: first a snapshot, unless it begins after a known revision, then what comes after it.
pub struct Following {
    etcd: Etcd,
    prefix: Prefix,
    /// All up to here was returned. `None`: a snapshot is due.
    after: Option<Revision>,
    stream: Option<WatchStream>,
    ready: VecDeque<Event>,
}

impl Following {
    pub fn new(etcd: Etcd, prefix: Prefix, after: Option<Revision>) -> Following {
        Following {
            etcd,
            prefix,
            after,
            stream: None,
            ready: VecDeque::new(),
        }
    }

    async fn snapshot(&mut self) -> Result<Event, Error> {
        let listing = self.etcd.list(&self.prefix).await?;
        self.stream = None;
        self.after = Some(listing.revision);
        Ok(Event::Snapshot(listing))
    }

    async fn open(&mut self, after: Revision) -> Result<WatchStream, Error> {
        let (from, end) = self.etcd.root.range(&self.prefix);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(convert::signed(after.0 + 1)?);
        let mut client = self.etcd.client.watch_client();
        self.etcd.ask(client.watch(from, Some(options))).await
    }

    /// Takes an answer of the stream. `None`: etcd has forgotten what came after the last event.
    fn take(&mut self, response: &WatchResponse) -> Result<Option<()>, Error> {
        if response.compact_revision() != 0 {
            return Ok(None);
        }
        if response.canceled() {
            let reason = response.cancel_reason();
            return Err(Error::Away(format!("the watch was cancelled: {reason}")));
        }
        let mut changes = Vec::with_capacity(response.events().len());
        for event in response.events() {
            let kv = event
                .kv()
                .ok_or_else(|| Error::Corrupt("an event without a key".to_owned()))?;
            changes.push(match event.event_type() {
                EventType::Put => Change::Put(self.etcd.root.entry(kv)?),
                EventType::Delete => Change::Deleted {
                    key: self.etcd.root.own(kv.key())?,
                    revision: Revision(convert::unsigned(kv.mod_revision())?),
                },
            });
        }
        if !changes.is_empty() {
            let event = Event::Changes(changes);
            self.after = Some(event.revision());
            self.ready.push_back(event);
        }
        Ok(Some(()))
    }
}

#[async_trait]
impl Source for Following {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some(after) = self.after else {
                return self.snapshot().await;
            };
            if self.stream.is_none() {
                self.stream = Some(self.open(after).await?);
            }
            let stream = self.stream.as_mut().expect("it was opened");
            let message = stream.message().await.map_err(convert::error)?;
            let response = message.ok_or_else(|| Error::Away("the watch ended".to_owned()))?;
            if self.take(&response)?.is_none() {
                return self.snapshot().await;
            }
        }
    }
}
