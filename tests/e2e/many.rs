//! 200 cameras in one program, some of which fail in the ways that cameras do: each by itself, and nothing happens to the others.

use std::collections::BTreeMap;

use crate::support::film::Film;
use crate::support::program::Program;
use crate::support::rtsp_server::{RtspServer, Script};
use crate::support::{free_port, judge, manifest, wait};

const GOOD: usize = 180;
/// Cameras of each kind that fails.
const EACH: usize = 4;
/// Every so manieth good one is recorded.
const RECORDED: usize = 30;

fn camera(name: &str, url: &str) -> String {
    // Long enough for a machine that does much else.
    manifest::stalled_after(&manifest::camera_from(name, &format!("rtsp: {{url: \"{url}\", engine: Native}}")), "15s")
}

/// The `Ready` condition of every camera, as status and reason.
fn ready(program: &Program) -> BTreeMap<String, (String, String)> {
    let list = program.json("/api/v1/namespaces/default/cameras");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let conditions = item["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
            (text(&item["metadata"]["name"]), (text(&ready["status"]), text(&ready["reason"])))
        })
        .collect()
}

#[test]
fn two_hundred_cameras_do_not_disturb_one_another() {
    let film = Film::encode("H264", 10, 0).of_key_frames(2);
    let good = RtspServer::start(Script { times: 1000, ..Script::good(film.clone()) });
    let refusing = |status| Script { refuse: (usize::MAX, status), ..Script::good(film.clone()) };
    let faults = [
        ("refuses", "CredentialRefused", refusing("401 Unauthorized")),
        ("is-full", "Unreachable", refusing("453 Not Enough Bandwidth")),
        ("babbles", "NoVideo", Script { before: || b"no RTSP at all\r\n\r\n".to_vec(), ..Script::good(film.clone()) }),
        ("freezes", "Stalled", Script::good(film.clone())),
    ];
    let servers: Vec<_> = faults.map(|(name, reason, script)| (name, reason, RtspServer::start(script))).into();
    let nobody = format!("rtsp://127.0.0.1:{}/film", free_port());

    let mut manifests: String = (0..GOOD).map(|number| camera(&format!("good-{number}"), &good.url)).collect();
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    let bad = servers.iter().map(|(name, reason, server)| (*name, *reason, server.url.as_str()));
    for (kind, reason, url) in bad.chain([("is-away", "Unreachable", nobody.as_str())]) {
        for number in 0..EACH {
            let name = format!("{kind}-{number}");
            manifests += &manifest::camera_with(&name, url, "engine: Native");
            expected.insert(name, reason);
        }
    }
    for number in (0..GOOD).step_by(RECORDED) {
        manifests += &manifest::recording(&format!("rec-{number}"), &format!("good-{number}"));
    }
    let mut program = Program::start(&manifests);

    let all_good = |now: &BTreeMap<String, (String, String)>| {
        now.iter().filter(|(name, (status, _))| name.starts_with("good-") && status == "True").count() == GOOD
    };
    wait("all good cameras are ready", || all_good(&ready(&program)).then_some(()));
    // Each of the others says what is wrong with it, and is tried again and again.
    let mut missing = expected.clone();
    wait("each bad camera tells its own reason", || {
        let now = ready(&program);
        missing.retain(|name, reason| now.get(name).is_none_or(|(status, is)| status == "True" || is != reason));
        missing.is_empty().then_some(())
    });
    for (name, _, server) in &servers {
        wait(&format!("what {name} is tried again"), || {
            (server.seen.lock().unwrap().connections >= 3 * EACH).then_some(())
        });
    }
    assert!(all_good(&ready(&program)), "{:?}", ready(&program));
    let count = |method: &str| good.seen.lock().unwrap().requests.iter().filter(|request| *request == method).count();
    assert_eq!(count("PLAY"), GOOD, "one session each, from the beginning");
    assert!(program.terminate().success());
    // What the program has sent last is still to be read, by a thread of this process.
    wait("each session is ended", || (count("TEARDOWN") >= GOOD).then_some(()));
    assert_eq!(count("TEARDOWN"), GOOD);
    for number in (0..GOOD).step_by(RECORDED) {
        let files = program.media_files(&format!("rec-{number}"));
        let shown: Vec<f64> = files
            .iter()
            .flat_map(|file| judge::packets(file.to_str().unwrap(), "v"))
            .map(|packet| packet.pts)
            .collect();
        assert!(shown.len() > 4, "rec-{number}: {shown:?}");
        let whole = shown.windows(2).all(|pair| (pair[1] - pair[0] - 0.5).abs() < 0.01);
        assert!(whole, "rec-{number} has a hole: {shown:?}");
    }
}
