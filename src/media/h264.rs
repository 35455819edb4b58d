//! H.264 (ITU-T H.264) as far as a copy needs it: parameter sets, random access points, where a picture begins, and the
//! `avc1` sample entry (ISO/IEC 14496-15 §5). Must not decode pictures.

use bytes::{BufMut as _, Bytes};

use super::fmp4::boxes::write_box;
use super::nal::{Bits, sei_payload_types, unescape};
use super::visual::{PictureSize, write_visual_entry};

/// `nal_unit_type` values (Table 7-1).
pub mod unit_type {
    /// Slice of another than an IDR picture.
    pub const SLICE: u8 = 1;
    /// Slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 9;
    /// Filler data.
    pub const FILLER: u8 = 12;
}

/// The type of a unit.
pub fn unit_type_of(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// Whether a unit carries picture data.
pub const fn is_slice(unit_type: u8) -> bool {
    matches!(unit_type, 1..=5)
}

/// Whether a unit makes its access unit one where decoding can start: an IDR slice, or a recovery point SEI message
/// (payload type 6).
pub fn is_random_access(unit: &[u8]) -> bool {
    match unit_type_of(unit) {
        unit_type::IDR => true,
        unit_type::SEI => sei_payload_types(unit, 1).contains(&6),
        _ => false,
    }
}

/// Whether a slice begins a picture: `first_mb_in_slice` is 0.
pub fn begins_picture(slice: &[u8]) -> bool {
    // ue(v) 0 is one set bit.
    slice.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

/// What is read of a sequence parameter set (§7.3.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceParameters {
    /// `seq_parameter_set_id`.
    pub id: u32,
    /// `profile_idc`.
    pub profile: u8,
    /// The `constraint_set` flags and reserved bits as one byte.
    pub constraints: u8,
    /// `level_idc`.
    pub level: u8,
    /// `chroma_format_idc`.
    pub chroma_format: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// Cropped size and sample aspect ratio.
    pub size: PictureSize,
    /// How many pictures at most stand before another in decoding order and behind it when shown (`max_num_reorder_frames`);
    /// `None` where the set does not say.
    pub reorder: Option<u32>,
    /// What slices depend on.
    pub slices: SliceSyntax,
}

/// What the form of a slice depends on, as far as the sequence says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceSyntax {
    /// Bits of `frame_num`.
    pub number_bits: u32,
    /// How pictures are put into the order of showing.
    pub order: PictureOrder,
    /// `max_num_ref_frames`.
    pub references: u32,
    /// `frame_mbs_only_flag`: no interlaced pictures.
    pub frames_only: bool,
    /// Coded size in macroblocks.
    pub blocks: (u32, u32),
    /// Whether the set holds scaling matrices.
    pub matrices: bool,
}

/// `pic_order_cnt_type` (§8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOrder {
    /// Type 0: a number of so many bits in every slice.
    Numbered(u32),
    /// Type 1: by a cycle that the set describes.
    Cyclic,
    /// Type 2: as they are decoded.
    Decoded,
}

/// Reads a sequence parameter set unit; `None` when it is malformed.
pub fn parse_sequence_parameters(unit: &[u8]) -> Option<SequenceParameters> {
    let raw = unescape(unit, 1024);
    let mut bits = Bits::new(raw.get(1..)?);
    let profile = bits.bits(8)? as u8;
    let constraints = bits.bits(8)? as u8;
    let level = bits.bits(8)? as u8;
    let id = bits.unsigned().filter(|id| *id < 32)?;
    let (mut chroma_format, mut luma_bits, mut chroma_bits, mut separate_planes) = (1, 8, 8, false);
    let mut matrices = false;
    if is_high(profile) {
        chroma_format = bits.unsigned().filter(|format| *format <= 3)?;
        if chroma_format == 3 {
            separate_planes = bits.bit()?;
        }
        luma_bits = 8 + bits.unsigned().filter(|bits| *bits <= 6)? as u8;
        chroma_bits = 8 + bits.unsigned().filter(|bits| *bits <= 6)? as u8;
        bits.bit()?;
        matrices = bits.bit()?;
        if matrices {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    // Both logarithms are at most 12, and 4 stands for 0 (§7.4.2.1.1).
    let logarithm = |code: Option<u32>| code.filter(|code| *code <= 12).map(|code| code + 4);
    let number_bits = logarithm(bits.unsigned())?;
    let order = match bits.unsigned()? {
        0 => PictureOrder::Numbered(logarithm(bits.unsigned())?),
        1 => {
            bits.bit()?;
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.unsigned().filter(|count| *count <= 255)? {
                bits.signed()?;
            }
            PictureOrder::Cyclic
        }
        _ => PictureOrder::Decoded,
    };
    let references = bits.unsigned()?;
    bits.bit()?;
    let width_in_blocks = bits.unsigned()?.checked_add(1)?;
    let height_in_units = bits.unsigned()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.bit()?;
    }
    bits.bit()?;
    let lines = if frames_only { 1 } else { 2 };
    let mut crop = [0_u32; 4];
    if bits.bit()? {
        for side in &mut crop {
            *side = bits.unsigned()?;
        }
    }
    let (unit_width, unit_height) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2 * lines),
        (false, 2) => (2, lines),
        _ => (1, lines),
    };
    let cropped = |blocks: u32, per_block: u32, before: u32, after: u32, unit: u32| {
        let coded = blocks.checked_mul(per_block)?;
        coded.checked_sub(before.checked_add(after)?.checked_mul(unit)?).filter(|size| (1..=16_384).contains(size))
    };
    let mut size = PictureSize {
        width: cropped(width_in_blocks, 16, crop[0], crop[1], unit_width)?,
        height: cropped(height_in_units, 16 * lines, crop[2], crop[3], unit_height)?,
        aspect: (1, 1),
    };
    // Baseline has no pictures that wait, and with type 2 the order of decoding is the order of showing (§7.4.2.1.1).
    let mut reorder = (profile == 66 || order == PictureOrder::Decoded).then_some(0);
    if bits.bit()? {
        if bits.bit()? {
            size.aspect = sample_aspect(&mut bits)?;
        }
        // What is wrong in here must not make the camera one that cannot be shown.
        reorder = reorder.or_else(|| usability_reorder(&mut bits));
    }
    Some(SequenceParameters {
        id,
        profile,
        constraints,
        level,
        chroma_format: chroma_format as u8,
        luma_bits,
        chroma_bits,
        size,
        reorder,
        slices: SliceSyntax {
            number_bits,
            order,
            references,
            frames_only,
            blocks: (width_in_blocks, height_in_units.checked_mul(lines)?),
            matrices,
        },
    })
}

/// `max_num_reorder_frames` of video usability information (§E.1.1), whose aspect ratio has been read.
fn usability_reorder(bits: &mut Bits<'_>) -> Option<u32> {
    if bits.bit()? {
        bits.bit()?;
    }
    if bits.bit()? {
        bits.skip(4)?;
        if bits.bit()? {
            bits.skip(24)?;
        }
    }
    if bits.bit()? {
        bits.unsigned()?;
        bits.unsigned()?;
    }
    if bits.bit()? {
        bits.skip(65)?;
    }
    let network_abstraction = bits.bit()?;
    if network_abstraction {
        skip_reference_decoder(bits)?;
    }
    let video_coding = bits.bit()?;
    if video_coding {
        skip_reference_decoder(bits)?;
    }
    if network_abstraction || video_coding {
        bits.bit()?;
    }
    bits.bit()?;
    if !bits.bit()? {
        return None;
    }
    bits.bit()?;
    for _ in 0..4 {
        bits.unsigned()?;
    }
    // The decoded picture buffer holds no more than 16 (§A.3.1).
    bits.unsigned().filter(|reorder| *reorder <= 16)
}

/// Hypothetical reference decoder parameters (§E.1.2).
fn skip_reference_decoder(bits: &mut Bits<'_>) -> Option<()> {
    let buffers = bits.unsigned().filter(|count| *count < 32)?;
    bits.skip(8)?;
    for _ in 0..=buffers {
        bits.unsigned()?;
        bits.unsigned()?;
        bits.bit()?;
    }
    bits.skip(20)
}

/// Profiles with the chroma format in the parameter set (§7.3.2.1.1).
const fn is_high(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(bits.signed()?) + 256) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Table E-1.
fn sample_aspect(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    const TABLE: [(u32, u32); 16] = [
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    Some(match bits.bits(8)? {
        index @ 1..=16 => TABLE[index as usize - 1],
        255 => match (bits.bits(16)? as u32, bits.bits(16)? as u32) {
            (0, _) | (_, 0) => (1, 1),
            ratio => ratio,
        },
        _ => (1, 1),
    })
}

/// `pic_parameter_set_id` of a picture parameter set unit.
pub fn picture_parameter_set_id(unit: &[u8]) -> Option<u32> {
    let raw = unescape(unit, 16);
    Bits::new(raw.get(1..)?).unsigned().filter(|id| *id < 256)
}

/// Codec string of RFC 6381 §3.3: `avc1.` and profile, constraints and level in hex.
pub fn codec_string(sps: &SequenceParameters) -> String {
    format!("avc1.{:02x}{:02x}{:02x}", sps.profile, sps.constraints, sps.level)
}

/// The whole `avc1` sample entry with its `avcC` (ISO/IEC 14496-15 §5.3.3.1); lengths are four bytes.
pub fn sample_entry(parsed: &SequenceParameters, sps: &[Bytes], pps: &[Bytes]) -> Bytes {
    write_visual_entry(*b"avc1", parsed.size, |out| {
        write_box(out, *b"avcC", |out| {
            out.put_slice(&[1, parsed.profile, parsed.constraints, parsed.level, 0xfc | 3]);
            out.put_u8(0xe0 | (sps.len() as u8 & 0x1f));
            put_units(out, sps);
            out.put_u8(pps.len() as u8);
            put_units(out, pps);
            if matches!(parsed.profile, 100 | 110 | 122 | 144) {
                out.put_u8(0xfc | parsed.chroma_format);
                out.put_u8(0xf8 | (parsed.luma_bits - 8));
                out.put_u8(0xf8 | (parsed.chroma_bits - 8));
                out.put_u8(0);
            }
        });
    })
}

fn put_units(out: &mut Vec<u8>, units: &[Bytes]) {
    for unit in units {
        out.put_u16(unit.len() as u16);
        out.put_slice(unit);
    }
}

/// Length size and parameter set units of the body of an `avcC` box; `None` when it is malformed.
pub fn parse_configuration(body: &[u8]) -> Option<(usize, Vec<Bytes>)> {
    let length_size = usize::from(*body.get(4)? & 3) + 1;
    let mut units = Vec::new();
    let mut at = 6;
    let mut read = |count: u8, at: &mut usize| {
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([*body.get(*at)?, *body.get(*at + 1)?]));
            units.push(Bytes::copy_from_slice(body.get(*at + 2..*at + 2 + length)?));
            *at += 2 + length;
        }
        Some(())
    };
    read(*body.get(5)? & 0x1f, &mut at)?;
    let count = *body.get(at)?;
    at += 1;
    read(count, &mut at)?;
    Some((length_size, units))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 640×480, constrained baseline, as x264 writes it.
    const SPS: [u8; 27] = [
        0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0xc0, 0x5a, 0x83, 0x03, 0x03, 0x52, 0x80, 0x00, 0x00, 0x03,
        0x00, 0x80, 0x00, 0x00, 0x19, 0x47, 0x8b, 0x17, 0x50,
    ];
    const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

    #[test]
    fn a_sequence_parameter_set_gives_size_profile_and_codec_string() {
        let sps = parse_sequence_parameters(&SPS).expect("valid");
        assert_eq!((sps.size.width, sps.size.height, sps.size.aspect), (640, 480, (1, 1)));
        assert_eq!(codec_string(&sps), "avc1.42c01e");
        assert_eq!(parse_sequence_parameters(&SPS[..8]), None);
    }

    #[test]
    fn a_sample_entry_gives_back_what_it_was_made_of() {
        let sps = parse_sequence_parameters(&SPS).expect("valid");
        let entry = sample_entry(&sps, &[Bytes::from_static(&SPS)], &[Bytes::from_static(&PPS)]);
        let at = entry.windows(4).position(|kind| kind == b"avcC").expect("has an avcC");
        let (length_size, units) = parse_configuration(&entry[at + 4..]).expect("valid");
        assert_eq!(length_size, 4);
        assert_eq!(units, [Bytes::from_static(&SPS), Bytes::from_static(&PPS)]);
        assert_eq!(picture_parameter_set_id(&PPS), Some(0));
    }

    #[test]
    fn random_access_is_an_idr_or_a_recovery_point() {
        assert!(is_random_access(&[0x65, 0x88]));
        assert!(is_random_access(&[6, 6, 1, 0xc4, 0x80]));
        assert!(!is_random_access(&[6, 5, 1, 0xc4, 0x80]));
        assert!(!is_random_access(&[0x41, 0x9a]));
        assert!(begins_picture(&[0x65, 0x88]));
        assert!(!begins_picture(&[0x65, 0x40]));
    }
}
