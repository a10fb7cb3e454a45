//! What is on or off.

use crate::spelled::spelled;

spelled! {
    /// Whether something is on. There is no default that fits all: each field says its own.
    pub enum Switch {
        Enabled,
        Disabled,
    }
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Switch::Enabled
    }
}
