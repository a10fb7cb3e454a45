//! The will that CONNECT brings.

use std::sync::Arc;

use catena_mqtt::packet;
use catena_shard::{ClientKey, Message, Will};

/// The will as the home shard keeps it `[F-20]`.
pub(crate) fn will(will: &packet::Will, publisher: ClientKey) -> Will {
    Will {
        message: Arc::new(Message {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            properties: will.properties.clone(),
            qos: will.qos,
            retain: will.retain,
            expiry: will.message_expiry,
            publisher,
            counter: 0,
        }),
        delay: will.delay,
    }
}
