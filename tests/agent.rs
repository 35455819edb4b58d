//! `camera-operator agent` without a cluster: one agent for a camera, one for an archive, one for a Motion JPEG stream, each
//! with the files that kubelet would mount, and real tokens. Plans change in place, agents are killed and rolled out, and the
//! counter in every picture tells what the recording lacks or has twice.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use camera_operator::plan::unit::{
    Access, ArchivePlan, Credentials, DeclaredRecording, Engine, Hls, Ingest, Location, Mjpeg, ObjectKey, ObjectKind,
    ObjectRef, Plan, Reconnect, Record, RecordMode, RetentionRules, RetentionSchedule, RtspTransport, SecretKey,
    Source, SourceGuard, Unit, Work,
};
use support::agent::Agent;
use support::camera::Camera;
use support::program::{BINARY, files_beneath, media_files_beneath};
use support::service::Service;
use support::token::{AUDIENCE, ISSUER, Issuer};
use support::{hls, http, judge, wait};

const OPERATOR: &str = "camera-operator:camera-operator";
const ARCHIVE: &str = "shop:default-archive";
const RATE: u32 = 10;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn unit(kind: ObjectKind, name: &str, work: Work) -> Unit {
    Unit { object: ObjectRef { kind, key: key(name) }, uid: format!("uid-{name}"), generation: 1, work }
}

fn ingest(source: Source) -> Unit {
    let work = Work::Ingest(Ingest {
        source,
        stall_timeout_ms: 5_000,
        start_timeout_ms: 15_000,
        reconnect: Reconnect { initial_delay_ms: 200, max_delay_ms: 1_000, max_attempts: None },
        ring_ms: 10_000,
        ring_bytes: 32 << 20,
    });
    unit(ObjectKind::Camera, "door", work)
}

fn rtsp(url: &str, secret: Option<&str>) -> Unit {
    let part = |name: &str, key: &str| SecretKey { namespace: "shop".into(), name: name.into(), key: key.into() };
    let credentials =
        secret.map(|name| Credentials { username: part(name, "username"), password: part(name, "password") });
    ingest(Source::Rtsp {
        location: Location::Url(url.into()),
        transport: RtspTransport::Tcp,
        credentials,
        engine: Engine::Auto,
    })
}

fn from_hub(port: u16) -> Unit {
    ingest(Source::Hub { address: format!("http://127.0.0.1:{port}") })
}

fn live(name: &str) -> Unit {
    let work = Hls {
        camera: key("door"),
        segment_ms: 1_000,
        playlist_segments: 6,
        low_latency: false,
        part_ms: 500,
        audio: true,
        audio_bit_rate: None,
        fallback: None,
        video: None,
    };
    unit(ObjectKind::Stream, name, Work::Hls(work))
}

fn recording(name: &str) -> Unit {
    let work = Record {
        camera: key("door"),
        archive: key("default"),
        mode: RecordMode::Continuous { segment_ms: 60_000 },
        audio: true,
        video: None,
        retention: RetentionRules::default(),
        adopt: false,
    };
    unit(ObjectKind::Recording, name, Work::Record(work))
}

fn access(issuer: &Issuer) -> Access {
    Access {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        keys: issuer.keys(),
        control: [OPERATOR, ARCHIVE].iter().map(|account| format!("system:serviceaccount:{account}")).collect(),
        host_network: false,
        media: Vec::new(),
    }
}

fn plan(issuer: &Issuer, mut units: Vec<Unit>) -> Plan {
    units.sort_by(|one, other| one.object.cmp(&other.object));
    Plan { units, access: Some(access(issuer)), ..Plan::new("test") }
}

fn archive_plan(issuer: &Issuer, root: &Path, camera: u16, recordings: &[&str]) -> Plan {
    let archive = ArchivePlan {
        key: key("default"),
        uid: "uid-default".into(),
        generation: 1,
        root: root.display().to_string(),
        min_free_bytes: 0,
        retention: RetentionSchedule {
            schedule: "0 3 * * *".into(),
            time_zone: "Etc/UTC".into(),
            orphans_ms: None,
            overdue_ms: None,
        },
    };
    let declared = |name: &&str| DeclaredRecording {
        key: key(name),
        archive: key("default"),
        retention: RetentionRules::default(),
    };
    let units = recordings.iter().map(|name| recording(name)).chain([from_hub(camera)]).collect();
    let declared = recordings.iter().map(declared).collect();
    Plan { archives: vec![archive], recordings: declared, ..plan(issuer, units) }
}

/// An archive's agent, recording from the camera's agent at that port.
fn archive_agent(issuer: &Issuer, camera: u16, recordings: &[&str]) -> Agent {
    let token = issuer.token(OPERATOR, 3600);
    let mut agent = Agent::prepare(&Plan::new("later"), &token);
    agent.write_plan(&archive_plan(issuer, &agent.archive(), camera, recordings));
    agent.write_token(&issuer.token(ARCHIVE, 3600));
    agent.run();
    agent.await_ready();
    agent
}

/// The counters of all pictures of a recording that is not being written, as its index plays: a file that goes on where another
/// one was cut off cannot be shown without it.
fn counters(agent: &Agent, recording: &str) -> Vec<u32> {
    let folder = agent.archive().join("shop").join(recording);
    let is_index = |path: &PathBuf| path.ends_with("playlist.m3u8");
    files_beneath(&folder)
        .iter()
        .filter(|path| is_index(path))
        .flat_map(|index| judge::counters_of_index(index))
        .collect()
}

/// Waits until this many pictures more have been recorded.
fn await_pictures(agent: &Agent, recording: &str, more: u32) {
    let newest = || {
        let files = media_files_beneath(&agent.archive().join("shop").join(recording));
        let counters: Vec<u32> =
            files.last().map(|file| judge::counters(file.to_str().unwrap())).into_iter().flatten().flatten().collect();
        counters.last().copied()
    };
    let first = wait("a first picture in the archive", newest);
    wait("more pictures in the archive", || newest().filter(|newest| *newest >= first + more));
}

fn assert_no_doubles(counters: &[u32]) {
    let doubles: Vec<_> = counters.windows(2).filter(|pair| pair[1] <= pair[0]).collect();
    assert!(doubles.is_empty(), "pictures come twice: {doubles:?}");
}

fn retain(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("retain").args(arguments).output().unwrap()
}

#[test]
fn plans_change_in_place_and_only_those_who_may_are_answered() {
    let issuer = Issuer::new();
    let mut camera = Camera::with_password("--audio aac", "viewer", "first-Tamarind7");
    let operator = issuer.token(OPERATOR, 3600);
    let mut source = Agent::prepare(&plan(&issuer, vec![rtsp(&camera.url, Some("door"))]), &operator);
    source.write_secret("door", &[("username", "viewer"), ("password", "first-Tamarind7")]);
    source.run();
    source.await_ready();
    let facts = source.await_unit("Camera", "door", "Running");
    assert_eq!(facts["media"]["width"], 320, "ready with its first frame: {facts}");

    let mut archive = archive_agent(&issuer, source.port, &["door"]);
    archive.await_unit("Recording", "door", "Running");
    let pictures = Mjpeg { camera: key("door"), frames_per_second: 5, quality: 8, width: None };
    let pictures = unit(ObjectKind::Stream, "pictures", Work::Mjpeg(pictures));
    let viewer = Agent::prepare(&plan(&issuer, vec![from_hub(source.port), pictures]), &operator);
    viewer.write_token(&issuer.token(ARCHIVE, 3600));
    let mut viewer = viewer;
    viewer.run();
    viewer.await_ready();

    // Another stream and another recording: nothing restarts, and the camera sees one connection.
    let more = plan(&issuer, vec![rtsp(&camera.url, Some("door")), live("door")]);
    source.write_plan(&more);
    source.await_plan(&more);
    let playlist = source.url("/live/shop/door/index.m3u8");
    wait("a live playlist", || hls::fetch(&playlist).filter(|(_, playlist)| playlist.segments.len() > 1));
    let more = archive_plan(&issuer, &archive.archive(), source.port, &["door", "second"]);
    archive.write_plan(&more);
    archive.await_plan(&more);
    archive.await_unit("Recording", "second", "Running");
    let snapshot = viewer.url("/live/shop/pictures/snapshot.jpg");
    wait("a picture", || http::get(&snapshot).ok().filter(|answer| answer.header("content-type") == "image/jpeg"));
    assert_eq!((camera.stats().total_connections, camera.stats().plays), (1, 1));
    for agent in [&source, &archive, &viewer] {
        assert_eq!(agent.unit("Camera", "door").unwrap()["reconnects"], 0);
        assert_eq!(http::get(&agent.url("/healthz")).unwrap().status, 200);
    }

    // A plan that cannot be read changes nothing, and is said.
    source.write_plan_text(r#"{"version": 99, "agent": "test", "units": []}"#);
    let problem = wait("the problem", || source.report()["planProblem"].as_str().map(str::to_owned));
    assert!(problem.contains("version 99") && problem.contains("image"), "{problem}");
    assert_eq!(source.unit("Camera", "door").unwrap()["state"], "Running");

    // Who may ask.
    let other = Issuer::new();
    let media = "/v1/cameras/shop/door/live.mp4?after=x";
    for (token, status) in [
        (None, 401),
        (Some("rubbish".to_owned()), 401),
        (Some(issuer.token(OPERATOR, -600)), 401),
        (Some(other.token(OPERATOR, 3600)), 401),
        (Some(issuer.token("shop:default", 3600)), 403),
        (Some(issuer.token(ARCHIVE, 3600)), 400),
    ] {
        let answer = source.get_with(media, token.as_deref());
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }

    // Retention, asked for with a token.
    let recorder = archive.url("");
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, &operator).unwrap();
    let with_token =
        ["--recorder", &recorder, "--archive", "shop/default", "--token-file", token_file.to_str().unwrap()];
    for more in [&["--preview"][..], &[]] {
        let output = retain(&[&with_token[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("0 files"), "nothing is old enough");
    }
    let refused = retain(&with_token[..4]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ServiceAccount token"), "{refused:?}");

    // The password is changed at the camera, then in the mounted Secret: no restart.
    camera.ask(&serde_json::json!({"do": "password", "password": "second-Loquat3"}));
    camera.ask(&serde_json::json!({"do": "disconnect"}));
    let unit =
        wait("the refusal", || source.unit("Camera", "door").filter(|unit| unit["reason"] == "CredentialRefused"));
    wait("the camera's own reason elsewhere", || {
        archive.unit("Camera", "door").filter(|there| there["reason"] == unit["reason"])
    });
    source.write_secret("door", &[("username", "viewer"), ("password", "second-Loquat3")]);
    source.await_unit("Camera", "door", "Running");
    archive.await_unit("Recording", "door", "Running");
    await_pictures(&archive, "door", RATE);

    // Everything ends in order: files are whole.
    for agent in [&mut archive, &mut viewer, &mut source] {
        assert_eq!(agent.terminate().code(), Some(0), "{}", agent.log());
        for secret in ["Tamarind7", "Loquat3", operator.as_str()] {
            assert!(!agent.log().contains(secret));
        }
        assert!(agent.log().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "JSON logs");
    }
    for recording in ["door", "second"] {
        let files = media_files_beneath(&archive.archive().join("shop").join(recording));
        files.iter().for_each(|file| judge::assert_decodes(file));
        let counters = counters(&archive, recording);
        assert_no_doubles(&counters);
        assert_eq!(judge::holes(&counters, &camera.stats().skips).len(), 1, "only while the password was wrong");
    }
}

#[test]
fn a_recording_outlives_kills_and_roll_outs_of_agents() {
    let issuer = Issuer::new();
    let mut camera = Camera::start("--audio aac");
    let operator = issuer.token(OPERATOR, 3600);
    let source_plan = plan(&issuer, vec![rtsp(&camera.url, None)]);
    let mut source = Agent::start(&source_plan, &operator);
    let service = Service::new(source.port);
    let mut archive = archive_agent(&issuer, service.port, &["door"]);
    await_pictures(&archive, "door", 2 * RATE);

    // The recorder is killed: what it missed is still in the camera's agent.
    archive.kill();
    archive.run();
    archive.await_ready();
    await_pictures(&archive, "door", 3 * RATE);

    // The camera's agent is killed: what nobody received is missing, and no more.
    let before_kill = camera.stats().last_counter.unwrap();
    source.kill();
    let after_kill = camera.stats().last_counter.unwrap();
    archive.await_unit("Camera", "door", "Reconnecting");
    source.run();
    source.await_ready();
    await_pictures(&archive, "door", 3 * RATE);

    // A roll-out with overlap: for a while there are two agents, then the old one is stopped.
    let mut next = Agent::start(&source_plan, &operator);
    await_pictures(&archive, "door", 2 * RATE);
    service.point_to(&[source.port, next.port]);
    assert_eq!(source.terminate().code(), Some(0));
    await_pictures(&archive, "door", 3 * RATE);
    // And one in which the old agent is killed.
    let mut last = Agent::start(&source_plan, &operator);
    await_pictures(&archive, "door", 2 * RATE);
    service.point_to(&[next.port, last.port]);
    next.kill();
    await_pictures(&archive, "door", 3 * RATE);

    assert_eq!(archive.terminate().code(), Some(0), "{}", archive.log());
    let recorded = counters(&archive, "door");
    assert_no_doubles(&recorded);
    let holes = judge::holes(&recorded, &camera.stats().skips);
    assert_eq!(holes.len(), 1, "only the kill: {holes:?} in {}", archive.log());
    let (before, after) = holes[0];
    // Up to a second of what the killed agent had may have been on its way.
    assert!(before + RATE >= before_kill && before <= after_kill, "{before}: {before_kill} to {after_kill}");
    assert!(after > after_kill);

    // The recorder comes back under another agent's run: nothing is recorded twice.
    archive.run();
    archive.await_ready();
    await_pictures(&archive, "door", 3 * RATE);
    assert_eq!(archive.terminate().code(), Some(0));
    let recorded = counters(&archive, "door");
    assert_no_doubles(&recorded);
    assert!(judge::holes(&recorded, &camera.stats().skips).len() <= 2);
    assert_eq!(last.terminate().code(), Some(0));
}

#[test]
fn in_a_cluster_a_source_reads_nothing_that_only_the_cluster_should() {
    let issuer = Issuer::new();
    let camera = Camera::start("");
    let guarded = |refused: &[&str]| Plan {
        guard: Some(SourceGuard { refused: refused.iter().map(|text| (*text).to_owned()).collect() }),
        ..plan(&issuer, vec![rtsp(&camera.url, None)])
    };
    let mut agent = Agent::prepare(&guarded(&[]), &issuer.token(OPERATOR, 3600));
    agent.run();
    wait("an agent that answers", || http::get(&agent.url("/healthz")).ok());
    let refused = wait("the refusal", || {
        let unit = agent.unit("Camera", "door")?;
        unit["message"].as_str().filter(|text| text.contains("127.0.0.1 is 127.0.0.1")).map(str::to_owned)
    });
    assert!(refused.contains("write the address that it has in its own network"), "{refused}");
    agent.write_plan(&plan(&issuer, vec![rtsp(&camera.url, None)]));
    agent.await_unit("Camera", "door", "Running");
    assert_eq!(agent.terminate().code(), Some(0));
}
