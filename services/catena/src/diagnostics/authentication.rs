//! What authenticators decided, under its names.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use catena_authentication::Means;
use catena_resources::authentication::Method;
use catena_telemetry::{Samples, Source, names};

/// All authenticators of the process.
pub struct Authenticators(pub Arc<Means>);

const METHODS: [(Method, &str); 5] = [
    (Method::X509, "X509"),
    (Method::ServiceAccountToken, "ServiceAccountToken"),
    (Method::Custom, "Custom"),
    (Method::Password, "Password"),
    (Method::Jwt, "Jwt"),
];

impl Source for Authenticators {
    fn collect(&self, samples: &mut Samples) {
        let counters = self.0.counters();
        for (method, name) in METHODS {
            let of = counters.of(method);
            for (outcome, counter) in [
                ("success", &of.successes),
                ("failure", &of.failures),
                ("denial", &of.denials),
                ("unreachable", &of.unreachable),
            ] {
                samples.add(
                    &names::AUTHENTICATIONS,
                    [name, outcome],
                    counter.load(Relaxed),
                );
            }
        }
        let irrelevant = counters.irrelevant.load(Relaxed);
        samples.add(&names::AUTHENTICATION_IRRELEVANT, [], irrelevant);
    }
}
