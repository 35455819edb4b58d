//! JPEG (ITU-T T.81) as far as a copy needs it: the size of the picture. Must not decode pictures.

/// Width and height from the first frame header (SOF marker, §B.2.2) of an image; `None` when there is none.
pub fn size(image: &[u8]) -> Option<(u32, u32)> {
    if image.get(..2)? != [0xff, 0xd8] {
        return None;
    }
    let mut at = 2;
    loop {
        // Any number of fill bytes may stand before a marker.
        while *image.get(at)? == 0xff && *image.get(at + 1)? == 0xff {
            at += 1;
        }
        if *image.get(at)? != 0xff {
            return None;
        }
        let marker = *image.get(at + 1)?;
        at += 2;
        match marker {
            // TEM and RST have no length.
            0x01 | 0xd0..=0xd7 => continue,
            // EOI, or entropy-coded data without a frame header before it.
            0xd9 | 0xda => return None,
            // SOF, without DHT, JPG and DAC, which lie between.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let header = image.get(at..at + 7)?;
                let height = u32::from(u16::from_be_bytes([header[3], header[4]]));
                let width = u32::from(u16::from_be_bytes([header[5], header[6]]));
                return (width > 0 && height > 0).then_some((width, height));
            }
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*image.get(at)?, *image.get(at + 1)?]));
        if length < 2 {
            return None;
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_header_tells_the_size() {
        let image = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xc0, 0, 17, 8, 1, 0xe0, 2, 0x80, 3];
        assert_eq!(size(&image), Some((640, 480)));
        assert_eq!(size(&image[..14]), None);
        assert_eq!(size(&[0xff, 0xd8, 0xff, 0xda, 0, 2]), None);
        assert_eq!(size(&[]), None);
    }
}
