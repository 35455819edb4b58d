//! Credentials are found nowhere: not in arguments or environment of any process, logs, metrics, HTTP answers, or files.

use std::fs;

use crate::support::camera::Camera;
use crate::support::program::{Program, files_beneath};
use crate::support::{http, manifest, process, wait};

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

fn assert_absent(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for form in forms() {
        assert!(!text.contains(&form), "{form} stands in {place}: {}", text.chars().take(4000).collect::<String>());
    }
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
        + &manifest::camera_with("basic", &basic.url, &rtsp("right"))
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
    assert!(seen > 20, "{seen} looks at processes");

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
        assert_absent(path, &answer.body);
        assert_absent(path, format!("{:?}", answer.headers).as_bytes());
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
    for file in files {
        assert_absent(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}
