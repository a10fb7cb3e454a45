//! What the schema of the Broker cannot say.

use super::{
    Advanced, Broker, Diagnostics, DiskBackedMessageBuffer, InternalCerts, OpenTelemetry,
    PersistMode, Persistence, StateStoreKeys,
};
use crate::{
    form, pattern,
    problem::Problems,
    rules::{Rules, each, each_text, optional, settings},
};

/// Durable storage below this has no room to compact itself.
const PERSISTENCE_BYTES_MIN: u64 = 100_000_000;

impl Rules for Broker {
    fn rules(&self, at: &str, problems: &mut Problems) {
        self.advanced.rules(&format!("{at}.advanced"), problems);
        self.diagnostics
            .rules(&format!("{at}.diagnostics"), problems);
        if let Some(buffer) = &self.disk_backed_message_buffer {
            buffer.rules(&format!("{at}.diskBackedMessageBuffer"), problems);
        }
        if let Some(persistence) = &self.persistence {
            persistence.rules(&format!("{at}.persistence"), problems);
        }
    }
}

impl Rules for Advanced {
    fn rules(&self, at: &str, problems: &mut Problems) {
        if let Some(certs) = &self.internal_certs {
            certs.rules(&format!("{at}.internalCerts"), problems);
        }
        let reference = self.server_reference.as_ref();
        optional(
            reference,
            format!("{at}.serverReference"),
            problems,
            form::host_port,
        );
    }
}

impl Rules for InternalCerts {
    fn rules(&self, at: &str, problems: &mut Problems) {
        crate::certificate::renewal(Some(self.duration), Some(self.renew_before), at, problems);
    }
}

impl Rules for Diagnostics {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let level = format!("{at}.logs.level");
        problems.check(&level, form::log_filter(&self.logs.level));
        let collector = self.metrics.opentelemetry_collector_address.as_ref();
        let at_collector = format!("{at}.metrics.opentelemetryCollectorAddress");
        optional(collector, at_collector, problems, |address| {
            form::host_port(address).or_else(|_| form::url(address, &["http", "https"]))
        });
        if let Some(opentelemetry) = &self.opentelemetry {
            opentelemetry.rules(&format!("{at}.opentelemetry"), problems);
        }
    }
}

impl Rules for OpenTelemetry {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let endpoint = form::url(&self.endpoint, &["http", "https"]);
        problems.check(&format!("{at}.endpoint"), endpoint);
        crate::rules::headers(&self.headers, &format!("{at}.headers"), problems);
        let secret = self.headers_secret_ref.as_ref();
        let at_secret = format!("{at}.headersSecretRef");
        optional(secret, at_secret, problems, form::secret_name);
        if self.interval.0.is_zero() {
            let reason = format!("{}: must be longer than nothing", self.interval);
            problems.rule(&format!("{at}.interval"), reason);
        }
    }
}

impl Rules for DiskBackedMessageBuffer {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let (ephemeral, persistent) = (
            &self.ephemeral_volume_claim_spec,
            &self.persistent_volume_claim_spec,
        );
        if ephemeral.is_some() && persistent.is_some() {
            problems.rule(
                &format!("{at}.persistentVolumeClaimSpec"),
                "there may be only one of ephemeralVolumeClaimSpec and persistentVolumeClaimSpec",
            );
        }
    }
}

impl Rules for Persistence {
    fn rules(&self, at: &str, problems: &mut Problems) {
        if self.max_size.bytes() <= PERSISTENCE_BYTES_MIN {
            let reason = format!("{}: must be more than 100M", self.max_size);
            problems.rule(&format!("{at}.maxSize"), reason);
        }
        let key = self.encryption.key_secret_ref.as_ref();
        let at_key = format!("{at}.encryption.keySecretRef");
        optional(key, at_key, problems, form::secret_name);
        if self.dynamic_settings.user_property_key.is_empty() {
            let at = format!("{at}.dynamicSettings.userPropertyKey");
            problems.rule(&at, "is empty");
        }
        self.policies(at, problems);
    }
}

impl Persistence {
    fn policies(&self, at: &str, problems: &mut Problems) {
        let retain = &self.retain.retain_settings;
        let at_retain = format!("{at}.retain");
        custom(
            self.retain.mode,
            &at_retain,
            "retainSettings",
            retain.is_some(),
            problems,
        );
        if let Some(retain) = retain {
            let at = format!("{at_retain}.retainSettings.topics");
            each_text(&retain.topics, &at, problems, pattern::topic_filter);
        }
        let queue = &self.subscriber_queue;
        let of_queue = &queue.subscriber_queue_settings;
        let at_queue = format!("{at}.subscriberQueue");
        custom(
            queue.mode,
            &at_queue,
            "subscriberQueueSettings",
            of_queue.is_some(),
            problems,
        );
        if let Some(of_queue) = of_queue {
            let at = format!("{at_queue}.subscriberQueueSettings.subscriberClientIds");
            each_text(&of_queue.subscriber_client_ids, &at, problems, |id| {
                if id.is_empty() {
                    Err("is empty".to_owned())
                } else {
                    Ok(())
                }
            });
        }
        let store = &self.state_store;
        let of_store = &store.state_store_settings;
        let at_store = format!("{at}.stateStore");
        custom(
            store.mode,
            &at_store,
            "stateStoreSettings",
            of_store.is_some(),
            problems,
        );
        if let Some(of_store) = of_store {
            let at = format!("{at_store}.stateStoreSettings.stateStoreResources");
            each(&of_store.state_store_resources, &at, problems);
        }
    }
}

impl Rules for StateStoreKeys {
    fn rules(&self, at: &str, problems: &mut Problems) {
        crate::authorization::keys(self.key_type, &self.keys, at, problems);
    }
}

/// Settings of a policy belong to mode Custom, which needs them.
fn custom(mode: PersistMode, at: &str, field: &str, is_there: bool, problems: &mut Problems) {
    let is_custom = mode == PersistMode::Custom;
    settings(
        problems,
        (&format!("{at}.mode"), mode),
        (&format!("{at}.{field}"), is_there),
        (is_custom, true),
    );
}
