//! RTP and RTCP packets made by hand, so that anything can be wrong with them.

use std::time::Duration;

/// Bytes of a packet's payload at most.
const PAYLOAD: usize = 1400;

/// A user data message of so many bytes (H.264 §D.2.7).
pub fn message(bytes: usize) -> Vec<u8> {
    let mut unit = vec![6, 5];
    let size = bytes + 16;
    unit.extend(std::iter::repeat_n(0xff, size / 255));
    unit.push((size % 255) as u8);
    unit.extend([0x33; 16]);
    unit.extend(std::iter::repeat_n(0x44, bytes));
    unit.push(0x80);
    unit
}

/// The payloads of a NAL unit (RFC 6184 §5.6, §5.8; RFC 7798 §4.4.1, §4.4.3), as parts, and whether each is the last.
pub fn payloads(unit: &[u8], codec: &str) -> Vec<(Vec<Vec<u8>>, bool)> {
    if unit.len() <= PAYLOAD {
        return vec![(vec![unit.to_vec()], true)];
    }
    let header = if codec == "H264" { 1 } else { 2 };
    let body = &unit[header..];
    let count = body.chunks(PAYLOAD - 3).count();
    body.chunks(PAYLOAD - 3)
        .enumerate()
        .map(|(at, chunk)| {
            let (start, end) = (u8::from(at == 0) << 7, u8::from(at + 1 == count) << 6);
            let head = if codec == "H264" {
                vec![unit[0] & 0xe0 | 0x1c, start | end | unit[0] & 0x1f]
            } else {
                vec![unit[0] & 0x81 | 49 << 1, unit[1], start | end | unit[0] >> 1 & 0x3f]
            };
            (vec![head, chunk.to_vec()], at + 1 == count)
        })
        .collect()
}

/// An RTP packet (RFC 3550 §5.1).
pub fn rtp(kind: u8, marker: bool, sequence: u16, time: u32, ssrc: u32, payload: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0x80, u8::from(marker) << 7 | kind];
    packet.extend(sequence.to_be_bytes());
    packet.extend(time.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    payload.iter().for_each(|part| packet.extend_from_slice(part));
    packet
}

/// A sender report (RFC 3550 §6.4.1).
pub fn report(ssrc: u32, at: Duration, time: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    let seconds = (at.as_secs() + 2_208_988_800) as u32;
    packet.extend(seconds.to_be_bytes());
    packet.extend(((u64::from(at.subsec_nanos()) << 32) / 1_000_000_000).to_be_bytes()[4..].iter());
    packet.extend(time.to_be_bytes());
    packet.extend([0; 8]);
    packet
}
