//! Fragmented MP4 (ISO/IEC 14496-12): the boxes that carry frames into files, over HTTP and into HLS. Must not interpret codecs
//! and must not do IO.

pub mod boxes;
pub mod reader;
pub mod writer;
