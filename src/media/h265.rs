//! H.265 (ITU-T H.265) as far as a copy needs it: parameter sets, random access points, where a picture begins, and the
//! `hvc1` sample entry (ISO/IEC 14496-15 §8). Must not decode pictures.

use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes};

use super::fmp4::boxes::write_box;
use super::nal::{Bits, unescape};
use super::visual::{PictureSize, write_visual_entry};

/// `nal_unit_type` values (Table 7-1).
pub mod unit_type {
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 35;
    /// Filler data.
    pub const FILLER: u8 = 38;
}

/// The type of a unit.
pub fn unit_type_of(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte >> 1 & 0x3f)
}

/// Whether a unit carries picture data.
pub const fn is_slice(unit_type: u8) -> bool {
    unit_type < 32
}

/// Whether a unit makes its access unit one where decoding can start: an intra random access point picture (BLA, IDR, CRA).
pub fn is_random_access(unit: &[u8]) -> bool {
    matches!(unit_type_of(unit), 16..=21)
}

/// Whether a slice begins a picture: `first_slice_segment_in_pic_flag`.
pub fn begins_picture(slice: &[u8]) -> bool {
    slice.get(2).is_some_and(|byte| byte & 0x80 != 0)
}

/// What is read of a sequence parameter set (§7.3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceParameters {
    /// `sps_seq_parameter_set_id`.
    pub id: u32,
    /// `general_profile_space`, `general_tier_flag` and `general_profile_idc` as one byte.
    pub profile: u8,
    /// `general_profile_compatibility_flag`s, the first in the highest bit.
    pub compatibility: u32,
    /// The 48 bits from `general_progressive_source_flag` on.
    pub constraints: u64,
    /// `general_level_idc`.
    pub level: u8,
    /// `sps_max_sub_layers_minus1` + 1.
    pub temporal_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub temporal_id_nested: bool,
    /// `chroma_format_idc`.
    pub chroma_format: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// Cropped size; the pixel shape is left to the decoder.
    pub size: PictureSize,
    /// How many pictures at most stand before another in decoding order and behind it when shown (`sps_max_num_reorder_pics`
    /// of the highest sub-layer); `None` where that cannot be read.
    pub reorder: Option<u32>,
}

/// Reads a sequence parameter set unit; `None` when it is malformed.
pub fn parse_sequence_parameters(unit: &[u8]) -> Option<SequenceParameters> {
    let raw = unescape(unit, 1024);
    let mut bits = Bits::new(raw.get(2..)?);
    bits.skip(4)?;
    let sub_layers = bits.bits(3)? as u8;
    let temporal_id_nested = bits.bit()?;
    let profile = bits.bits(8)? as u8;
    let compatibility = bits.bits(32)? as u32;
    let constraints = bits.bits(48)?;
    let level = bits.bits(8)? as u8;
    skip_sub_layers(&mut bits, sub_layers)?;
    let id = bits.unsigned().filter(|id| *id < 16)?;
    let chroma_format = bits.unsigned().filter(|format| *format <= 3)?;
    let separate_planes = chroma_format == 3 && bits.bit()?;
    let (width, height) = (bits.unsigned()?, bits.unsigned()?);
    let mut crop = [0_u32; 4];
    if bits.bit()? {
        for side in &mut crop {
            *side = bits.unsigned()?;
        }
    }
    let luma_bits = 8 + bits.unsigned().filter(|bits| *bits <= 8)? as u8;
    let chroma_bits = 8 + bits.unsigned().filter(|bits| *bits <= 8)? as u8;
    let (unit_width, unit_height) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2),
        (false, 2) => (2, 1),
        _ => (1, 1),
    };
    let cropped = |coded: u32, before: u32, after: u32, unit: u32| {
        coded.checked_sub(before.checked_add(after)?.checked_mul(unit)?).filter(|size| (1..=16_384).contains(size))
    };
    let reorder = reorder(&mut bits, sub_layers);
    Some(SequenceParameters {
        id,
        profile,
        compatibility,
        constraints,
        level,
        temporal_layers: sub_layers + 1,
        temporal_id_nested,
        chroma_format: chroma_format as u8,
        luma_bits,
        chroma_bits,
        size: PictureSize {
            width: cropped(width, crop[0], crop[1], unit_width)?,
            height: cropped(height, crop[2], crop[3], unit_height)?,
            aspect: (1, 1),
        },
        reorder,
    })
}

/// `sps_max_num_reorder_pics` of the highest sub-layer, from `log2_max_pic_order_cnt_lsb_minus4` on (§7.3.2.2.1).
fn reorder(bits: &mut Bits<'_>, sub_layers: u8) -> Option<u32> {
    bits.unsigned()?;
    let of_each = bits.bit()?;
    let mut reorder = None;
    for _ in 0..=if of_each { sub_layers } else { 0 } {
        bits.unsigned()?;
        reorder = Some(bits.unsigned()?);
        bits.unsigned()?;
    }
    reorder.filter(|reorder| *reorder <= 16)
}

/// The rest of `profile_tier_level` (§7.3.3).
fn skip_sub_layers(bits: &mut Bits<'_>, sub_layers: u8) -> Option<()> {
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * usize::from(8 - sub_layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// `vps_video_parameter_set_id` of a video parameter set unit.
pub fn video_parameter_set_id(unit: &[u8]) -> Option<u32> {
    unit.get(2).map(|byte| u32::from(byte >> 4))
}

/// `pps_pic_parameter_set_id` of a picture parameter set unit.
pub fn picture_parameter_set_id(unit: &[u8]) -> Option<u32> {
    let raw = unescape(unit, 16);
    Bits::new(raw.get(2..)?).unsigned().filter(|id| *id < 64)
}

/// Codec string of ISO/IEC 14496-15 Annex E.3, such as `hvc1.1.6.L93.b0`.
pub fn codec_string(sps: &SequenceParameters) -> String {
    let space = ["", "A", "B", "C"][usize::from(sps.profile >> 6)];
    let tier = if sps.profile & 0x20 == 0 { 'L' } else { 'H' };
    let mut string =
        format!("hvc1.{space}{}.{:x}.{tier}{}", sps.profile & 0x1f, sps.compatibility.reverse_bits(), sps.level);
    let constraints = &sps.constraints.to_be_bytes()[2..];
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        // Writing to a String cannot fail.
        let _ = write!(string, ".{byte:x}");
    }
    string
}

/// The whole `hvc1` sample entry with its `hvcC` (ISO/IEC 14496-15 §8.3.3.1); lengths are four bytes.
pub fn sample_entry(parsed: &SequenceParameters, vps: &[Bytes], sps: &[Bytes], pps: &[Bytes]) -> Bytes {
    write_visual_entry(*b"hvc1", parsed.size, |out| {
        write_box(out, *b"hvcC", |out| {
            out.put_slice(&[1, parsed.profile]);
            out.put_u32(parsed.compatibility);
            out.put_slice(&parsed.constraints.to_be_bytes()[2..]);
            out.put_u8(parsed.level);
            out.put_u16(0xf000);
            out.put_u8(0xfc);
            out.put_u8(0xfc | parsed.chroma_format);
            out.put_u8(0xf8 | (parsed.luma_bits - 8));
            out.put_u8(0xf8 | (parsed.chroma_bits - 8));
            out.put_u16(0);
            out.put_u8((parsed.temporal_layers & 7) << 3 | u8::from(parsed.temporal_id_nested) << 2 | 3);
            out.put_u8(3);
            for (kind, units) in [(unit_type::VPS, vps), (unit_type::SPS, sps), (unit_type::PPS, pps)] {
                // array_completeness: all of them are here, as `hvc1` demands.
                out.put_u8(0x80 | kind);
                out.put_u16(units.len() as u16);
                for unit in units {
                    out.put_u16(unit.len() as u16);
                    out.put_slice(unit);
                }
            }
        });
    })
}

/// Length size and parameter set units of the body of an `hvcC` box; `None` when it is malformed.
pub fn parse_configuration(body: &[u8]) -> Option<(usize, Vec<Bytes>)> {
    let length_size = usize::from(*body.get(21)? & 3) + 1;
    let mut units = Vec::new();
    let mut at = 23;
    for _ in 0..*body.get(22)? {
        let count = u16::from_be_bytes([*body.get(at + 1)?, *body.get(at + 2)?]);
        at += 3;
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
            units.push(Bytes::copy_from_slice(body.get(at + 2..at + 2 + length)?));
            at += 2 + length;
        }
    }
    Some((length_size, units))
}
