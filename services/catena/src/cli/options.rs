//! Options that `pub` and `sub` share: where the broker is, who we are, and what to leave behind.

use anyhow::bail;
use catena_mqtt::{
    ByteString, Version,
    packet::{Connect, Will},
    topic,
};
use clap::Args;

use super::{
    login::Login,
    property::Properties,
    tls::Tls,
    value::{self, Quality},
    way::Way,
};

/// How to connect.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Where the broker is: a host, or mqtt://, mqtts://, ws:// or wss://HOST[:PORT][/PATH]
    #[arg(short = 'H', long, default_value = "127.0.0.1")]
    pub host: String,

    /// Its port [default: 1883; 8883 with TLS; of URLs that of their kind]
    #[arg(short, long)]
    pub port: Option<u16>,

    #[command(flatten)]
    pub tls: Tls,

    /// The client identifier; without one the broker makes one up
    #[arg(short, long)]
    pub id: Option<String>,

    #[command(flatten)]
    pub login: Login,

    /// Seconds between signs of life; 0: none
    #[arg(short, long, default_value_t = 60)]
    pub keepalive: u16,

    /// The version of MQTT to speak: 5 or 3.1.1
    #[arg(short = 'V', long, default_value = "5", value_parser = value::version)]
    pub protocol_version: Version,

    /// Keep the session, with subscriptions and waiting messages, when this client leaves; needs --id
    #[arg(short = 'c', long, requires = "id")]
    pub disable_clean_session: bool,

    /// Seconds that the broker keeps the session after this client leaves (MQTT 5); with -c and
    /// without this: for ever
    #[arg(short = 'x', long, value_name = "SECONDS")]
    pub session_expiry_interval: Option<u32>,

    #[command(flatten)]
    pub will: WillArguments,

    /// A property of MQTT 5, as packet, name and value: `-D publish content-type text/plain`,
    /// `-D publish user-property NAME VALUE`. Packets are connect, publish, subscribe and will
    #[arg(short = 'D', long = "property", num_args = 3..=4, value_names = ["PACKET", "NAME", "VALUE", "VALUE"])]
    pub properties: Vec<String>,
}

/// What the broker publishes if this client is lost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Will: what the broker publishes if this client is lost")]
pub struct WillArguments {
    /// Its topic
    #[arg(long)]
    pub will_topic: Option<String>,

    /// Its payload
    #[arg(
        long,
        requires = "will_topic",
        default_value = "",
        hide_default_value = true
    )]
    pub will_payload: String,

    /// Its quality of service: 0, 1 or 2
    #[arg(long, requires = "will_topic", default_value = "0")]
    pub will_qos: Quality,

    /// Whether it is retained
    #[arg(long, requires = "will_topic")]
    pub will_retain: bool,

    /// Seconds to wait for this client to come back (MQTT 5)
    #[arg(long, requires = "will_topic", value_name = "SECONDS")]
    pub will_delay: Option<u32>,
}

impl Connection {
    /// The way to the broker.
    ///
    /// # Errors
    ///
    /// A URL that makes no sense, and files that cannot be read.
    pub fn way(&self) -> anyhow::Result<Way> {
        Way::read(&self.host, self.port, &self.tls)
    }

    /// The properties that were asked for.
    ///
    /// # Errors
    ///
    /// When they make no sense, or not in this version.
    pub fn properties(&self) -> anyhow::Result<Properties> {
        if !self.protocol_version.is_v5() && !self.properties.is_empty() {
            bail!("-D: properties came with MQTT 5; leave out -V, or the properties");
        }
        Ok(Properties::parse(&self.properties)?)
    }

    /// The CONNECT that all this asks for.
    ///
    /// # Errors
    ///
    /// When it makes no sense, or not in this version.
    pub fn connect(&self, properties: &Properties) -> anyhow::Result<Connect> {
        let mut connect = Connect::new(
            self.protocol_version,
            self.id.as_deref().unwrap_or_default(),
        );
        connect.clean_start = !self.disable_clean_session;
        connect.keep_alive = self.keepalive;
        connect.username = self.login.username.as_deref().map(ByteString::from);
        connect.password = self.login.password()?;
        if connect.password.is_some()
            && connect.username.is_none()
            && !self.protocol_version.is_v5()
        {
            bail!("-P: before MQTT 5 a password needs a user name (-u)");
        }
        connect.session_expiry = self
            .session_expiry_interval
            .or(self.disable_clean_session.then_some(u32::MAX));
        if self.session_expiry_interval.is_some() && !self.protocol_version.is_v5() {
            bail!(
                "-x: the session expiry interval came with MQTT 5; -c alone keeps the session for ever"
            );
        }
        connect.will = self.will(properties)?;
        properties.connect.apply(&mut connect);
        Ok(connect)
    }

    fn will(&self, properties: &Properties) -> anyhow::Result<Option<Will>> {
        let Some(topic) = &self.will.will_topic else {
            return Ok(None);
        };
        if let Err(error) = topic::validate(topic) {
            bail!("--will-topic {topic:?}: {error}");
        }
        if self.will.will_delay.is_some() && !self.protocol_version.is_v5() {
            bail!("--will-delay came with MQTT 5");
        }
        Ok(Some(Will {
            topic: topic.as_str().into(),
            payload: self.will.will_payload.clone().into(),
            qos: self.will.will_qos.0,
            retain: self.will.will_retain,
            delay: self.will.will_delay.or(properties.will.delay).unwrap_or(0),
            message_expiry: properties.will.expiry,
            properties: properties.will.encoded("will")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use catena_mqtt::QoS;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connection: Connection,
    }

    fn connect(words: &str) -> anyhow::Result<Connect> {
        let words = std::iter::once("x").chain(words.split_whitespace());
        let connection = Command::try_parse_from(words)?.connection;
        connection.connect(&connection.properties()?)
    }

    #[test]
    fn nothing_asked_is_a_clean_client_of_version_5() {
        let connect = connect("").unwrap();
        assert!(connect.clean_start);
        assert_eq!(
            (connect.version, connect.session_expiry),
            (Version::V5, None)
        );
        assert_eq!(&*connect.client_id, "");
    }

    #[test]
    fn a_kept_session() {
        let kept = connect("-i me -c").unwrap();
        assert_eq!(
            (kept.clean_start, kept.session_expiry),
            (false, Some(u32::MAX))
        );
        assert_eq!(connect("-i me -c -x 60").unwrap().session_expiry, Some(60));
        assert!(connect("-c").is_err());
        assert!(connect("-i me -V 3.1.1 -x 60").is_err());
    }

    #[test]
    fn a_will_with_properties() {
        let words = "--will-topic gone --will-payload bye --will-qos 1 --will-retain --will-delay 5 \
                     -D will user-property a b -D will message-expiry-interval 9";
        let will = connect(words).unwrap().will.unwrap();
        assert_eq!(
            (&*will.topic, will.qos, will.retain),
            ("gone", QoS::AtLeastOnce, true)
        );
        assert_eq!((will.delay, will.message_expiry), (5, Some(9)));
        assert!(connect("--will-payload bye").is_err());
        assert!(connect("--will-topic gone/#").is_err());
        assert!(connect("--will-topic gone --will-delay 5 -V 3.1.1").is_err());
    }

    #[test]
    fn properties_need_version_5() {
        assert!(connect("-V 3.1.1 -D connect receive-maximum 1").is_err());
        assert_eq!(
            connect("-D connect maximum-packet-size 99")
                .unwrap()
                .maximum_packet_size,
            Some(99)
        );
    }
}
