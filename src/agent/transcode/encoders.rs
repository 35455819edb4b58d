//! Which encoders work on this machine: each is tried once with a tiny picture, because neither FFmpeg's list nor a device file
//! says whether there is anything behind it. Must not know what is encoded afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::agent::source::messages::told;
use crate::agent::source::process::{Manner, spawn_sender};
use crate::agent::unit::LogBuffer;
use crate::media::frame::Codec;
use crate::plan::transcode::Encoder;

/// A driver that hangs counts as one that does not work.
const PATIENCE: Duration = Duration::from_secs(15);
/// In the order in which they are tried.
const HARDWARE: [Encoder; 3] = [Encoder::Nvenc, Encoder::Vaapi, Encoder::V4l2M2m];

/// An encoder that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Never [`Encoder::Auto`].
    pub encoder: Encoder,
    /// The GPU's file, where one has to be named.
    pub device: Option<String>,
    /// Why it is not the one that was asked for.
    pub instead: Option<String>,
}

impl Chosen {
    /// x264 or x265.
    pub const fn software() -> Self {
        Self { encoder: Encoder::Software, device: None, instead: None }
    }

    /// FFmpeg's name of it.
    pub const fn name(&self, codec: Codec) -> &'static str {
        match (self.encoder, codec) {
            (Encoder::Vaapi, Codec::H265) => "hevc_vaapi",
            (Encoder::Vaapi, _) => "h264_vaapi",
            (Encoder::Nvenc, Codec::H265) => "hevc_nvenc",
            (Encoder::Nvenc, _) => "h264_nvenc",
            (Encoder::V4l2M2m, Codec::H265) => "hevc_v4l2m2m",
            (Encoder::V4l2M2m, _) => "h264_v4l2m2m",
            (Encoder::Auto | Encoder::Software, Codec::H265) => "libx265",
            (Encoder::Auto | Encoder::Software, _) => "libx264",
        }
    }
}

/// What was found out of an encoder for a codec.
type Tried = Result<Chosen, String>;

/// What works here, as far as it was asked for.
#[derive(Debug, Default)]
pub struct Encoders {
    known: Mutex<BTreeMap<(Encoder, &'static str), Tried>>,
}

impl Encoders {
    /// The encoder to use where `wanted` is asked for.
    pub async fn choose(&self, wanted: Encoder, codec: Codec) -> Chosen {
        match wanted {
            Encoder::Software => Chosen::software(),
            Encoder::Auto => {
                for encoder in HARDWARE {
                    if let Ok(chosen) = self.tried(encoder, codec).await {
                        return chosen;
                    }
                }
                Chosen::software()
            }
            named => self.tried(named, codec).await.unwrap_or_else(|why| Chosen {
                instead: Some(format!(
                    "{} does not encode {} on this machine, so that it is done in software, which costs more: {why}",
                    named.name(),
                    codec.name()
                )),
                ..Chosen::software()
            }),
        }
    }

    async fn tried(&self, encoder: Encoder, codec: Codec) -> Tried {
        // Held while it is tried: who else asks for it waits for the answer.
        let mut known = self.known.lock().await;
        if let Some(known) = known.get(&(encoder, codec.name())) {
            return known.clone();
        }
        let tried = attempt(encoder, codec).await;
        known.insert((encoder, codec.name()), tried.clone());
        tried
    }
}

async fn attempt(encoder: Encoder, codec: Codec) -> Tried {
    let devices: Vec<Option<String>> = match encoder {
        Encoder::Vaapi => render_nodes().into_iter().map(Some).collect(),
        Encoder::V4l2M2m if !has_video_device() => return Err("there is no /dev/video* device".into()),
        Encoder::Nvenc if !std::path::Path::new("/dev/nvidiactl").exists() => {
            return Err("there is no NVIDIA device (/dev/nvidiactl)".into());
        }
        _ => vec![None],
    };
    let mut why = "there is no GPU (/dev/dri/renderD*)".to_owned();
    for device in devices {
        let chosen = Chosen { encoder, device, instead: None };
        match encodes(&chosen, codec).await {
            Ok(()) => return Ok(chosen),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn render_nodes() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().to_string_lossy().into_owned());
    let mut nodes: Vec<String> = paths.filter(|path| path.starts_with("/dev/dri/renderD")).collect();
    nodes.sort();
    nodes
}

fn has_video_device() -> bool {
    let mut entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with("video"))
}

/// Encodes a few small pictures and throws them away.
async fn encodes(chosen: &Chosen, codec: Codec) -> Result<(), String> {
    let arguments = trial(chosen, codec);
    let started = spawn_sender(&arguments, None, &[], Arc::new(LogBuffer::default()));
    let (mut process, ends) = started.map_err(|error| format!("FFmpeg cannot be started: {error}"))?;
    drop(ends);
    let ended = timeout(PATIENCE, process.wait()).await;
    let lines = process.stop(Manner::InOrder).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Err(_) => Err(format!("it has not encoded a picture within {PATIENCE:?}")),
        Ok(_) => {
            let said = lines.iter().map(|line| told(line));
            let said = said.into_iter().find(|line| !line.is_empty());
            Err(said.unwrap_or("FFmpeg gave no reason").to_owned())
        }
    }
}

fn trial(chosen: &Chosen, codec: Codec) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error"].map(str::to_owned).into();
    if let Some(device) = &chosen.device {
        arguments.extend(["-init_hw_device".into(), format!("vaapi=gpu:{device}")]);
        arguments.extend(["-filter_hw_device", "gpu"].map(str::to_owned));
    }
    arguments.extend(["-f", "lavfi", "-i", "color=size=320x240:rate=10", "-frames:v", "5"].map(str::to_owned));
    let filter = if chosen.encoder == Encoder::Vaapi { "format=nv12,hwupload" } else { "format=yuv420p" };
    arguments.extend(["-vf", filter, "-c:v", chosen.name(codec), "-f", "null", "-"].map(str::to_owned));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_work_here_falls_back_and_says_why() {
        let encoders = Encoders::default();
        for encoder in HARDWARE {
            let chosen = encoders.choose(encoder, Codec::H264).await;
            // A machine that has the device uses it.
            if chosen.encoder != encoder {
                assert_eq!(chosen.encoder, Encoder::Software);
                let why = chosen.instead.unwrap();
                assert!(why.contains(encoder.name()) && why.contains("software"), "{why}");
            }
        }
        assert_eq!(encoders.choose(Encoder::Auto, Codec::H265).await.instead, None, "nothing was asked for by name");
    }

    #[tokio::test]
    async fn a_trial_tells_what_works() {
        assert_eq!(encodes(&Chosen::software(), Codec::H264).await, Ok(()));
        let broken = Chosen { encoder: Encoder::Vaapi, device: Some("/dev/null".into()), instead: None };
        assert!(encodes(&broken, Codec::H264).await.is_err());
    }
}
