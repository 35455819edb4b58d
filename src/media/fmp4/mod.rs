//! MP4 (ISO/IEC 14496-12), fragmented and progressive: the boxes that carry frames into files, over HTTP and into HLS. Must
//! not interpret codecs and must not do IO.

pub mod boxes;
pub mod progressive;
pub mod reader;
pub mod writer;
