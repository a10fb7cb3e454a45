//! Silence of the client. v5 `[MQTT-3.1.2-22]`, v3.1.1 `[MQTT-3.1.2-24]`

use catena_mqtt::ReasonCode;

use crate::{Connection, Outside, input::Now, timers::Timer};

impl Connection {
    /// The client promised a packet within each `seconds`; 0: it promised nothing. It gets half as much again.
    pub(crate) fn start_keep_alive(&mut self, seconds: u16, now: Now) {
        self.silence_ms = u64::from(seconds) * 1500;
        self.last_packet = now;
        if self.silence_ms > 0 {
            self.timers
                .set(Timer::KeepAlive, now.plus_millis(self.silence_ms));
        }
    }

    /// Packets only note their time; whether the silence was too long is looked at here.
    pub(crate) fn on_keep_alive_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if self.silence_ms == 0 {
            return;
        }
        if !self.reads() {
            // Keep alive stands still [F-62].
            self.last_packet = now;
        }
        let until = self.last_packet.plus_millis(self.silence_ms);
        if now >= until {
            self.fail(ReasonCode::KeepAliveTimeout, "", now, outside);
        } else {
            self.timers.set(Timer::KeepAlive, until);
        }
    }
}
