//! Real clients, as people use them, against a real broker: with one shard and with four.
//!
//! Each client has one file with the same scenarios: messages at every QoS, retained messages, wills,
//! shared subscriptions, sessions that are resumed and, in MQTT 5, properties. What a client sends on
//! the wire is its own affair; what it promises its user is asserted. A client that is not installed
//! is a failure.

mod mosquitto;
mod rumqttc_v4;
mod rumqttc_v5;
mod script;

/// Makes a test of each named scenario and number of shards, which `$run` is called for.
macro_rules! scenarios {
    ($run:path => $($scenario:ident),+ $(,)?) => {
        $(mod $scenario {
            #[test]
            fn shards_1() {
                $run(&catena_tests::broker::Broker::shared(1), stringify!($scenario));
            }

            #[test]
            fn shards_4() {
                $run(&catena_tests::broker::Broker::shared(4), stringify!($scenario));
            }
        })+
    };
}

mod paho {
    mod v3 {
        scenarios!(crate::script::paho_v3 =>
            at_every_qos, retained, will, shared_subscription, session_resumed);
    }
    mod v5 {
        scenarios!(crate::script::paho_v5 =>
            at_every_qos, retained, will, shared_subscription, session_resumed, properties_arrive);
    }
}

mod mqttjs {
    mod v3 {
        scenarios!(crate::script::mqttjs_v3 =>
            at_every_qos, retained, will, shared_subscription, session_resumed);
    }
    mod v5 {
        scenarios!(crate::script::mqttjs_v5 =>
            at_every_qos, retained, will, shared_subscription, session_resumed, properties_arrive);
    }
}
