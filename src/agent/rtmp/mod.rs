//! RTMP (Adobe's Real-Time Messaging Protocol 1.0) as a publisher speaks it: bytes in, bytes out. No IO, no clock; must not know
//! whose stream it is or what becomes of a session.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`amf`] | the values of commands (AMF 0) |
//! | [`chunk`] | messages in chunks, both ways |
//! | [`client`] | from the handshake to a stream that is published |
//! | [`flv`] | pictures and sound as the messages hold them |

pub mod amf;
pub mod chunk;
pub mod client;
pub mod flv;
