//! What H.264 and H.265 have in common: network abstraction layer units, how they are laid out in a sample, and the bit reader
//! for parameter sets (ITU-T H.264 §7.2, H.265 §7.2). Must not know either codec's syntax.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

/// How NAL units lie in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Each behind its length in so many bytes, 1 to 4 (ISO/IEC 14496-15).
    LengthPrefixed(usize),
    /// Each behind a start code (Annex B of both standards): what FFmpeg passes on when it has no parameter sets.
    AnnexB,
}

/// The ranges of the NAL units in `sample`, without their lengths or start codes. `None` when they are not laid out so.
/// Empty units are left out.
pub fn split(sample: &[u8], layout: Layout) -> Option<Vec<Range<usize>>> {
    match layout {
        Layout::LengthPrefixed(size) => split_lengths(sample, size),
        Layout::AnnexB => split_start_codes(sample),
    }
}

fn split_lengths(sample: &[u8], size: usize) -> Option<Vec<Range<usize>>> {
    // Most pictures are one unit, or one behind a delimiter.
    let mut units = Vec::with_capacity(4);
    let mut at = 0;
    while at < sample.len() {
        let prefix = sample.get(at..at + size)?;
        let length = prefix.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        let start = at + size;
        let end = start.checked_add(length)?;
        if end > sample.len() {
            return None;
        }
        if length > 0 {
            units.push(start..end);
        }
        at = end;
    }
    Some(units)
}

fn split_start_codes(sample: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    while at + 3 <= sample.len() {
        if sample[at + 2] > 1 {
            // No start code can contain this byte.
            at += 3;
        } else if sample[at..at + 3] == [0, 0, 1] {
            if let Some(start) = open {
                push_trimmed(&mut units, sample, start..at);
            } else if sample[..at].iter().any(|byte| *byte != 0) {
                return None;
            }
            open = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    push_trimmed(&mut units, sample, open?..sample.len());
    Some(units)
}

/// Zero bytes before a start code are no part of the unit (`trailing_zero_8bits`): a unit never ends in zero.
fn push_trimmed(units: &mut Vec<Range<usize>>, sample: &[u8], unit: Range<usize>) {
    let length = sample[unit.clone()].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if length > 0 {
        units.push(unit.start..unit.start + length);
    }
}

/// The sample with only `kept` units (in order), each behind a four-byte length. A slice of `sample` where that will do: when
/// four-byte lengths are there already and nothing in the middle is left out.
pub fn assemble(sample: &Bytes, layout: Layout, kept: &[Range<usize>]) -> Bytes {
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return Bytes::new() };
    let contiguous = kept.windows(2).all(|pair| pair[0].end + 4 == pair[1].start);
    if layout == Layout::LengthPrefixed(4) && contiguous {
        return sample.slice(first.start - 4..last.end);
    }
    let mut out = BytesMut::with_capacity(kept.iter().map(|unit| unit.len() + 4).sum());
    for unit in kept {
        out.put_u32(unit.len() as u32);
        out.put_slice(&sample[unit.clone()]);
    }
    out.freeze()
}

/// At most `limit` bytes of a unit without the emulation prevention bytes: what the standards call the raw byte sequence
/// payload, with the unit's header.
pub fn unescape(unit: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len().min(limit));
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        if out.len() == limit {
            break;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Reads bits, most significant first. Every read gives `None` past the end.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// From the first bit of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits have been read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// One bit.
    pub fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Up to 64 bits as a number.
    pub fn bits(&mut self, count: u32) -> Option<u64> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u64::from(self.bit()?)))
    }

    /// Leaves out bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb number, `ue(v)` (H.264 §9.1).
    pub fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 32 {
                return None;
            }
        }
        u32::try_from((1_u64 << zeros) - 1 + self.bits(zeros)?).ok()
    }

    /// A signed Exp-Golomb number, `se(v)` (H.264 §9.1.1).
    pub fn signed(&mut self) -> Option<i32> {
        let code = i64::from(self.unsigned()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 0 { -magnitude } else { magnitude }).ok()
    }
}

/// Writes bits, most significant first.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are free in the last byte.
    free: u32,
}

impl BitWriter {
    /// One bit.
    pub fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.free;
        }
    }

    /// The lowest `count` bits of a number.
    pub fn bits(&mut self, value: u64, count: u32) {
        for shift in (0..count).rev() {
            self.bit(value >> shift & 1 == 1);
        }
    }

    /// An unsigned Exp-Golomb number, `ue(v)` (H.264 §9.1).
    pub fn unsigned(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let length = 64 - code.leading_zeros();
        self.bits(code, 2 * length - 1);
    }

    /// A signed Exp-Golomb number, `se(v)` (H.264 §9.1.1).
    pub fn signed(&mut self, value: i32) {
        let code = i64::from(value) * 2;
        self.unsigned(u32::try_from(if code > 0 { code - 1 } else { -code }).unwrap_or(u32::MAX - 1));
    }

    /// Whole bytes, wherever the last bit stands.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.free == 0 {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let free = self.free;
        self.bytes.reserve(bytes.len());
        for byte in bytes {
            if let Some(last) = self.bytes.last_mut() {
                *last |= byte >> (8 - free);
            }
            self.bytes.push(byte << free);
        }
    }

    /// Fills the last byte up with this bit.
    pub fn align(&mut self, bit: bool) {
        while self.free != 0 {
            self.bit(bit);
        }
    }

    /// What was written, the last byte filled up with zeros.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Puts emulation prevention bytes in: what [`unescape`] takes out.
pub fn escape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 64 + 4);
    let mut zeros = 0;
    for &byte in raw {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// The payload type and bytes of the messages of an SEI unit whose header is `header` bytes long (H.264 §7.3.2.3.1, the same
/// in H.265 §7.3.5); as many as lie in its first 1 KiB.
pub fn sei_payload_types(unit: &[u8], header: usize) -> Vec<u32> {
    let raw = unescape(unit, 1024);
    let mut types = Vec::new();
    let mut at = header;
    // The last byte is the stop bit.
    while at + 1 < raw.len() {
        let Some((kind, next)) = sei_number(&raw, at) else { break };
        let Some((size, next)) = sei_number(&raw, next) else { break };
        types.push(kind);
        at = next.saturating_add(size as usize);
    }
    types
}

fn sei_number(raw: &[u8], mut at: usize) -> Option<(u32, usize)> {
    let mut value = 0_u32;
    loop {
        let byte = *raw.get(at)?;
        at += 1;
        value = value.checked_add(u32::from(byte))?;
        if byte != 0xff {
            return Some((value, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_behind_lengths_and_start_codes() {
        let lengths = [0, 0, 0, 2, 9, 16, 0, 0, 0, 0, 0, 0, 0, 1, 5];
        assert_eq!(split(&lengths, Layout::LengthPrefixed(4)), Some(vec![4..6, 14..15]));
        assert_eq!(split(&lengths[..14], Layout::LengthPrefixed(4)), None, "cut short");
        assert_eq!(split(&[0, 1, 7], Layout::LengthPrefixed(2)), Some(vec![2..3]));
        let codes = [0, 0, 0, 1, 9, 16, 0, 0, 1, 5, 0, 0, 3, 1, 0, 0];
        assert_eq!(split(&codes, Layout::AnnexB), Some(vec![4..6, 9..14]));
        assert_eq!(split(&[1, 2, 3, 4], Layout::AnnexB), None);
        assert_eq!(split(&[1, 0, 0, 1, 5], Layout::AnnexB), None, "something stands before the first start code");
    }

    #[test]
    fn leading_units_are_left_out_without_a_copy() {
        let sample = Bytes::from_static(&[0, 0, 0, 1, 9, 0, 0, 0, 2, 5, 6, 0, 0, 0, 1, 12]);
        let layout = Layout::LengthPrefixed(4);
        let tail = assemble(&sample, layout, &[9..11, 15..16]);
        assert_eq!(tail, sample.slice(5..));
        assert_eq!(tail.as_ptr(), sample.slice(5..).as_ptr(), "a slice, no copy");
        assert_eq!(&assemble(&sample, layout, &[4..5, 15..16])[..], [0, 0, 0, 1, 9, 0, 0, 0, 1, 12]);
        assert_eq!(&assemble(&Bytes::from_static(&[0, 0, 1, 7]), Layout::AnnexB, &[3..4])[..], [0, 0, 0, 1, 7]);
    }

    #[test]
    fn exp_golomb_numbers_are_those_of_the_standard() {
        // 1, 010, 011, 00100, 00101 = ue 0, 1, 2, 3, 4
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        assert_eq!([0; 5].map(|_| bits.unsigned()), [0, 1, 2, 3, 4].map(Some));
        let mut bits = Bits::new(&bytes);
        assert_eq!([0; 5].map(|_| bits.signed()), [0, 1, -1, 2, -2].map(Some));
        assert_eq!(Bits::new(&[0; 8]).unsigned(), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = BitWriter::default();
        writer.bits(0b101, 3);
        writer.unsigned(7);
        writer.signed(-4);
        writer.signed(3);
        writer.bytes(&[0xab, 0xcd]);
        writer.align(true);
        let bytes = writer.finish();
        let mut bits = Bits::new(&bytes);
        assert_eq!(
            (bits.bits(3), bits.unsigned(), bits.signed(), bits.signed()),
            (Some(5), Some(7), Some(-4), Some(3))
        );
        assert_eq!(bits.bits(16), Some(0xabcd));
        while bits.position() < bytes.len() * 8 {
            assert_eq!(bits.bit(), Some(true));
        }
        let raw = [1, 0, 0, 0, 0, 1, 0, 0, 3, 0, 0, 4];
        assert_eq!(unescape(&escape(&raw), usize::MAX), raw);
        assert_eq!(split(&[&[0, 0, 1][..], &escape(&raw)].concat(), Layout::AnnexB).map(|units| units.len()), Some(1));
    }

    #[test]
    fn emulation_prevention_bytes_go() {
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3], 10), [1, 0, 0, 1, 0, 0]);
        assert_eq!(unescape(&[1, 2, 3], 2), [1, 2]);
    }

    #[test]
    fn sei_messages_are_told_apart() {
        assert_eq!(sei_payload_types(&[6, 5, 2, 1, 1, 6, 1, 0x80, 0x80], 1), [5, 6]);
        assert_eq!(sei_payload_types(&[6, 0xff, 1, 0, 0x80], 1), [256]);
    }
}
