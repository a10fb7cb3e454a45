//! Topics that wildcards must not reach `[F-37]`.

use catena_mqtt::topic;

/// What the broker's own probe publishes.
const SELF_TEST: &str = "azedge/dmqtt/selftest/";

/// How many levels of `topic`, from the first, are matched by literal levels only.
///
/// v5 \[MQTT-4.7.2-1\]: the first of a topic that begins with `$`; and three of the probe's topics.
pub(crate) fn literal_levels(topic: &str) -> usize {
    if topic.starts_with('$') {
        1
    } else if topic.starts_with(SELF_TEST) {
        SELF_TEST.matches('/').count()
    } else {
        0
    }
}

/// Whether `filter` has a wildcard where `topic` allows none.
pub(crate) fn hides(filter: &str, topic: &str) -> bool {
    let literal = literal_levels(topic);
    topic::levels(filter)
        .take(literal)
        .any(|level| level == "+" || level == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `#` that saw the probe's messages would make every dashboard count them [F-37].
    #[test]
    fn wildcards_do_not_reach_hidden_topics() {
        let probe = "azedge/dmqtt/selftest/1";
        assert!(hides("#", probe));
        assert!(hides("azedge/+/selftest/1", probe));
        assert!(hides("azedge/dmqtt/#", probe));
        assert!(!hides("azedge/dmqtt/selftest/#", probe));
        assert!(!hides("azedge/dmqtt/selftest/+", probe));
        assert!(!hides("#", "azedge/dmqtt/other"));
        assert!(hides("+/x", "$a/x"));
        assert!(!hides("$a/+", "$a/x"));
    }
}
