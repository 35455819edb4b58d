//! Hostile bytes as parameter sets and pictures of H.264 and H.265, without the box around them that the stream has.

use bytes::Bytes;
use camera_operator::media::nal::{self, Layout};
use camera_operator::media::{h264, h265};

/// The first byte says how the units lie.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let layout = if first % 5 == 0 { Layout::AnnexB } else { Layout::LengthPrefixed(usize::from(first % 5)) };
    let sample = Bytes::copy_from_slice(rest);
    if let Some(units) = nal::split(&sample, layout) {
        let kept: usize = units.iter().map(|unit| unit.len() + 4).sum();
        assert_eq!(nal::assemble(&sample, layout, &units).len(), kept);
        units.into_iter().for_each(|unit| read_unit(&rest[unit]));
    }
    read_unit(rest);
    if let Some((size, sets)) = h264::parse_configuration(rest) {
        assert!((1..=4).contains(&size));
        sets.iter().for_each(|set| read_unit(set));
    }
    if let Some((size, sets)) = h265::parse_configuration(rest) {
        assert!((1..=4).contains(&size));
        sets.iter().for_each(|set| read_unit(set));
    }
}

fn read_unit(unit: &[u8]) {
    let _ = (h264::unit_type_of(unit), h265::unit_type_of(unit));
    let _ = (h264::is_random_access(unit), h265::is_random_access(unit));
    let _ = (h264::begins_picture(unit), h265::begins_picture(unit));
    let _ = (h264::picture_parameter_set_id(unit), h265::picture_parameter_set_id(unit));
    let _ = h265::video_parameter_set_id(unit);
    let _ = (nal::sei_payload_types(unit, 1), nal::sei_payload_types(unit, 2));
    let set = Bytes::copy_from_slice(unit);
    if let Some(parsed) = h264::parse_sequence_parameters(unit) {
        assert!(!h264::codec_string(&parsed).is_empty());
        assert!(h264::sample_entry(&parsed, std::slice::from_ref(&set), &[]).len() > unit.len().min(1));
    }
    if let Some(parsed) = h265::parse_sequence_parameters(unit) {
        assert!(!h265::codec_string(&parsed).is_empty());
        assert!(h265::sample_entry(&parsed, &[], std::slice::from_ref(&set), &[]).len() > unit.len().min(1));
    }
}
