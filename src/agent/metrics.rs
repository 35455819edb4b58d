//! The agent's Prometheus metrics, made at each scrape from the board and the registry, so that what no longer runs is no
//! longer told. Labels are namespace and name of objects only, never of clients. Must not change anything.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry as Families, TextEncoder,
};

use super::output::push::meter::Counts;
use super::registry::Registry;
use super::retention_tally::RunState;
use super::transcode::meter::EncodeMeter;
use crate::archive::retention::DeletionReason;
use crate::plan::report::{PushMode, Report, UnitState};
use crate::plan::unit::{ObjectKey, ObjectRef};

/// The content type of the text format that [`encode`] writes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

const PREFIX: &str = "camera_operator";
const OBJECT: [&str; 2] = ["namespace", "name"];

/// Collects metric families; a family that cannot be made or registered (a programming error) is left out, so that a scrape
/// never fails as a whole.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Families,
}

impl Exposition {
    fn options(name: &str, help: &str) -> Opts {
        Opts::new(format!("{PREFIX}_{name}"), help)
    }

    /// A counter family; `values` are label values and the count.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, u64)>,
    ) {
        let Ok(family) = IntCounterVec::new(Self::options(name, help), labels) else { return };
        for (labels, value) in values {
            if let Ok(counter) = family.get_metric_with_label_values(&labels) {
                counter.inc_by(value);
            }
        }
        let _ = self.families.register(Box::new(family));
    }

    /// A counter family of seconds.
    pub fn seconds(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, Duration)>,
    ) {
        let Ok(family) = CounterVec::new(Self::options(name, help), labels) else { return };
        for (labels, value) in values {
            if let Ok(counter) = family.get_metric_with_label_values(&labels) {
                counter.inc_by(value.as_secs_f64());
            }
        }
        let _ = self.families.register(Box::new(family));
    }

    /// A gauge family of whole numbers.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, i64)>,
    ) {
        let Ok(family) = IntGaugeVec::new(Self::options(name, help), labels) else { return };
        for (labels, value) in values {
            if let Ok(gauge) = family.get_metric_with_label_values(&labels) {
                gauge.set(value);
            }
        }
        let _ = self.families.register(Box::new(family));
    }

    /// A gauge family of fractions.
    pub fn ratios(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, f64)>,
    ) {
        let Ok(family) = GaugeVec::new(Self::options(name, help), labels) else { return };
        for (labels, value) in values {
            if let Ok(gauge) = family.get_metric_with_label_values(&labels) {
                gauge.set(value);
            }
        }
        let _ = self.families.register(Box::new(family));
    }

    /// The Prometheus text format of everything that was collected.
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        let _ = TextEncoder::new().encode(&self.families.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn object(key: &ObjectKey) -> Vec<String> {
    vec![key.namespace.clone(), key.name.clone()]
}

fn object_and(key: &ObjectKey, more: &[&str]) -> Vec<String> {
    let mut labels = object(key);
    labels.extend(more.iter().map(ToString::to_string));
    labels
}

/// Adds the metrics of all units, hubs and archives.
pub fn collect(exposition: &Exposition, report: &Report, registry: &Registry) {
    collect_units(exposition, report);
    collect_hubs(exposition, registry);
    collect_slates(exposition, registry);
    collect_pushes(exposition, report, registry);
    collect_encoders(exposition, registry);
    collect_recordings(exposition, report);
    collect_meters(exposition, registry);
    collect_archives(exposition, report);
    collect_retention(exposition, registry);
}

fn collect_units(exposition: &Exposition, report: &Report) {
    let states = report.units.iter().flat_map(|unit| {
        UNIT_STATES.map(|(state, name)| {
            let labels = object_and(&unit.object.key, &[unit.object.kind.plural(), name]);
            (labels, i64::from(unit.state == state))
        })
    });
    exposition.gauges(
        "unit_state",
        "Whether a unit is in a state (1) or not (0).",
        &["namespace", "name", "kind", "state"],
        states,
    );
    exposition.gauges(
        "unit_reason",
        "1 for the reason that a unit gives for its state.",
        &["namespace", "name", "kind", "reason"],
        report.units.iter().map(|unit| {
            let labels = object_and(&unit.object.key, &[unit.object.kind.plural(), &unit.reason.name()]);
            (labels, 1)
        }),
    );
    exposition.counters(
        "camera_reconnects_total",
        "How often a camera was connected again.",
        &OBJECT,
        report
            .units
            .iter()
            .filter(|unit| unit.object.kind == crate::plan::unit::ObjectKind::Camera)
            .map(|unit| (object(&unit.object.key), unit.reconnects)),
    );
    exposition.ratios(
        "camera_frames_per_second",
        "Measured frame rate of a camera.",
        &OBJECT,
        report.units.iter().filter_map(|unit| {
            let media = unit.media.as_ref()?;
            Some((object(&unit.object.key), f64::from(media.frames_per_second_milli) / 1000.0))
        }),
    );
}

const UNIT_STATES: [(UnitState, &str); 6] = [
    (UnitState::Starting, "Starting"),
    (UnitState::Running, "Running"),
    (UnitState::Waiting, "Waiting"),
    (UnitState::Reconnecting, "Reconnecting"),
    (UnitState::Complete, "Complete"),
    (UnitState::Failed, "Failed"),
];

fn collect_hubs(exposition: &Exposition, registry: &Registry) {
    let hubs: Vec<_> = registry.hubs.all().into_iter().map(|(key, hub)| (key, hub.statistics())).collect();
    let by_track = |pick: fn(&super::hub::Statistics) -> [u64; 2]| {
        hubs.iter()
            .flat_map(|(key, statistics)| {
                let [video, audio] = pick(statistics);
                [(object_and(key, &["video"]), video), (object_and(key, &["audio"]), audio)]
            })
            .collect::<Vec<_>>()
    };
    let labels = ["namespace", "name", "track"];
    exposition.counters(
        "camera_frames_total",
        "Frames received from a camera.",
        &labels,
        by_track(|statistics| [statistics.video_frames, statistics.audio_frames]),
    );
    exposition.counters(
        "camera_bytes_total",
        "Bytes of coded video and audio received from a camera.",
        &labels,
        by_track(|statistics| [statistics.video_bytes, statistics.audio_bytes]),
    );
    exposition.counters(
        "camera_cuts_total",
        "How often a camera that sent pictures was cut.",
        &OBJECT,
        hubs.iter().map(|(key, statistics)| (object(key), statistics.cuts)),
    );
    exposition.ratios(
        "camera_seconds_since_frame",
        "Time since the newest picture of a camera; absent before its first one.",
        &OBJECT,
        hubs.iter()
            .filter_map(|(key, statistics)| Some((object(key), statistics.newest_video?.elapsed().as_secs_f64()))),
    );
    exposition.ratios(
        "camera_clock_error_seconds",
        "How far a camera's clock is ahead of the host's, by its RTCP sender reports; absent where the native driver hears none.",
        &OBJECT,
        hubs.iter()
            .filter_map(|(key, statistics)| Some((object(key), statistics.clock_error? as f64 / 1_000_000.0))),
    );
    exposition.counters(
        "hub_lost_entries_total",
        "Frames that readers of a camera missed because they were too slow.",
        &OBJECT,
        hubs.iter().map(|(key, statistics)| (object(key), statistics.lost)),
    );
    exposition.gauges(
        "hub_readers",
        "Readers of a camera's frames.",
        &OBJECT,
        hubs.iter().map(|(key, statistics)| (object(key), statistics.readers as i64)),
    );
    exposition.gauges(
        "hub_ring_bytes",
        "Bytes of coded frames kept for readers that come late.",
        &OBJECT,
        hubs.iter().map(|(key, statistics)| (object(key), statistics.ring_bytes as i64)),
    );
    exposition.gauges(
        "hls_window_bytes",
        "Bytes of a stream's segments in memory, those that have expired and the one that is being made included. Frames that are in the camera's ring as well are counted in both.",
        &OBJECT,
        registry.hls.all().iter().map(|(key, stream)| {
            let held: usize = stream.renditions().iter().map(|rendition| rendition.bytes()).sum();
            (object(key), held as i64)
        }),
    );
}

fn collect_slates(exposition: &Exposition, registry: &Registry) {
    let slates: Vec<_> = registry.slates.all().into_iter().map(|(key, meter)| (object(&key), meter.read())).collect();
    exposition.gauges(
        "stream_slate",
        "Whether a stream with a fallback shows its slate now (1) or the camera (0).",
        &OBJECT,
        slates.iter().map(|(labels, (_, _, shown))| (labels.clone(), i64::from(*shown))),
    );
    exposition.counters(
        "stream_slates_total",
        "How often a stream went over to its slate because its camera sent no pictures.",
        &OBJECT,
        slates.iter().map(|(labels, (switches, ..))| (labels.clone(), *switches)),
    );
    exposition.seconds(
        "stream_slate_seconds_total",
        "For how long a stream has shown its slate, in all.",
        &OBJECT,
        slates.iter().map(|(labels, (_, lasted, _))| (labels.clone(), *lasted)),
    );
}

fn collect_pushes(exposition: &Exposition, report: &Report, registry: &Registry) {
    type Pick = fn(&Counts) -> u64;
    let pushes = || report.units.iter().filter_map(|unit| Some((unit, unit.push.as_ref()?)));
    exposition.gauges(
        "push_mode",
        "What a push sends (1), among what it can send: the camera, the slate, nothing while the camera is away, nothing without a session.",
        &["namespace", "name", "mode"],
        pushes().flat_map(|(unit, facts)| {
            PushMode::ALL.map(|mode| {
                (object_and(&unit.object.key, &[mode.name()]), i64::from(facts.mode == mode))
            })
        }),
    );
    exposition.counters(
        "push_reconnects_total",
        "How often a push began its session with the target again.",
        &OBJECT,
        pushes().map(|(unit, _)| (object(&unit.object.key), unit.reconnects)),
    );
    let counts: Vec<_> = registry.pushes.all().into_iter().map(|(key, meter)| (key, meter.counts())).collect();
    let counters: [(&str, &str, Pick); 4] = [
        ("push_bytes_total", "Bytes that the target of a push has acknowledged.", |counts| counts.bytes),
        ("push_frames_total", "Pictures that were sent to the target of a push.", |counts| counts.pictures),
        (
            "push_dropped_frames_total",
            "Frames that a push left out because its target took less than the camera sent.",
            |counts| counts.dropped,
        ),
        ("push_sessions_total", "Sessions in which the target of a push took what was sent.", |counts| counts.sessions),
    ];
    for (name, help, pick) in counters {
        exposition.counters(name, help, &OBJECT, counts.iter().map(|(key, counts)| (object(key), pick(counts))));
    }
    exposition.ratios(
        "push_session_start_timestamp_seconds",
        "Since when the session with the target of a push lasts; absent while there is none.",
        &OBJECT,
        counts.iter().filter_map(|(key, counts)| Some((object(key), counts.since?.as_microsecond() as f64 / 1e6))),
    );
}

fn collect_encoders(exposition: &Exposition, registry: &Registry) {
    type Pick = fn(&EncodeMeter) -> u64;
    let meters = registry.encodes.all();
    let encoded: Vec<_> = meters
        .iter()
        .flat_map(|(object, meter)| {
            meter.encoded().into_iter().map(|encoded| {
                let labels = object_and(&object.key, &[object.kind.plural(), &encoded.rendition]);
                (labels, encoded.pictures, encoded.lasts)
            })
        })
        .collect();
    let labels = ["namespace", "name", "kind", "rendition"];
    exposition.gauges(
        "transcode_encoder",
        "1 for the encoder, by FFmpeg's name of it, that encodes a stream's or recording's pictures anew.",
        &["namespace", "name", "kind", "encoder"],
        meters.iter().filter_map(|(object, meter)| {
            Some((object_and(&object.key, &[object.kind.plural(), meter.encoder()?]), 1))
        }),
    );
    exposition.counters(
        "transcode_frames_total",
        "Pictures that were encoded anew.",
        &labels,
        encoded.iter().map(|(labels, pictures, _)| (labels.clone(), *pictures)),
    );
    exposition.seconds(
        "transcode_media_seconds_total",
        "For how long the pictures that were encoded anew are shown, in all: its rate is the speed, 1 as long as the encoder keeps up.",
        &labels,
        encoded.iter().map(|(labels, _, lasts)| (labels.clone(), *lasts)),
    );
    let counters: [(&str, &str, Pick); 2] = [
        (
            "transcode_dropped_frames_total",
            "Frames that were not encoded because the encoder was slower than the camera.",
            EncodeMeter::dropped,
        ),
        ("transcode_starts_total", "How often an encoder was started.", EncodeMeter::starts),
    ];
    for (name, help, pick) in counters {
        let of = |(object, meter): &(ObjectRef, Arc<EncodeMeter>)| {
            (object_and(&object.key, &[object.kind.plural()]), pick(meter))
        };
        exposition.counters(name, help, &["namespace", "name", "kind"], meters.iter().map(of));
    }
}

fn collect_recordings(exposition: &Exposition, report: &Report) {
    let recordings = || report.units.iter().filter_map(|unit| Some((&unit.object.key, unit.recording.as_ref()?)));
    exposition.ratios(
        "recording_coverage_ratio",
        "Share of the last closed UTC hour or day for which video is held.",
        &["namespace", "name", "window"],
        recordings().flat_map(|(key, facts)| {
            [("hour", facts.coverage_hour_ppm), ("day", facts.coverage_day_ppm)]
                .into_iter()
                .filter_map(move |(window, parts)| Some((object_and(key, &[window]), f64::from(parts?) / 1_000_000.0)))
        }),
    );
    exposition.gauges(
        "recording_progress_percent",
        "How much of a clip is recorded.",
        &OBJECT,
        recordings().filter_map(|(key, facts)| Some((object(key), i64::from(facts.progress_percent?)))),
    );
}

fn collect_meters(exposition: &Exposition, registry: &Registry) {
    let meters = registry.meters.all();
    exposition.seconds(
        "recording_wanted_seconds_total",
        "How long a continuous recording has been wanted, since its unit started.",
        &OBJECT,
        meters.iter().map(|(key, meter)| (object(key), meter.wanted())),
    );
    exposition.seconds(
        "recording_held_seconds_total",
        "How much of that is on the disk, as coverage counts it.",
        &OBJECT,
        meters.iter().map(|(key, meter)| (object(key), meter.held())),
    );
}

fn collect_retention(exposition: &Exposition, registry: &Registry) {
    let tallies: Vec<_> =
        registry.retention.all().into_iter().map(|(key, retention)| (key, retention.tally())).collect();
    exposition.gauges(
        "archive_retention_state",
        "How the newest retention run of an archive went (1), among the ways that it can go.",
        &["namespace", "name", "state"],
        tallies.iter().flat_map(|(key, tally)| {
            RunState::ALL.map(|state| (object_and(key, &[state.name()]), i64::from(tally.state == Some(state))))
        }),
    );
    exposition.ratios(
        "archive_retention_last_run_timestamp_seconds",
        "When the retention rules were last applied to a whole archive.",
        &OBJECT,
        tallies.iter().filter_map(|(key, tally)| Some((object(key), tally.last_run?.0 as f64 / 1e6))),
    );
    let deleted = |pick: fn((u64, u64)) -> u64| {
        // Every rule from the start: of a counter that appears with its first count, Prometheus would miss that one.
        let lines = tallies.iter().flat_map(move |(key, tally)| {
            DeletionReason::ALL.map(move |reason| {
                let counts = tally.deleted.get(&reason).copied().unwrap_or_default();
                (object_and(key, &[&format!("{reason:?}")]), pick(counts))
            })
        });
        lines.collect::<Vec<_>>()
    };
    let labels = ["namespace", "name", "reason"];
    exposition.counters(
        "archive_deleted_files_total",
        "Files that retention deleted from an archive, by the rule that named them.",
        &labels,
        deleted(|(files, _)| files),
    );
    exposition.counters(
        "archive_deleted_bytes_total",
        "Bytes that retention deleted from an archive, by the rule that named them.",
        &labels,
        deleted(|(_, bytes)| bytes),
    );
}

fn collect_archives(exposition: &Exposition, report: &Report) {
    let archives = &report.archives;
    exposition.gauges(
        "archive_ready",
        "Whether an archive can be written.",
        &OBJECT,
        archives.iter().map(|archive| (object(&archive.key), i64::from(archive.ready))),
    );
    exposition.gauges(
        "archive_free_bytes",
        "Free bytes of an archive's volume.",
        &OBJECT,
        archives.iter().map(|archive| (object(&archive.key), archive.free_bytes as i64)),
    );
    exposition.gauges(
        "archive_size_bytes",
        "Size of an archive's volume.",
        &OBJECT,
        archives.iter().map(|archive| (object(&archive.key), archive.total_bytes as i64)),
    );
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::agent::hub::{Ending, Hub, Limits};
    use crate::media::frame::{
        Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros,
    };
    use crate::plan::report::{Reason, UnitReport};
    use crate::plan::unit::ObjectKind;

    #[test]
    fn a_unit_shows_in_exactly_one_state() {
        let object = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("shop", "door") };
        let unit = UnitReport {
            state: UnitState::Reconnecting,
            reason: Reason::Stalled,
            reconnects: 3,
            ..UnitReport::starting(object, 1, UtcMicros(0))
        };
        let exposition = Exposition::default();
        collect(&exposition, &Report { units: vec![unit], ..Report::default() }, &Registry::default());
        let text = exposition.encode();
        let line = |state| {
            format!(r#"camera_operator_unit_state{{kind="cameras",name="door",namespace="shop",state="{state}"}}"#)
        };
        assert!(text.contains(&format!("{} 1", line("Reconnecting"))), "{text}");
        assert!(text.contains(&format!("{} 0", line("Running"))), "{text}");
        assert!(text.contains(r#"camera_operator_camera_reconnects_total{name="door",namespace="shop"} 3"#), "{text}");
        let reason = r#"camera_operator_unit_reason{kind="cameras",name="door",namespace="shop",reason="Stalled"} 1"#;
        assert!(text.contains(reason), "{text}");
    }

    fn configuration() -> Arc<Configuration> {
        let video = TrackConfiguration {
            codec: Codec::H264,
            timescale: 1000,
            sample_entry: Bytes::new(),
            codec_string: "avc1.42c01e".into(),
            width: 64,
            height: 48,
            sample_rate: 0,
            channels: 0,
        };
        Arc::new(Configuration { generation: 0, video: Arc::new(video), audio: None })
    }

    fn frame() -> Frame {
        Frame {
            run: RunId(1),
            sequence: 1,
            track: TrackKind::Video,
            decode_time: 0,
            composition_offset: 0,
            duration: 40,
            kind: FrameKind::Key,
            generation: 0,
            utc: UtcMicros(0),
            payload: Bytes::from_static(&[0; 100]),
        }
    }

    #[test]
    fn the_age_of_the_newest_picture_is_told_once_there_is_one() {
        let registry = Registry::default();
        let hub = Arc::new(Hub::new(Limits { duration_micros: 1_000_000, bytes: 1 << 20 }));
        registry.hubs.insert(ObjectKey::new("shop", "door"), hub.clone());
        let text = || {
            let exposition = Exposition::default();
            collect(&exposition, &Report::default(), &registry);
            exposition.encode()
        };
        let age = r#"camera_operator_camera_seconds_since_frame{name="door",namespace="shop"}"#;
        assert!(!text().contains(age));
        let sound = Frame { track: TrackKind::Audio, ..frame() };
        hub.publish(&configuration(), [sound]);
        assert!(!text().contains(age), "sound alone is no sign of a picture");
        hub.publish(&configuration(), [frame()]);
        assert!(text().contains(age), "{}", text());
    }

    #[test]
    fn a_cut_counts_and_a_stop_does_not() {
        let registry = Registry::default();
        let hub = Arc::new(Hub::new(Limits { duration_micros: 1_000_000, bytes: 1 << 20 }));
        registry.hubs.insert(ObjectKey::new("shop", "door"), hub.clone());
        for reason in [Reason::Stalled, Reason::SourceEnded, Reason::ShuttingDown] {
            hub.end_run(Ending { run: RunId(1), reason, message: String::new(), at: UtcMicros(0) });
        }
        let exposition = Exposition::default();
        collect(&exposition, &Report::default(), &registry);
        let text = exposition.encode();
        assert!(text.contains(r#"camera_operator_camera_cuts_total{name="door",namespace="shop"} 2"#), "{text}");
    }

    #[test]
    fn what_is_encoded_is_told_by_object_and_rendition() {
        let registry = Registry::default();
        // A stream and a recording may have the same name.
        for (kind, renditions) in [(ObjectKind::Stream, vec!["full", "small"]), (ObjectKind::Recording, vec![""])] {
            let meter = Arc::new(EncodeMeter::new(renditions));
            meter.start("libx264");
            meter.count_picture(0, 40_000);
            meter.count_picture(0, 40_000);
            meter.count_dropped(7);
            registry.encodes.insert(ObjectRef { kind, key: ObjectKey::new("shop", "door") }, meter);
        }
        let exposition = Exposition::default();
        collect(&exposition, &Report::default(), &registry);
        let text = exposition.encode();
        let door = r#"name="door",namespace="shop""#;
        for line in [
            format!(r#"transcode_encoder{{encoder="libx264",kind="streams",{door}}} 1"#),
            format!(r#"transcode_frames_total{{kind="streams",{door},rendition="full"}} 2"#),
            format!(r#"transcode_frames_total{{kind="streams",{door},rendition="small"}} 0"#),
            format!(r#"transcode_frames_total{{kind="recordings",{door},rendition=""}} 2"#),
            format!(r#"transcode_media_seconds_total{{kind="streams",{door},rendition="full"}} 0.08"#),
            format!(r#"transcode_dropped_frames_total{{kind="recordings",{door}}} 7"#),
            format!(r#"transcode_starts_total{{kind="streams",{door}}} 1"#),
        ] {
            assert!(text.contains(&format!("camera_operator_{line}\n")), "{line} in {text}");
        }
    }
}
