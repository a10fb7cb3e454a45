//! PINGREQ and PINGRESP, which are their fixed headers and nothing else. v5 and v3.1.1 3.12, 3.13

/// A PINGREQ, in every version.
pub const REQUEST: [u8; 2] = [0xC0, 0x00];

/// A PINGRESP, in every version.
pub const RESPONSE: [u8; 2] = [0xD0, 0x00];
