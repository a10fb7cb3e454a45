//! Reason codes in words.

use catena_mqtt::ReasonCode;

/// The name of a reason code as a person would say it, its number, and what to try.
pub fn reason(code: ReasonCode) -> String {
    let mut text = spaced(&format!("{code:?}"));
    text += &format!(" (0x{:02X})", code.as_u8());
    if let Some(hint) = hint(code) {
        text += ": ";
        text += hint;
    }
    text
}

/// `NotAuthorized` as `not authorized`.
fn spaced(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn hint(code: ReasonCode) -> Option<&'static str> {
    Some(match code {
        ReasonCode::UnsupportedProtocolVersion => "try another -V",
        ReasonCode::ClientIdentifierNotValid => "try another -i",
        ReasonCode::BadUserNameOrPassword => "check -u and -P",
        ReasonCode::NotAuthorized => "the broker's rules do not let this client do that",
        ReasonCode::SessionTakenOver => "another client has connected with the same id (-i)",
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy => "try again later",
        ReasonCode::TopicFilterInvalid => "check the filter's wildcards: # only at the end",
        ReasonCode::PacketTooLarge => "the broker limits the size of a packet",
        ReasonCode::QosNotSupported => "try a lower -q",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_like_sentences() {
        assert_eq!(
            reason(ReasonCode::ServerShuttingDown),
            "server shutting down (0x8B)"
        );
        assert_eq!(
            reason(ReasonCode::BadUserNameOrPassword),
            "bad user name or password (0x86): check -u and -P"
        );
    }
}
