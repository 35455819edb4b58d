//! Sound that is encoded anew, in this process: what a camera sends becomes AAC of a wanted bit rate, at the times that it had.
//! No IO and no clock. Must not know where frames come from, nor who reads them.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`line`] | pure: samples as a stream without holes |
//! | [`decoder`] | access units of AAC or Opus → samples |
//! | [`encoder`] | samples → access units of AAC |
//! | [`anew`] | events of a hub → the same with other sound |

pub mod anew;
pub mod decoder;
pub mod encoder;
pub mod line;
#[cfg(test)]
mod tests;
