//! What attempts at a source teach about it: how FFmpeg is to be told next time. Must not know why an attempt ended.

/// What to do with sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioMode {
    /// Pass it on.
    #[default]
    Copy,
    /// Encode it as AAC: MP4 cannot carry it as it is.
    Aac,
    /// Leave it out.
    Leave,
}

/// What earlier attempts at a source taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent findings, each of one kind of source")]
pub struct Profile {
    /// Sound.
    pub audio: AudioMode,
    /// HTTP, HLS and SRT: the sound is no AAC, so that there is nothing to unwrap.
    pub sound_as_is: bool,
    /// How hard to look for codec parameters: 0, then larger after attempts in vain.
    pub probe: u8,
    /// HTTP: the pictures carry their own times, so the time of their arrival is not needed.
    pub own_times: bool,
    /// The source is read faster than it plays, so FFmpeg has to pace it.
    pub paced: bool,
    /// V4L2: the device gives raw pictures, which must be encoded.
    pub encode: bool,
    /// Test source: this FFmpeg cannot draw text.
    pub without_text: bool,
}

/// Without sound, and nothing else out of the ordinary.
pub const SILENT: Profile = Profile {
    audio: AudioMode::Leave,
    sound_as_is: true,
    probe: 0,
    own_times: false,
    paced: false,
    encode: false,
    without_text: false,
};

/// The largest [`Profile::probe`].
pub const LARGEST_PROBE: u8 = 2;
