//! Makes the samples that the assembly takes of what the RTSP library gives: media time, decode times, durations. A sample is
//! passed on when the next one of its track tells how long it lasts. No IO and no clock. Must not know runs or the hub.

use std::sync::Arc;

use bytes::Bytes;
use retina::codec::{AudioFrame, VideoFrame};
use retina::rtcp::{ReceivedCompoundPacket, TypedPacketRef};
use syom::AacError;

use super::alignment::Alignment;
use super::decode_time::DecodeTimes;
use super::encoder::{self, Encoded, Encoder};
use super::media_time::MediaTime;
use super::raw_sound::Raw;
use crate::agent::source::assembly::{Assembly, Effects, Trouble};
use crate::media::audio::aac_sample_entry;
use crate::media::chunks::{Chunks, Packer};
use crate::media::clock::{Arrival, ticks_to_micros};
use crate::media::fmp4::reader::{Handler, Sample, Track};

/// Samples count their times from here, in ticks: those before the announced beginning must not be negative.
const ORIGIN: i64 = 1 << 40;
const VIDEO: u32 = 1;
const AUDIO: u32 = 2;
/// Until there are two pictures to measure: 25 a second.
const USUAL_RATE: u32 = 25;
/// Loss is told of at most this often, in microseconds.
const TELL_EVERY: i64 = 60_000_000;

/// Sample entry and clock rate of a stream, once known.
type Header = Option<(Vec<u8>, u32)>;

/// One track.
#[derive(Debug)]
struct Side {
    rate: u32,
    time: MediaTime,
    /// What waits for its duration.
    held: Option<Sample>,
}

impl Side {
    fn new(rate: u32) -> Self {
        Self { rate, time: MediaTime::new(rate), held: None }
    }

    /// Holds a sample and returns the one before it, with its duration. `usual`: the longest distance that is a duration,
    /// and what else to take, in ticks.
    fn hold(&mut self, sample: Sample, usual: Option<(u64, u32)>) -> Option<Sample> {
        let distance = self.held.as_ref().map(|held| sample.decode_time.saturating_sub(held.decode_time));
        let mut done = self.held.replace(sample)?;
        done.duration = match (distance, usual) {
            (Some(distance), Some((most, usual))) if distance > most => usual,
            (distance, _) => u32::try_from(distance.unwrap_or(0)).unwrap_or(u32::MAX),
        };
        Some(done)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Samples {
    video_stream: usize,
    audio_stream: Option<usize>,
    video: Option<(Side, DecodeTimes)>,
    audio: Option<Side>,
    alignment: Alignment,
    /// What sender reports moved the sound by, in microseconds, and it has not been moved by yet.
    to_move: i64,
    lost: u64,
    told_of_loss: Option<i64>,
    messages: Vec<String>,
    packer: Packer,
    /// What the sound is, where it must be made AAC first.
    raw: Option<Raw>,
    encoder: Option<Encoder>,
}

impl Samples {
    /// Of the streams with these numbers; `raw` says what the sound is, where it must be made AAC first. What they bring is kept in
    /// `chunks`.
    pub fn new(video: usize, audio: Option<usize>, raw: Option<Raw>, chunks: Arc<Chunks>) -> Self {
        Self {
            packer: Packer::new(chunks),
            raw,
            encoder: None,
            video_stream: video,
            audio_stream: audio,
            video: None,
            audio: None,
            alignment: Alignment::default(),
            to_move: 0,
            lost: 0,
            told_of_loss: None,
            messages: Vec::new(),
        }
    }

    /// What a person should know, since it was asked last.
    pub fn messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.messages)
    }

    /// A picture came. Returns whether anything can be made of it: without parameter sets it shows nothing.
    pub fn picture(
        &mut self,
        picture: VideoFrame,
        header: impl Fn(usize) -> Header,
        assembly: &mut Assembly,
        now: Arrival,
        effects: &mut Effects<'_>,
    ) -> Result<bool, Trouble> {
        if picture.stream_id() != self.video_stream {
            return Ok(false);
        }
        self.count_loss(picture.loss(), now);
        if self.video.is_none() {
            let Some((entry, rate)) = header(self.video_stream) else { return Ok(false) };
            assembly.video_header(&[Track::new(VIDEO, Handler::Video, rate, -ORIGIN, entry.into())])?;
            let times = DecodeTimes::new(i64::from(rate / USUAL_RATE));
            self.video = Some((Side::new(rate), times));
        }
        let Some((side, times)) = &mut self.video else { return Ok(false) };
        let placed = side.time.place(picture.timestamp().elapsed(), now.monotonic);
        if let Some(seconds) = placed.jumped {
            self.messages.push(format!("the camera's clock jumped by {seconds} s; its pictures go on without a gap"));
        }
        if let Some(depth) = assembly.reorder() {
            times.expect(depth);
        }
        let decode_time = times.next(placed.time);
        let sample = Sample {
            track: VIDEO,
            decode_time: u64::try_from(decode_time.saturating_add(ORIGIN)).unwrap_or(0),
            composition_offset: i32::try_from(placed.time - decode_time).unwrap_or(0),
            duration: 0,
            sync: picture.is_random_access_point(),
            payload: self.packer.pack(picture.into_data()),
            producer_time: None,
            fragment: 0,
        };
        if let Some(done) = side.hold(sample, None) {
            assembly.video_sample(&done, now, effects)?;
        }
        Ok(true)
    }

    /// The media time of sound that came, in ticks of `rate`, beside the pictures; `None` for sound before the first picture,
    /// which there is nothing to be heard with.
    fn place_sound(&mut self, sound: &AudioFrame, rate: u32, now: Arrival) -> Option<i64> {
        let pictures = self.video.as_ref().and_then(|(video, _)| video.time.at(now.monotonic))?;
        let first = self.audio.is_none();
        let side = self.audio.get_or_insert_with(|| Side::new(rate));
        let time = side.time.place(sound.timestamp().elapsed(), now.monotonic).time;
        if first {
            self.to_move += self.alignment.begin(ticks_to_micros(time, side.rate), pictures);
        }
        if self.to_move == 0 {
            return Some(time);
        }
        let ticks = i128::from(std::mem::take(&mut self.to_move)) * i128::from(side.rate) / 1_000_000;
        let ticks = i64::try_from(ticks).unwrap_or(0);
        side.time.shift_by(ticks);
        Some(time.saturating_add(ticks))
    }

    /// Sound came.
    pub fn sound(
        &mut self,
        sound: &AudioFrame,
        header: impl Fn(usize) -> Header,
        assembly: &mut Assembly,
        now: Arrival,
        effects: &mut Effects<'_>,
    ) -> Result<(), Trouble> {
        if Some(sound.stream_id()) != self.audio_stream {
            return Ok(());
        }
        if let Some(raw) = self.raw {
            return self.raw_sound(sound, raw, assembly, now, effects);
        }
        let mut rate = sound.timestamp().clock_rate().get();
        if self.audio.is_none() && !assembly.sound_is_known() {
            // Said before a picture is there, so that nothing waits to hear what the sound is.
            let Some((entry, clock_rate)) = header(sound.stream_id()) else { return Ok(()) };
            assembly.audio_header(&[Track::new(AUDIO, Handler::Audio, clock_rate, -ORIGIN, entry.into())])?;
            rate = clock_rate;
        }
        let Some(time) = self.place_sound(sound, rate, now) else { return Ok(()) };
        let Some(side) = &mut self.audio else { return Ok(()) };
        let decode_time = u64::try_from(time.saturating_add(ORIGIN)).unwrap_or(0);
        if side.held.as_ref().is_some_and(|held| decode_time <= held.decode_time) {
            // It was moved back: what is there already is not played twice.
            return Ok(());
        }
        let sample = Sample {
            track: AUDIO,
            decode_time,
            composition_offset: 0,
            duration: 0,
            sync: true,
            payload: self.packer.pack_copy(sound.data()),
            producer_time: None,
            fragment: 0,
        };
        // A silence is no long sound.
        let usual = (u64::from(side.rate), sound.frame_length().get());
        if let Some(done) = side.hold(sample, Some(usual)) {
            assembly.audio_sample(&done, now, effects);
        }
        Ok(())
    }

    /// Raw sound came.
    fn raw_sound(
        &mut self,
        sound: &AudioFrame,
        raw: Raw,
        assembly: &mut Assembly,
        now: Arrival,
        effects: &mut Effects<'_>,
    ) -> Result<(), Trouble> {
        if !assembly.sound_is_known()
            && let Ok(encoder) = Encoder::new(raw, 0)
        {
            let rate = encoder::rate(raw);
            let entry = aac_sample_entry(encoder.specific(), rate, raw.channels);
            assembly.audio_header(&[Track::new(AUDIO, Handler::Audio, rate, -ORIGIN, entry)])?;
        }
        let Some(time) = self.place_sound(sound, raw.rate, now) else { return Ok(()) };
        let units = match self.encode(raw, time, sound.data()) {
            Ok(units) => units,
            Err(error) => {
                // Not tried again for each packet: the next session tries.
                self.audio_stream = None;
                assembly.no_sound();
                self.messages.push(format!("the sound is left out, because it cannot be made AAC: {error}"));
                return Ok(());
            }
        };
        for (time, payload) in units {
            let sample = Sample {
                track: AUDIO,
                decode_time: u64::try_from(time.saturating_add(ORIGIN)).unwrap_or(0),
                composition_offset: 0,
                duration: encoder::FRAME,
                sync: true,
                payload,
                producer_time: None,
                fragment: 0,
            };
            assembly.audio_sample(&sample, now, effects);
        }
        Ok(())
    }

    /// Access units of a packet, by an encoder that is begun when there is none, or none that can go on.
    fn encode(&mut self, raw: Raw, time: i64, data: &[u8]) -> Result<Vec<(i64, Bytes)>, AacError> {
        for _ in 0..2 {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(Encoder::new(raw, time)?),
            };
            match encoder.take(time, data)? {
                Encoded::Units(units) => return Ok(units),
                Encoded::Anew => self.encoder = None,
            }
        }
        Ok(Vec::new())
    }

    /// An RTCP packet came. Returns how far the camera's clock is ahead of the host's, in microseconds, if it says.
    pub fn report(&mut self, packet: &ReceivedCompoundPacket, now: Arrival) -> Option<i64> {
        let timestamp = packet.rtp_timestamp()?;
        let mut ahead = None;
        for report in packet.pkts() {
            let Ok(Some(TypedPacketRef::SenderReport(report))) = report.as_typed() else { continue };
            let rate = timestamp.clock_rate().get();
            let clock = ntp_micros(report.ntp_timestamp().0);
            let zero = clock.saturating_sub(ticks_to_micros(timestamp.elapsed(), rate));
            // A report tells the time at which it is sent.
            ahead = Some(clock.saturating_sub(now.wall.0));
            let of_sound = Some(packet.stream_id()) == self.audio_stream;
            if of_sound || packet.stream_id() == self.video_stream {
                self.to_move += self.alignment.report(of_sound, zero);
            }
        }
        ahead
    }

    /// Passes on what is held, because nothing more will come.
    pub fn finish(&mut self, assembly: &mut Assembly, now: Arrival, effects: &mut Effects<'_>) {
        if let Some(done) = self.video.as_mut().and_then(|(side, _)| side.held.take()) {
            // Without a duration it gets the usual one. Whether it can be carried no longer matters.
            let _ = assembly.video_sample(&done, now, effects);
        }
        if let Some(done) = self.audio.as_mut().and_then(|side| side.held.take()) {
            assembly.audio_sample(&done, now, effects);
        }
    }

    fn count_loss(&mut self, packets: u16, now: Arrival) {
        self.lost += u64::from(packets);
        let due = self.told_of_loss.is_none_or(|told| now.monotonic - told >= TELL_EVERY);
        if self.lost > 0 && due {
            self.messages.push(format!("{} packets of the pictures were lost on the way", self.lost));
            self.lost = 0;
            self.told_of_loss = Some(now.monotonic);
        }
    }
}

/// Microseconds since 1970 of an NTP timestamp (RFC 3550 §4): 32 bits of seconds since 1900 and as many of fractions.
fn ntp_micros(timestamp: u64) -> i64 {
    let seconds = i64::try_from(timestamp >> 32).unwrap_or(0) - 2_208_988_800;
    let micros = ((timestamp & 0xffff_ffff) * 1_000_000) >> 32;
    seconds * 1_000_000 + i64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_time_begins_in_1900() {
        assert_eq!(ntp_micros(2_208_988_800 << 32 | 1 << 31), 500_000);
    }
}
