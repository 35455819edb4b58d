//! What is made of a camera's pictures: outputs as they are written → as a plan has them, defaults filled in. Pure. Must not
//! decide whether they run.

use super::defaults;
use super::transcode::{Encoder, Preset, Rendition, Transcode};
use super::unit::{ConfigMapKey, Fallback, Hls, Mjpeg, ObjectKey, Push, PushAudio};
use super::values::{bytes, milliseconds, reconnect, secret_key};
use crate::api::Quantity;
use crate::api::reference::SecretKeyReference;
use crate::api::stream::{
    self, HlsOutput, HlsRendition, MjpegOutput, PushOutput, StreamAudio, StreamAudioCodec, Video, VideoCodec,
    VideoEncoder, VideoPreset,
};
use crate::media::frame::Codec;

/// A stream as HLS, by copy and without a slate.
pub(super) fn hls(output: &HlsOutput, camera: ObjectKey, audio: &StreamAudio) -> Hls {
    let codec = audio.codec.unwrap_or_default();
    Hls {
        camera,
        segment_ms: milliseconds(output.segment_duration.as_ref(), defaults::SEGMENT_DURATION),
        // The schema holds it between 3 and 60.
        playlist_segments: output.playlist_segments.unwrap_or(defaults::PLAYLIST_SEGMENTS).unsigned_abs(),
        low_latency: output.low_latency.unwrap_or(defaults::LOW_LATENCY),
        part_ms: milliseconds(output.part_duration.as_ref(), defaults::PART_DURATION),
        audio: codec != StreamAudioCodec::None,
        audio_bit_rate: (codec == StreamAudioCodec::Aac)
            .then(|| bytes(audio.bit_rate.as_ref(), defaults::AUDIO_BIT_RATE)),
        fallback: None,
        video: None,
    }
}

/// How pictures are encoded; `None` where they are not. Without named renditions there is one, of what `video` says.
pub(super) fn transcode(video: Option<&Video>, renditions: &[HlsRendition]) -> Option<Transcode> {
    let video = video.filter(|video| video.encodes())?;
    let bit_rate = |quantity: &Option<Quantity>| quantity.as_ref().map(Quantity::value);
    let mut renditions: Vec<Rendition> = renditions
        .iter()
        .map(|rendition| Rendition {
            name: rendition.name.clone(),
            width: rendition.width,
            height: rendition.height,
            bit_rate: bit_rate(&rendition.bit_rate),
            crf: rendition.crf,
        })
        .collect();
    if renditions.is_empty() {
        renditions.push(Rendition {
            name: String::new(),
            width: video.width,
            height: video.height,
            bit_rate: bit_rate(&video.bit_rate),
            crf: video.crf,
        });
    }
    Some(Transcode {
        codec: if video.codec == Some(VideoCodec::H265) { Codec::H265 } else { Codec::H264 },
        frames_per_second: video.frames_per_second,
        preset: preset(video.preset.unwrap_or_default()),
        key_frame_interval_ms: milliseconds(video.key_frame_interval.as_ref(), defaults::KEY_FRAME_INTERVAL),
        threads: video.threads,
        encoder: match video.encoder.unwrap_or_default() {
            VideoEncoder::Auto => Encoder::Auto,
            VideoEncoder::Software => Encoder::Software,
            VideoEncoder::Vaapi => Encoder::Vaapi,
            VideoEncoder::Nvenc => Encoder::Nvenc,
            VideoEncoder::V4l2M2m => Encoder::V4l2M2m,
        },
        renditions,
    })
}

const fn preset(preset: VideoPreset) -> Preset {
    match preset {
        VideoPreset::UltraFast => Preset::UltraFast,
        VideoPreset::SuperFast => Preset::SuperFast,
        VideoPreset::VeryFast => Preset::VeryFast,
        VideoPreset::Faster => Preset::Faster,
        VideoPreset::Fast => Preset::Fast,
        VideoPreset::Medium => Preset::Medium,
        VideoPreset::Slow => Preset::Slow,
        VideoPreset::Slower => Preset::Slower,
        VideoPreset::VerySlow => Preset::VerySlow,
    }
}

/// A stream as Motion JPEG.
pub(super) fn mjpeg(output: &MjpegOutput, camera: ObjectKey) -> Mjpeg {
    Mjpeg {
        camera,
        frames_per_second: output.frames_per_second.unwrap_or(defaults::MJPEG_FRAMES_PER_SECOND),
        quality: quantizer(output.quality.unwrap_or(defaults::MJPEG_QUALITY)),
        width: output.width,
    }
}

/// A push, by copy and without a slate.
pub(super) fn push(output: &PushOutput, camera: ObjectKey, audio: &StreamAudio) -> Push {
    let secret =
        |reference: &Option<SecretKeyReference>| reference.as_ref().map(|reference| secret_key(reference, &camera));
    Push {
        url: output.url.clone(),
        stream_key: secret(&output.stream_key_secret_ref),
        passphrase: secret(&output.passphrase_secret_ref),
        audio: match audio.codec.unwrap_or_default() {
            StreamAudioCodec::Auto => PushAudio::Auto,
            StreamAudioCodec::Copy => PushAudio::Copy,
            StreamAudioCodec::Aac => PushAudio::Aac,
            StreamAudioCodec::None => PushAudio::None,
        },
        audio_bit_rate: bytes(audio.bit_rate.as_ref(), defaults::AUDIO_BIT_RATE),
        video: None,
        reconnect: reconnect(output.reconnect.as_ref()),
        camera,
        fallback: None,
    }
}

/// What is shown while a camera is away.
pub(super) fn fallback(wanted: &stream::Fallback, camera: &ObjectKey) -> Fallback {
    Fallback {
        after_ms: milliseconds(wanted.after.as_ref(), defaults::FALLBACK_AFTER),
        title: camera.name.clone(),
        text: wanted.text.clone().unwrap_or_else(|| defaults::FALLBACK_TEXT.to_owned()),
        image: fallback_image(wanted, &camera.namespace),
    }
}

/// Where the picture of a fallback is, if it has one.
pub(super) fn fallback_image(fallback: &stream::Fallback, namespace: &str) -> Option<ConfigMapKey> {
    let reference = &fallback.image.as_ref()?.config_map_ref;
    Some(ConfigMapKey { namespace: namespace.to_owned(), name: reference.name.clone(), key: reference.key.clone() })
}

/// JPEG quality, 1 to 100, on FFmpeg's scale of quantizers, 31 to 2.
fn quantizer(quality: i32) -> i32 {
    31 - (quality.clamp(1, 100) - 1) * 29 / 99
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_quality_is_turned_into_a_quantizer() {
        assert_eq!([1, 50, 75, 100].map(quantizer), [31, 17, 10, 2]);
    }
}
