//! Where a camera's pictures come from: as it is written → as a plan has it, defaults filled in. Pure. Must not decide whether
//! the camera is connected to.

use super::defaults;
use super::resolve::{Refusal, unspecified};
use super::unit::{Credentials, Engine, Ingest, Location, ObjectKey, RtspTransport, SecretKey, Source};
use super::values::{bytes, milliseconds, reconnect, secret_key};
use crate::api::Camera;
use crate::api::camera::{self, V4l2Format};
use crate::api::reference::{PASSWORD_KEY, SecretKeyReference, SecretReference, USERNAME_KEY};

/// The connection to a camera, whether or not it is suspended.
pub(super) fn ingest(camera: &Camera, key: &ObjectKey) -> Result<Ingest, Refusal> {
    let spec = &camera.spec;
    let buffer = spec.buffer.clone().unwrap_or_default();
    Ok(Ingest {
        source: source(&spec.source, key)?,
        stall_timeout_ms: milliseconds(spec.stall_timeout.as_ref(), defaults::STALL_TIMEOUT),
        start_timeout_ms: milliseconds(spec.start_timeout.as_ref(), defaults::START_TIMEOUT),
        reconnect: reconnect(spec.reconnect.as_ref()),
        ring_ms: milliseconds(buffer.duration.as_ref(), defaults::BUFFER_DURATION),
        ring_bytes: bytes(buffer.max_size.as_ref(), defaults::BUFFER_MAX_SIZE),
    })
}

fn source(source: &camera::CameraSource, key: &ObjectKey) -> Result<Source, Refusal> {
    let location = |url: &Option<String>, reference: &Option<SecretKeyReference>| match (url, reference) {
        (Some(url), _) => Ok(Location::Url(url.clone())),
        (None, Some(reference)) => Ok(Location::Secret(secret_key(reference, key))),
        (None, None) => Err(unspecified("the source must hold exactly one of url and urlSecretRef")),
    };
    let credentials = |reference: &Option<SecretReference>| {
        let part = |reference: &SecretReference, part: &str| SecretKey {
            namespace: key.namespace.clone(),
            name: reference.name.clone(),
            key: part.to_owned(),
        };
        reference.as_ref().map(|reference| Credentials {
            username: part(reference, USERNAME_KEY),
            password: part(reference, PASSWORD_KEY),
        })
    };
    if let Some(rtsp) = &source.rtsp {
        return Ok(Source::Rtsp {
            location: location(&rtsp.url, &rtsp.url_secret_ref)?,
            transport: match rtsp.transport {
                Some(camera::RtspTransport::Udp) => RtspTransport::Udp,
                Some(camera::RtspTransport::Tcp) | None => RtspTransport::Tcp,
            },
            credentials: credentials(&rtsp.credentials_secret_ref),
            engine: match rtsp.engine {
                Some(camera::RtspEngine::Native) => Engine::Native,
                Some(camera::RtspEngine::FFmpeg) => Engine::FFmpeg,
                Some(camera::RtspEngine::Auto) | None => Engine::Auto,
            },
        });
    }
    if let Some(http) = &source.http {
        return Ok(Source::Http {
            location: location(&http.url, &http.url_secret_ref)?,
            credentials: credentials(&http.credentials_secret_ref),
        });
    }
    if let Some(hls) = &source.hls {
        return Ok(Source::Hls {
            location: location(&hls.url, &hls.url_secret_ref)?,
            credentials: credentials(&hls.credentials_secret_ref),
        });
    }
    if let Some(rtmp) = &source.rtmp {
        return Ok(Source::Rtmp { location: location(&rtmp.url, &rtmp.url_secret_ref)? });
    }
    if let Some(srt) = &source.srt {
        return Ok(Source::Srt {
            location: location(&srt.url, &srt.url_secret_ref)?,
            passphrase: srt.passphrase_secret_ref.as_ref().map(|reference| secret_key(reference, key)),
            stream_id: srt.stream_id.clone(),
            latency_ms: milliseconds(srt.latency.as_ref(), defaults::SRT_LATENCY),
        });
    }
    if let Some(device) = &source.v4l2 {
        // As FFmpeg names them.
        let format = match device.input_format {
            None | Some(V4l2Format::Mjpeg) => "mjpeg",
            Some(V4l2Format::H264) => "h264",
            Some(V4l2Format::H265) => "hevc",
        };
        return Ok(Source::V4l2 {
            device: device.device.clone(),
            input_format: Some(format.to_owned()),
            width: device.width,
            height: device.height,
            frames_per_second: device.frames_per_second,
        });
    }
    if let Some(test) = &source.test {
        return Ok(Source::Test {
            width: test.width.unwrap_or(defaults::TEST_WIDTH),
            height: test.height.unwrap_or(defaults::TEST_HEIGHT),
            frames_per_second: test.frames_per_second.unwrap_or(defaults::TEST_FRAMES_PER_SECOND),
            key_frame_interval_ms: milliseconds(test.key_frame_interval.as_ref(), defaults::TEST_KEY_FRAME_INTERVAL),
            audio: test.audio.unwrap_or(defaults::TEST_AUDIO),
            text: test.text.clone().unwrap_or_else(|| key.name.clone()),
        });
    }
    Err(unspecified("spec.source must hold exactly one of rtsp, http, hls, rtmp, srt, v4l2 and test"))
}
