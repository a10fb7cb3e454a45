//! Who a client is: certificates, passwords, tokens, and servers that are asked.

#![forbid(unsafe_code)]
