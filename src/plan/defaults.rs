//! What a field means that is left out. The descriptions of the fields in `api` name the same values, and a test holds them
//! together. They are not in the schema: a cluster would write them into stored objects, and they could never change again.

/// `Camera` `stallTimeout`.
pub const STALL_TIMEOUT: &str = "10s";
/// `Camera` `startTimeout`.
pub const START_TIMEOUT: &str = "30s";
/// `Camera` `reconnect.initialDelay`.
pub const INITIAL_DELAY: &str = "1s";
/// `Camera` `reconnect.maxDelay`.
pub const MAX_DELAY: &str = "30s";
/// `Camera` `buffer.duration`.
pub const BUFFER_DURATION: &str = "10s";
/// `Camera` `buffer.maxSize`.
pub const BUFFER_MAX_SIZE: &str = "32Mi";
/// `Camera` `source.srt.latency`.
pub const SRT_LATENCY: &str = "120ms";
/// `Camera` `source.test.width`.
pub const TEST_WIDTH: i32 = 1280;
/// `Camera` `source.test.height`.
pub const TEST_HEIGHT: i32 = 720;
/// `Camera` `source.test.framesPerSecond`.
pub const TEST_FRAMES_PER_SECOND: i32 = 25;
/// `Camera` `source.test.keyFrameInterval`.
pub const TEST_KEY_FRAME_INTERVAL: &str = "2s";
/// `Camera` `source.test.audio`.
pub const TEST_AUDIO: bool = true;
/// `Stream` `output.hls.segmentDuration`.
pub const SEGMENT_DURATION: &str = "4s";
/// `Stream` `output.hls.playlistSegments`.
pub const PLAYLIST_SEGMENTS: i32 = 6;
/// `Stream` `output.hls.lowLatency`.
pub const LOW_LATENCY: bool = false;
/// `Stream` `output.hls.partDuration`.
pub const PART_DURATION: &str = "500ms";
/// `Stream` `output.mjpeg.framesPerSecond`.
pub const MJPEG_FRAMES_PER_SECOND: i32 = 5;
/// `Stream` `output.mjpeg.quality`.
pub const MJPEG_QUALITY: i32 = 75;
/// `Stream` `audio.bitRate`.
pub const AUDIO_BIT_RATE: &str = "128k";
/// `Stream` `fallback.after`.
pub const FALLBACK_AFTER: &str = "2s";
/// `Stream` `fallback.text`.
pub const FALLBACK_TEXT: &str = "Back soon";
/// `Stream` and `Recording` `video.keyFrameInterval`.
pub const KEY_FRAME_INTERVAL: &str = "2s";
/// `Recording` `continuous.segmentDuration`.
pub const FILE_DURATION: &str = "60s";
/// `Recording` `clip.duration`.
pub const CLIP_DURATION: &str = "90m";
/// `Archive` `minFree`.
pub const MIN_FREE: &str = "1Gi";
/// `Archive` `retention.schedule`.
pub const SCHEDULE: &str = "0 3 * * *";
/// `Archive` `retention.timeZone`.
pub const TIME_ZONE: &str = "Etc/UTC";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::crds;

    #[test]
    fn descriptions_name_the_same_defaults() {
        let number = |number: i32| number.to_string();
        let expected: Vec<(&str, &str, String)> = vec![
            ("Camera", "stallTimeout", STALL_TIMEOUT.into()),
            ("Camera", "startTimeout", START_TIMEOUT.into()),
            ("Camera", "reconnect.initialDelay", INITIAL_DELAY.into()),
            ("Camera", "reconnect.maxDelay", MAX_DELAY.into()),
            ("Camera", "buffer.duration", BUFFER_DURATION.into()),
            ("Camera", "buffer.maxSize", BUFFER_MAX_SIZE.into()),
            ("Camera", "source.srt.latency", SRT_LATENCY.into()),
            ("Camera", "source.test.width", number(TEST_WIDTH)),
            ("Camera", "source.test.height", number(TEST_HEIGHT)),
            ("Camera", "source.test.framesPerSecond", number(TEST_FRAMES_PER_SECOND)),
            ("Camera", "source.test.keyFrameInterval", TEST_KEY_FRAME_INTERVAL.into()),
            ("Camera", "source.test.audio", TEST_AUDIO.to_string()),
            ("Camera", "source.rtsp.transport", "TCP".into()),
            ("Stream", "audio.codec", "Auto".into()),
            ("Stream", "audio.bitRate", AUDIO_BIT_RATE.into()),
            ("Stream", "output.push.reconnect.initialDelay", INITIAL_DELAY.into()),
            ("Stream", "output.push.reconnect.maxDelay", MAX_DELAY.into()),
            ("Stream", "fallback.after", FALLBACK_AFTER.into()),
            ("Stream", "fallback.text", FALLBACK_TEXT.into()),
            ("Recording", "audio.codec", "Auto".into()),
            ("Stream", "video.codec", "Copy".into()),
            ("Stream", "video.preset", "VeryFast".into()),
            ("Stream", "video.encoder", "Auto".into()),
            ("Stream", "video.keyFrameInterval", KEY_FRAME_INTERVAL.into()),
            ("Recording", "video.keyFrameInterval", KEY_FRAME_INTERVAL.into()),
            ("Stream", "output.hls.segmentDuration", SEGMENT_DURATION.into()),
            ("Stream", "output.hls.playlistSegments", number(PLAYLIST_SEGMENTS)),
            ("Stream", "output.hls.lowLatency", LOW_LATENCY.to_string()),
            ("Stream", "output.hls.partDuration", PART_DURATION.into()),
            ("Stream", "output.mjpeg.framesPerSecond", number(MJPEG_FRAMES_PER_SECOND)),
            ("Stream", "output.mjpeg.quality", number(MJPEG_QUALITY)),
            ("Recording", "continuous.segmentDuration", FILE_DURATION.into()),
            ("Recording", "clip.duration", CLIP_DURATION.into()),
            ("Archive", "minFree", MIN_FREE.into()),
            ("Archive", "retention.schedule", SCHEDULE.into()),
            ("Archive", "retention.timeZone", TIME_ZONE.into()),
        ];
        for definition in crds::all() {
            let schema = crds::schema(&definition);
            for (_, path, default) in expected.iter().filter(|(kind, ..)| *kind == definition.spec.names.kind) {
                let mut node = &schema["properties"]["spec"];
                for field in path.split('.') {
                    node = &node["properties"][field];
                }
                let description = node["description"].as_str().unwrap_or_default();
                assert!(description.ends_with(&format!("Default: {default}.")), "{path}: {description:?}");
            }
        }
        let all: usize = crds::all().iter().map(|definition| count_defaults(&crds::schema(definition))).sum();
        assert!(all >= expected.len());
    }

    fn count_defaults(schema: &Value) -> usize {
        let own = usize::from(schema["description"].as_str().is_some_and(|text| text.contains("Default: ")));
        own + schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, child)| count_defaults(child))
            .sum::<usize>()
    }
}
