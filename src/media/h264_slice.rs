//! Pictures of one H.264 encoder made to fit the parameter sets of another (ITU-T H.264 §7.3.3): slice headers are written anew
//! and what follows them is moved, bit by bit where it must be. For a slate in the place of a camera whose parameter sets are
//! told once and for all. What cannot be made to fit is refused with the reason. Must not encode or decode pictures.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::frame::{Codec, TrackConfiguration};
use super::h264::{
    PictureOrder, SequenceParameters, is_slice, parse_configuration, parse_sequence_parameters, unit_type, unit_type_of,
};
use super::nal::{BitWriter, Bits, Layout, escape, split, unescape};
use super::visual::{VISUAL_CHILDREN, entry_child};

/// What is read of a picture parameter set (§7.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the flags of the standard")]
struct PictureParameters {
    id: u32,
    sequence: u32,
    /// `entropy_coding_mode_flag`.
    arithmetic: bool,
    /// `bottom_field_pic_order_in_frame_present_flag`.
    field_order: bool,
    /// More than one slice group.
    groups: bool,
    /// `weighted_pred_flag`.
    weighted: bool,
    /// Quantizer that slices begin with, before their own difference.
    quantizer: i32,
    /// Of both chroma planes, what is added to the quantizer.
    chroma: [i32; 2],
    /// `deblocking_filter_control_present_flag`.
    deblocking: bool,
    constrained_intra: bool,
    /// `redundant_pic_cnt_present_flag`.
    redundant: bool,
    /// `transform_8x8_mode_flag`.
    large_transform: bool,
    matrices: bool,
}

/// Position of the stop bit of a raw byte sequence payload, in bits.
fn stop_bit(raw: &[u8]) -> Option<usize> {
    let last = raw.iter().rposition(|byte| *byte != 0)?;
    Some(last * 8 + 7 - raw[last].trailing_zeros() as usize)
}

fn parse_picture_parameters(unit: &[u8]) -> Option<PictureParameters> {
    let raw = unescape(unit, 4096);
    let end = stop_bit(&raw)?;
    let mut bits = Bits::new(&raw);
    bits.skip(8)?;
    let mut set = PictureParameters {
        id: bits.unsigned()?,
        sequence: bits.unsigned()?,
        arithmetic: bits.bit()?,
        field_order: bits.bit()?,
        groups: bits.unsigned()? > 0,
        weighted: false,
        quantizer: 26,
        chroma: [0; 2],
        deblocking: false,
        constrained_intra: false,
        redundant: false,
        large_transform: false,
        matrices: false,
    };
    if set.groups {
        // What follows has another form, and nobody asks for it.
        return Some(set);
    }
    bits.unsigned()?;
    bits.unsigned()?;
    set.weighted = bits.bit()?;
    bits.skip(2)?;
    set.quantizer += bits.signed()?;
    bits.signed()?;
    set.chroma = [bits.signed()?; 2];
    set.deblocking = bits.bit()?;
    set.constrained_intra = bits.bit()?;
    set.redundant = bits.bit()?;
    if bits.position() < end {
        set.large_transform = bits.bit()?;
        set.matrices = bits.bit()?;
        if !set.matrices {
            set.chroma[1] = bits.signed()?;
        }
    }
    Some(set)
}

/// A picture parameter set with the sequence parameter set that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sets {
    sequence: SequenceParameters,
    picture: PictureParameters,
}

/// Every pair that a configuration holds.
fn sets(configuration: &TrackConfiguration) -> Vec<Sets> {
    let body = entry_child(&configuration.sample_entry, VISUAL_CHILDREN, *b"avcC");
    let Some((_, units)) = body.and_then(|body| parse_configuration(&body)) else { return Vec::new() };
    let of = |kind: u8| units.iter().filter(move |unit| unit_type_of(unit) == kind);
    let sequences: Vec<_> = of(unit_type::SPS).filter_map(|unit| parse_sequence_parameters(unit)).collect();
    let pictures = of(unit_type::PPS).filter_map(|unit| parse_picture_parameters(unit));
    let pair = |picture: PictureParameters| {
        let sequence = sequences.iter().find(|sequence| sequence.id == picture.sequence)?;
        Some(Sets { sequence: sequence.clone(), picture })
    };
    pictures.filter_map(pair).collect()
}

/// What an encoder must be told so that its pictures can be made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tools {
    /// Arithmetic coding (CABAC) instead of variable-length codes.
    pub arithmetic: bool,
    /// Transforms of 8×8.
    pub large_transform: bool,
    /// What is added to the quantizer for chroma.
    pub chroma_offset: i32,
    /// Constrained intra prediction.
    pub constrained_intra: bool,
}

impl Default for Tools {
    fn default() -> Self {
        Self { arithmetic: true, large_transform: true, chroma_offset: 0, constrained_intra: false }
    }
}

/// What an encoder must be told for pictures that are to fit a camera's configuration.
///
/// # Errors
/// Why nothing can be made to fit: half a sentence about the camera.
pub fn tools(camera: &TrackConfiguration) -> Result<Tools, &'static str> {
    if camera.codec != Codec::H264 {
        return Err("its pictures are not H.264");
    }
    let mut refusal = "its parameter sets cannot be read";
    for Sets { sequence, picture } in sets(camera) {
        match refuse(&sequence, &picture) {
            Some(reason) => refusal = reason,
            None => {
                return Ok(Tools {
                    arithmetic: picture.arithmetic,
                    large_transform: picture.large_transform,
                    chroma_offset: picture.chroma[0],
                    constrained_intra: picture.constrained_intra,
                });
            }
        }
    }
    Err(refusal)
}

/// Why no picture can be made to fit these sets.
fn refuse(sequence: &SequenceParameters, picture: &PictureParameters) -> Option<&'static str> {
    let slices = &sequence.slices;
    Some(match () {
        () if !slices.frames_only => "its pictures may be interlaced",
        () if (sequence.chroma_format, sequence.luma_bits, sequence.chroma_bits) != (1, 8, 8) => {
            "its pictures are not 4:2:0 with 8 bits"
        }
        () if slices.matrices || picture.matrices => "it uses scaling matrices of its own",
        () if slices.order == PictureOrder::Cyclic => "its pictures are ordered in cycles",
        () if slices.references == 0 => "its pictures may not refer to others",
        () if picture.groups => "it uses slice groups",
        () if picture.chroma[0] != picture.chroma[1] => "it treats the two colour planes differently",
        () => return None,
    })
}

/// Makes the pictures of an encoder fit a camera's parameter sets.
#[derive(Debug, Clone)]
pub struct Fit {
    source: Sets,
    target: Sets,
    /// Tells consecutive IDR pictures apart (`idr_pic_id`).
    instant: u32,
    /// Pictures since the last IDR picture.
    number: u32,
}

impl Fit {
    /// From what an encoder writes, which was told the camera's [`tools`], to what the camera writes.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn new(encoder: &TrackConfiguration, camera: &TrackConfiguration) -> Result<Self, &'static str> {
        tools(camera)?;
        let target = sets(camera).into_iter().find(|sets| refuse(&sets.sequence, &sets.picture).is_none());
        let (Some(target), Some(source)) = (target, sets(encoder).into_iter().next()) else {
            return Err("its parameter sets cannot be read");
        };
        let (one, other) = (&source.picture, &target.picture);
        if source.sequence.slices.blocks != target.sequence.slices.blocks {
            return Err("its pictures have an unusual size");
        }
        let same = one.arithmetic == other.arithmetic
            && one.large_transform == other.large_transform
            && one.chroma == other.chroma
            && one.constrained_intra == other.constrained_intra;
        if !same || refuse(&source.sequence, one).is_some() {
            return Err("no encoder here writes what it writes");
        }
        Ok(Self { source, target, instant: 0, number: 0 })
    }

    /// The picture as the camera would have written it: units behind four-byte lengths, slices only. `None` for what is no
    /// picture of that encoder.
    pub fn apply(&mut self, picture: &[u8]) -> Option<Bytes> {
        let units = split(picture, Layout::LengthPrefixed(4))?;
        let slices: Vec<&[u8]> = units.into_iter().map(|unit| &picture[unit]).filter(is_picture).collect();
        if slices.iter().any(|slice| unit_type_of(slice) == unit_type::IDR) {
            self.number = 0;
            self.instant = (self.instant + 1) % 65_536;
        } else {
            self.number = self.number.wrapping_add(1);
        }
        let mut out = BytesMut::with_capacity(picture.len() + 64);
        for slice in slices {
            let written = self.slice(slice)?;
            out.put_u32(written.len() as u32);
            out.put_slice(&written);
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn slice(&self, unit: &[u8]) -> Option<Vec<u8>> {
        let raw = unescape(unit, usize::MAX);
        let end = stop_bit(&raw)?;
        let mut bits = Bits::new(&raw);
        bits.skip(8)?;
        let header = Header::read(raw[0], &self.source, &mut bits)?;
        let mut out = BitWriter::default();
        out.bits(u64::from(raw[0]), 8);
        header.write(raw[0], &self.target, self.instant, self.number, &mut out);
        if self.target.picture.arithmetic {
            // Data of arithmetic coding begins at a byte (§7.3.4).
            out.align(true);
            out.bytes(raw.get(bits.position().div_ceil(8)..=end / 8)?);
        } else {
            while !bits.position().is_multiple_of(8) && bits.position() <= end {
                out.bit(bits.bit()?);
            }
            if bits.position() <= end {
                // Behind the stop bit there are zeros only, which may stand at the end of the last byte.
                out.bytes(&raw[bits.position() / 8..=end / 8]);
            }
        }
        let mut written = out.finish();
        while written.last() == Some(&0) {
            written.pop();
        }
        Some(escape(&written))
    }
}

fn is_picture(unit: &&[u8]) -> bool {
    is_slice(unit_type_of(unit))
}

/// What a slice says that does not follow from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    first_block: u32,
    /// It refers to other pictures (P); otherwise it does not (I).
    predicted: bool,
    /// `cabac_init_idc`.
    initial: u32,
    quantizer: i32,
    /// Without `slice_alpha_c0_offset_div2` and `slice_beta_offset_div2`: `disable_deblocking_filter_idc`.
    deblocking: (u32, i32, i32),
}

impl Header {
    /// Reads a slice header (§7.3.3) of what our own encoder writes: one picture that is referred to, whole frames.
    fn read(unit: u8, sets: &Sets, bits: &mut Bits<'_>) -> Option<Self> {
        let (slices, picture) = (&sets.sequence.slices, &sets.picture);
        let is_idr = unit & 0x1f == unit_type::IDR;
        let first_block = bits.unsigned()?;
        let predicted = match bits.unsigned()? % 5 {
            0 => true,
            2 => false,
            _ => return None,
        };
        bits.unsigned()?;
        bits.skip(slices.number_bits as usize)?;
        if is_idr {
            bits.unsigned()?;
        }
        if let PictureOrder::Numbered(count) = slices.order {
            bits.skip(count as usize)?;
            if picture.field_order {
                bits.signed()?;
            }
        }
        if picture.redundant {
            bits.unsigned()?;
        }
        if predicted {
            if bits.bit()? {
                // More than one picture to refer to would be numbered in the data.
                bits.unsigned().filter(|last| *last == 0)?;
            }
            if bits.bit()? {
                while bits.unsigned()? != 3 {
                    bits.unsigned()?;
                }
            }
            if picture.weighted {
                return None;
            }
        }
        if unit >> 5 & 3 != 0 {
            if is_idr {
                bits.skip(2)?;
            } else if bits.bit()? {
                // Memory management (§7.3.3.3), which nothing that refers to one picture needs.
                return None;
            }
        }
        let initial = if picture.arithmetic && predicted { bits.unsigned()? } else { 0 };
        let quantizer = picture.quantizer + bits.signed()?;
        let mut deblocking = (0, 0, 0);
        if picture.deblocking {
            deblocking.0 = bits.unsigned()?;
            if deblocking.0 != 1 {
                (deblocking.1, deblocking.2) = (bits.signed()?, bits.signed()?);
            }
        }
        Some(Self { first_block, predicted, initial, quantizer, deblocking })
    }

    /// Writes it as these sets want it.
    fn write(&self, unit: u8, sets: &Sets, instant: u32, number: u32, out: &mut BitWriter) {
        let (slices, picture) = (&sets.sequence.slices, &sets.picture);
        let is_idr = unit & 0x1f == unit_type::IDR;
        out.unsigned(self.first_block);
        out.unsigned(if self.predicted { 0 } else { 2 });
        out.unsigned(picture.id);
        out.bits(u64::from(number), slices.number_bits);
        if is_idr {
            out.unsigned(instant);
        }
        if let PictureOrder::Numbered(count) = slices.order {
            // Two fields a picture.
            out.bits(u64::from(number) * 2, count);
            if picture.field_order {
                out.signed(0);
            }
        }
        if picture.redundant {
            out.unsigned(0);
        }
        if self.predicted {
            // One picture to refer to, the one before.
            out.bit(true);
            out.unsigned(0);
            out.bit(false);
            if picture.weighted {
                // Weights of one for it (§7.3.3.2).
                out.unsigned(0);
                out.unsigned(0);
                out.bits(0, 2);
            }
        }
        if unit >> 5 & 3 != 0 {
            out.bits(0, if is_idr { 2 } else { 1 });
        }
        if picture.arithmetic && self.predicted {
            out.unsigned(self.initial);
        }
        out.signed(self.quantizer - picture.quantizer);
        if picture.deblocking {
            out.unsigned(self.deblocking.0);
            if self.deblocking.0 != 1 {
                out.signed(self.deblocking.1);
                out.signed(self.deblocking.2);
            }
        }
    }
}
