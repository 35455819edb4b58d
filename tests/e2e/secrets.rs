//! Credentials are found nowhere: not in arguments or environment of any process, logs, metrics, HTTP answers, or files.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;

use crate::support::camera::Camera;
use crate::support::http::Answer;
use crate::support::program::{Program, files_beneath};
use crate::support::{http, manifest, peer, process, wait};

const PASSWORD: &str = "Zeta7-kumquat/9%Q";
const WRONG: &str = "Omega4-rhubarb+1";
const SECRET_PATH: &str = "token-Persimmon5";

/// Each secret as it is, and as it could be written in a URL, in JSON, or for basic authentication.
fn forms() -> Vec<String> {
    let mut forms = vec![PASSWORD.to_owned(), WRONG.to_owned(), SECRET_PATH.to_owned()];
    forms.push(PASSWORD.replace('%', "%25").replace('/', "%2F"));
    forms.push(PASSWORD.replace('%', "%25").replace('/', "%2f"));
    forms.push(WRONG.replace('+', "%2B"));
    forms.push("kumquat".to_owned());
    forms.push("rhubarb".to_owned());
    // base64 of viewer:<password>
    forms.push("dmlld2VyOlpldGE3LWt1bXF1YXQvOSVR".to_owned());
    forms
}

/// The first form of a secret that stands in these bytes. Text that is no UTF-8 is searched as it is, too.
fn found_in(bytes: &[u8]) -> Option<String> {
    forms().into_iter().find(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

fn assert_absent(place: &str, bytes: &[u8]) {
    if let Some(form) = found_in(bytes) {
        let text = String::from_utf8_lossy(bytes);
        panic!("{form} stands in {place}: {}", text.chars().take(4000).collect::<String>());
    }
}

/// The search finds what it is for: a secret in every form, in what a process shows, in an HTTP answer's body and headers, in what
/// a program prints, and deep in a folder's binary file.
#[test]
fn a_leak_would_be_found() {
    for form in forms() {
        assert_eq!(found_in(&[&[0xff, 0, 0xfe], form.as_bytes(), &[0x80]].concat()).as_deref(), Some(form.as_str()));
    }
    assert_eq!(found_in(b"nothing of the kind"), None);
    // Arguments and environment of a process beneath another, as the program's FFmpeg is.
    let environment_leaks = |value: &str| {
        let mut shell = Command::new("sh").args(["-c", "sleep 600 & wait"]).env("LEAK", value).spawn().unwrap();
        wait("the child", || (process::tree(shell.id()).len() == 2).then_some(()));
        let child = process::tree(shell.id())[1];
        let leaks = found_in(&process::arguments_and_environment(child)).is_some();
        process::signal(child, "KILL");
        shell.wait().unwrap();
        leaks
    };
    assert!(environment_leaks(WRONG) && !environment_leaks("nothing"));
    let mut shown =
        Command::new("sleep").args(["600"]).arg0(format!("rtsp://viewer:{PASSWORD}@camera")).spawn().unwrap();
    wait("the arguments", || found_in(&process::arguments_and_environment(shown.id())));
    shown.kill().unwrap();
    shown.wait().unwrap();

    // What comes over HTTP and what a file holds.
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("archives/default/default");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("37.mp4"), [&[0xff; 1000], SECRET_PATH.as_bytes(), &[0; 1000]].concat()).unwrap();
    assert_eq!(leaking_files(folder.path()), [deep.join("37.mp4")]);
    let server = peer::web_camera("", folder.path(), None);
    let leak = http::get(&format!("http://127.0.0.1:{}/archives/default/default/37.mp4", server.port)).unwrap();
    assert_eq!(leaks(&leak).as_deref(), Some(SECRET_PATH));
    let mut answer = Answer { body: Bytes::new(), ..leak };
    assert_eq!(leaks(&answer), None);
    answer.headers.insert("location", format!("/{SECRET_PATH}").parse().unwrap());
    assert_eq!(leaks(&answer).as_deref(), Some(SECRET_PATH), "headers are looked at, too");
}

/// The secret that stands in an answer's body or headers.
fn leaks(answer: &Answer) -> Option<String> {
    let headers = answer.headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    std::iter::once(&answer.body[..]).chain(headers).find_map(found_in)
}

/// The files beneath a folder that hold a secret, or whose names do.
fn leaking_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = files_beneath(folder);
    files.retain(|file| {
        found_in(file.to_string_lossy().as_bytes()).or_else(|| found_in(&fs::read(file).unwrap())).is_some()
    });
    files
}

#[test]
fn credentials_are_found_nowhere() {
    let mut right = Camera::with_password("--audio aac", "viewer", PASSWORD);
    let wrong = Camera::with_password("", "viewer", PASSWORD);
    let mut basic = Camera::with_password("--auth basic", "viewer", PASSWORD);
    let mut hidden = Camera::start(&format!("--path /{SECRET_PATH}"));
    let hidden_url = hidden.url.clone();
    let rtsp = |secret: &str| format!("credentialsSecretRef: {{name: {secret}}}");
    let missing = format!("rtsp://127.0.0.1:{}/{SECRET_PATH}", crate::support::free_port());
    let objects = manifest::credentials("right", "viewer", PASSWORD)
        + &manifest::credentials("wrong", "viewer", WRONG)
        + &manifest::secret("hidden", &[("url", &hidden_url), ("missing", &missing)])
        + &manifest::camera_with("right", &right.url, &rtsp("right"))
        + &manifest::camera_with("wrong", &wrong.url, &rtsp("wrong"))
        + &manifest::camera_with("basic", &basic.url, &(rtsp("right") + "\nengine: FFmpeg"))
        + &manifest::camera_with("hidden", "", "urlSecretRef: {name: hidden, key: url}")
        + &manifest::camera_with("gone", "", "urlSecretRef: {name: hidden, key: missing}")
        + &["right", "basic", "hidden"]
            .map(|name| {
                manifest::hls(&format!("{name}-live"), name, "") + &manifest::recording(&format!("{name}-rec"), name)
            })
            .concat()
        + &manifest::mjpeg("pictures", "right");
    let mut program = Program::start_with(&objects, None, &[("RUST_LOG", "debug")]);
    // Arguments and environment are looked at from the first moment on, since processes come and go.
    let mut seen = 0;
    let mut look = |program: &mut Program| {
        for pid in program.processes() {
            assert_absent(
                &format!("arguments or environment of process {pid}"),
                &process::arguments_and_environment(pid),
            );
            seen += 1;
        }
    };
    for path in ["recordings/right-rec", "recordings/basic-rec", "recordings/hidden-rec", "streams/pictures"] {
        wait(path, || {
            look(&mut program);
            program.condition(path, "Ready").filter(|(status, ..)| status == "True")
        });
    }
    program.await_ready_condition("cameras/wrong", "False", &["CredentialRefused"]);
    program.await_ready_condition("cameras/gone", "False", &["Unreachable"]);
    // Cuts and what is said of them.
    for camera in [&mut right, &mut basic, &mut hidden] {
        camera.kill();
    }
    for path in ["cameras/right", "cameras/basic", "cameras/hidden"] {
        program.await_ready_condition(path, "False", &[]);
    }
    for name in ["right", "wrong", "hidden", "gone"] {
        assert_absent(
            "a connection test",
            &program.post(&format!("/api/v1/namespaces/default/cameras/{name}/test")).body,
        );
        look(&mut program);
    }
    for camera in [&mut right, &mut basic, &mut hidden] {
        camera.restart();
    }
    for path in ["recordings/right-rec", "recordings/basic-rec", "recordings/hidden-rec"] {
        wait(path, || {
            look(&mut program);
            program.condition(path, "Ready").filter(|(status, ..)| status == "True")
        });
    }
    assert!(seen > 10, "{seen} looks at processes");

    let mut paths = vec![
        "/".to_owned(),
        "/metrics".to_owned(),
        "/healthz".to_owned(),
        "/readyz".to_owned(),
        "/openapi.json".to_owned(),
        "/docs".to_owned(),
        "/v1/report".to_owned(),
        "/api/v1/health".to_owned(),
        "/api/v1/namespaces/default/secrets".to_owned(),
        "/api/v1/namespaces/default/secrets/right".to_owned(),
    ];
    for kind in ["cameras", "streams", "archives", "recordings"] {
        let list = format!("/api/v1/namespaces/default/{kind}");
        let items = program.json(&list)["items"].as_array().unwrap().clone();
        for item in items {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            paths.extend(["", "/logs", "/coverage", "/retention/preview"].map(|more| format!("{list}/{name}{more}")));
        }
        paths.push(list);
    }
    for name in ["right", "basic", "hidden"] {
        paths.push(format!("/live/default/{name}-live/index.m3u8"));
        paths.push(format!(
            "/recordings/default/{name}-rec/{}/playlist.m3u8",
            jiff::Timestamp::now().strftime("%Y-%m-%d/%H")
        ));
    }
    for path in &paths {
        let answer = program.get(path);
        assert_eq!(leaks(&answer), None, "{path}: {:?} {}", answer.headers, answer.text());
    }
    assert!(
        program.get("/api/v1/namespaces/default/cameras/right/logs").text().len() > 20,
        "there are logs to look at"
    );
    let events = http::runtime().block_on(async {
        let mut response = http::client().get(program.url("/api/v1/namespaces/default/events")).send().await.unwrap();
        response.chunk().await.unwrap().unwrap_or_default()
    });
    assert!(!events.is_empty());
    assert_absent("the events", &events);

    assert!(program.terminate().success(), "{}", program.log());
    assert!(!program.log().is_empty());
    assert_absent("the log", program.log().as_bytes());
    let files = files_beneath(program.data());
    assert!(files.len() > 6, "{files:?}");
    assert_eq!(leaking_files(program.data()), Vec::<PathBuf>::new());
}
