//! Makes raw sound AAC, by an FFmpeg of its own that sees the sound and nothing else: it has no connection, and when it hangs
//! the pictures go on. Must not know where sound comes from.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe;

use super::raw_sound::{Fed, Feed, Raw};
use crate::agent::source::arguments::convert;
use crate::agent::source::assembly::{Assembly, Effects, Trouble};
use crate::agent::source::process::{Manner, Process, spawn_behind};
use crate::agent::source::track::Track;
use crate::agent::unit::LogBuffer;
use crate::media::clock::Arrival;
use crate::media::fmp4::reader::Event;

/// A converter that runs.
#[derive(Debug)]
pub struct Converter {
    process: Process,
    input: pipe::Sender,
    track: Track,
    feed: Feed,
    /// Media time of the first sample, in microseconds.
    begin: i64,
}

impl Converter {
    /// Starts one whose first sample stands at a media time, in samples.
    pub async fn start(raw: Raw, begin: i64, logs: Arc<LogBuffer>) -> io::Result<Self> {
        let (input, output) = pipe::pipe()?;
        let (process, tracks) = spawn_behind(output, &convert::raw(raw.format, raw.rate, raw.channels), logs).await?;
        let micros = i128::from(begin) * 1_000_000 / i128::from(raw.rate);
        Ok(Self {
            process,
            input,
            track: Track::of_sound(Some(tracks.video)),
            feed: Feed::new(raw, begin),
            begin: i64::try_from(micros).unwrap_or(0),
        })
    }

    /// Gives it a packet whose first sample stands at a media time, in samples. False when it must begin anew. Never waits: an
    /// encoder that hangs loses sound.
    pub fn feed(&mut self, time: i64, data: &[u8]) -> bool {
        match self.feed.take(time, data) {
            Fed::Bytes(bytes) => {
                // Part of it would shift all that follows; a pipe takes what is no longer than PIPE_BUF whole or not at all,
                // and what is longer only when it is nearly full in parts.
                matches!(self.input.try_write(&bytes), Ok(written) if written == bytes.len())
            }
            Fed::Nothing => true,
            Fed::Anew => false,
        }
    }

    /// Waits for what it has made; false when it has ended. Cancel safe.
    pub async fn fill(&mut self) -> bool {
        self.track.fill().await
    }

    /// Takes what it has made.
    pub fn take(&mut self, assembly: &mut Assembly, now: Arrival, effects: &mut Effects<'_>) -> Result<(), Trouble> {
        loop {
            match self.track.reader.next_event() {
                Ok(Some(Event::Tracks(mut tracks))) => {
                    for track in &mut tracks {
                        let ticks = i128::from(self.begin) * i128::from(track.timescale) / 1_000_000;
                        track.edit_offset = track.edit_offset.saturating_add(i64::try_from(ticks).unwrap_or(0));
                    }
                    assembly.audio_header(&tracks)?;
                }
                Ok(Some(Event::Sample(sample))) => assembly.audio_sample(&sample, now, effects),
                Ok(Some(Event::Message { .. })) => {}
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.track.pipe = None;
                    return Ok(());
                }
            }
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        drop(self.input);
        self.process.stop(Manner::AsEndOfStream).await;
    }
}
