//! Small packets to the client.

use catena_mqtt::{
    Packet, ReasonCode, Version, encode,
    packet::{Disconnect, Kind, ack},
};

use crate::{Connection, Outside, connection::packet_id};

impl Connection {
    /// Writes a packet, unless it is larger than the client takes. v5 `[MQTT-3.1.2-24]`, `[MQTT-3.1.2-25]`
    pub(crate) fn write<O: Outside>(&mut self, packet: &Packet, outside: &mut O) {
        let Some(version) = self.version else { return };
        if self.open && encode::encoded_len(packet, version) <= self.packet_size_max {
            encode::encode(packet, version, outside.output().buffer());
        }
    }

    /// Writes PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(crate) fn write_ack<O: Outside>(
        &mut self,
        kind: ack::Kind,
        id: u16,
        reason: ReasonCode,
        outside: &mut O,
    ) {
        let (Some(version), Some(id)) = (self.version, packet_id(id)) else {
            return;
        };
        if self.open {
            ack::encode_short(kind, id, reason, version, outside.output().buffer());
        }
    }

    pub(crate) fn write_pingresp<O: Outside>(&mut self, outside: &mut O) {
        self.write(&Packet::Pingresp, outside);
    }

    /// Writes DISCONNECT (5), with `text` where it fits, and closes. v5 `[MQTT-3.14.2-3]`, `[MQTT-4.13.2-1]`
    pub(crate) fn write_disconnect<O: Outside>(
        &mut self,
        reason: ReasonCode,
        text: &str,
        outside: &mut O,
    ) {
        if self.open && self.version == Some(Version::V5) {
            let valid = reason.is_valid_in(Kind::Disconnect);
            let reason = if valid {
                reason
            } else {
                ReasonCode::UnspecifiedError
            };
            let mut disconnect = Box::new(Disconnect::new(reason));
            disconnect.reason_string = (!text.is_empty()).then(|| text.into());
            if reason == ReasonCode::UseAnotherServer || reason == ReasonCode::ServerMoved {
                disconnect.server_reference = self.settings.server_reference.clone();
            }
            let mut packet = Packet::Disconnect(disconnect);
            if encode::encoded_len(&packet, Version::V5) > self.packet_size_max {
                packet = Packet::Disconnect(Box::new(Disconnect::new(reason)));
            }
            self.write(&packet, outside);
        }
        self.close_socket(outside);
    }

    pub(crate) fn close_socket<O: Outside>(&mut self, outside: &mut O) {
        if self.open {
            outside.output().close();
            self.open = false;
        }
    }
}
