//! One RTSP session by the library: DESCRIBE, SETUP of the first pictures and the first sound, PLAY; and its end, so that the
//! device does not run out of sessions. Must not know frames or runs.

use std::fmt;
use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use retina::client::{
    Credentials, Demuxed, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, Session, SessionGroup,
    SessionIdPolicy, SessionOptions, SetupOptions, TcpTransportOptions, TeardownPolicy, Transport, UdpTransportOptions,
    UnassignedChannelDataPolicy, UnknownRtcpSsrcPolicy,
};
use retina::codec::{CodecItem, FrameFormat, ParameterSetInsertion, ParametersRef};
use tokio::time::timeout;
use url::Url;

use super::encoder::Encoder;
use super::raw_sound::Raw;
use crate::plan::unit::RtspTransport;

/// How long the device is given to take note of the end.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// What is called.
#[derive(Clone)]
pub struct Target {
    /// Without user name and password.
    pub url: Url,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// How media travels.
    pub transport: RtspTransport,
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a secret.
        formatter.debug_struct("Target").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Why there is no session.
#[derive(Debug)]
pub enum Refused {
    /// The device has something to send that this driver cannot carry; what, as part of a sentence.
    NotCarried(String),
    /// The library's.
    Failed(retina::Error),
}

impl From<retina::Error> for Refused {
    fn from(error: retina::Error) -> Self {
        Self::Failed(error)
    }
}

/// A session that plays.
pub struct Playing {
    demuxed: Demuxed,
    group: Arc<SessionGroup>,
    /// Index of the pictures' stream.
    pub video: usize,
    /// Index of the sound's stream.
    pub audio: Option<usize>,
    /// What the sound is, where it must be made AAC first.
    pub raw: Option<Raw>,
}

impl fmt::Debug for Playing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Playing")
            .field("video", &self.video)
            .field("audio", &self.audio)
            .finish_non_exhaustive()
    }
}

/// The name by which the library knows sound that is carried as it is (RFC 3640).
const AAC: &str = "mpeg4-generic";
/// … and pictures.
const PICTURES: [&str; 3] = ["h264", "h265", "jpeg"];

/// Begins a session. The first pictures and the first sound are asked for, and nothing else, such as ONVIF metadata.
pub async fn open(target: &Target) -> Result<Playing, Refused> {
    let group = Arc::new(SessionGroup::default());
    let credentials = target.credentials.clone();
    let options = SessionOptions::default()
        .creds(credentials.map(|(username, password)| Credentials { username, password }))
        .user_agent(format!("camera-operator/{}", env!("CARGO_PKG_VERSION")))
        .session_group(group.clone())
        .teardown(TeardownPolicy::Auto)
        .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore)
        .session_id(SessionIdPolicy::UseFirst);
    // The library's reader of descriptions asserts what a damaged one need not keep.
    let described = AssertUnwindSafe(Session::describe(target.url.clone(), options)).catch_unwind().await;
    let mut session = described.map_err(|_| Refused::NotCarried("its description is damaged".into()))??;
    let find = |media: &[&str]| session.streams().iter().position(|stream| media.contains(&stream.media()));
    let (video, audio) = (find(&["video", "image"]), find(&["audio"]));
    let encoding = |index: usize| session.streams()[index].encoding_name().to_owned();
    let Some(video) = video else { return Err(Refused::NotCarried("it announces no pictures".into())) };
    if !PICTURES.contains(&encoding(video).as_str()) {
        return Err(Refused::NotCarried(format!("its pictures are {}", encoding(video).to_uppercase())));
    }
    let mut raw = None;
    if let Some(audio) = audio {
        let stream = &session.streams()[audio];
        raw = Raw::of(stream.encoding_name(), stream.clock_rate_hz(), stream.channels().map_or(1, NonZeroU16::get))
            .filter(|raw| Encoder::new(*raw, 0).is_ok());
        let is_aac = stream.encoding_name() == AAC && stream.parameters().is_some();
        if !is_aac && raw.is_none() {
            return Err(Refused::NotCarried(format!("its sound is {}", encoding(audio).to_uppercase())));
        }
    }
    // Parameter sets before each key frame: then nothing else has to be asked about a change.
    let format = FrameFormat { parameter_set_insertion: ParameterSetInsertion::EachKeyFrame, ..FrameFormat::MP4 };
    for stream in [Some(video), audio].into_iter().flatten() {
        let transport = match target.transport {
            RtspTransport::Tcp => Transport::Tcp(TcpTransportOptions::default()),
            RtspTransport::Udp => Transport::Udp(UdpTransportOptions::default()),
        };
        session.setup(stream, SetupOptions::default().transport(transport).frame_format(format)).await?;
    }
    let options = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Permissive)
        .initial_seq(InitialSequenceNumberPolicy::Ignore)
        .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
    let demuxed = session.play(options).await?.demuxed()?;
    Ok(Playing { demuxed, group, video, audio, raw })
}

impl Playing {
    /// What comes next; `None` when the device has ended the session. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<CodecItem, retina::Error>> {
        self.demuxed.next().await
    }

    /// Sample entry and clock rate of a stream, once its parameters are known.
    pub fn sample_entry(&self, stream: usize) -> Option<(Vec<u8>, u32)> {
        let stream = self.demuxed.streams().get(stream)?;
        let entry = match stream.parameters()? {
            ParametersRef::Video(parameters) => parameters.mp4_sample_entry().build(),
            ParametersRef::Audio(parameters) => parameters.mp4_sample_entry().build(),
            ParametersRef::Message(_) => return None,
        };
        Some((entry.ok()?, stream.clock_rate_hz()))
    }

    /// Ends the session, and gives the device a moment to take note.
    pub async fn close(self) {
        drop(self.demuxed);
        let _ = timeout(TEARDOWN_PATIENCE, self.group.await_teardown()).await;
    }
}
