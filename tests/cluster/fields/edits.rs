//! The edits: what is merged into the spec of which object, whose pods are made anew for it, and where it shows. They come in rounds,
//! each of objects that have nothing to do with one another.

use serde_json::{Value, json};

/// What one edit of an object does.
pub struct Edit {
    /// Such as `camera/front`.
    pub object: &'static str,
    /// What is merged into its spec.
    pub spec: Value,
    pub then: Then,
    /// Where it shows: an object, and a text that its JSON holds afterwards (of a ConfigMap: the plan).
    pub seen: Vec<(&'static str, String)>,
}

/// What becomes of pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// All stay, and the agents run the new plan.
    Stays,
    /// The pods of these agents are replaced.
    Replaces(&'static [&'static str]),
    /// The pods of these agents go.
    Ends(&'static [&'static str]),
    /// The API server does not take it, with these words.
    Refused(&'static str),
}

fn edit(object: &'static str, spec: Value, then: Then, seen: &[(&'static str, &str)]) -> Edit {
    Edit { object, spec, then, seen: seen.iter().map(|(object, text)| (*object, (*text).to_owned())).collect() }
}

/// What stands in for addresses that are only known when the test runs.
pub struct Addresses {
    pub front: String,
    pub back: String,
    pub push: String,
    pub other_push: String,
}

/// All of `spec.video`, small enough to encode beside everything else.
fn video() -> Value {
    json!({"codec": "H264", "width": 160, "height": 120, "framesPerSecond": 5, "bitRate": "200k", "crf": 30,
        "preset": "UltraFast", "keyFrameInterval": "2s", "encoder": "Software", "threads": 1})
}

/// The same in a plan.
const VIDEO: &str = "\"framesPerSecond\":5,\"preset\":\"UltraFast\",\"keyFrameIntervalMs\":2000,\"threads\":1,\
     \"encoder\":\"Software\",\"renditions\":[{\"width\":160,\"height\":120,\"bitRate\":200000,\"crf\":30}]";

/// All of `spec.pod` but the node's network, which one pod of a node can have at a time.
fn pod() -> Value {
    json!({
        "resources": {"requests": {"cpu": "11m", "memory": "41Mi"}, "limits": {"cpu": "3", "memory": "411Mi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [
            {"key": "fields", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 77},
        ],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]},
        ]}}},
        "deviceResources": [{"name": "fields.test/device", "count": 1}],
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "fields-test",
    })
}

fn pod_shows(deployment: &'static str) -> Vec<(&'static str, String)> {
    let texts = [
        r#""cpu":"11m""#,
        r#""memory":"41Mi""#,
        r#""limits":{"cpu":"3","fields.test/device":"1","memory":"411Mi"}"#,
        r#""nodeSelector":{"kubernetes.io/os":"linux"}"#,
        r#""tolerationSeconds":77"#,
        r#""nodeSelectorTerms""#,
        r#""imagePullSecrets":[{"name":"registry"}]"#,
        r#""priorityClassName":"fields-test""#,
    ];
    texts.iter().map(|text| (deployment, (*text).to_owned())).collect()
}

/// Edits of cameras; `web`, `list`, `flash`, `srt` and `usb` are one of each source that no test here can serve.
pub fn cameras(at: &Addresses) -> Vec<Vec<Edit>> {
    use Then::{Replaces, Stays};
    let credentials = json!({"name": "cam"});
    let url = json!({"name": "cam", "key": "url"});
    let times = json!({
        "stallTimeout": "21s", "startTimeout": "22s", "reconnect": {"initialDelay": "2s", "maxDelay": "23s", "maxAttempts": 99},
        "buffer": {"duration": "11s", "maxSize": "24Mi"},
    });
    let test = json!({"test": {"width": 320, "height": 180, "framesPerSecond": 7, "keyFrameInterval": "3s", "audio": false,
        "text": "edited"}, "v4l2": null});
    let srt = json!({"source": {"srt": {"url": "srt://192.0.2.1:9", "latency": "333ms", "streamId": "edited"}}});
    let usb = json!({"source": {"v4l2": {"width": 320, "height": 180, "framesPerSecond": 7, "inputFormat": "MJPEG"}}});
    let address = |at: &str| format!("\"location\":{{\"url\":\"{at}\"}}");
    let mut first = vec![
        edit("camera/web", json!({"source": {"http": {"url": "http://192.0.2.1/edited"}}}), Stays, &[]),
        edit("camera/list", json!({"source": {"hls": {"url": "http://192.0.2.1/edited.m3u8"}}}), Stays, &[]),
        edit("camera/flash", json!({"source": {"rtmp": {"url": "rtmp://192.0.2.1/live/edited"}}}), Stays, &[]),
        edit("camera/front", json!({"source": {"rtsp": {"url": at.back}}}), Stays, &[]),
    ];
    let shown = [
        ("configmap/web-camera", address("http://192.0.2.1/edited")),
        ("configmap/list-camera", address("http://192.0.2.1/edited.m3u8")),
        ("configmap/flash-camera", address("rtmp://192.0.2.1/live/edited")),
        ("configmap/front-camera", address(&at.back)),
    ];
    for (edit, shown) in first.iter_mut().zip(shown) {
        edit.seen.push(shown);
    }
    vec![
        first,
        vec![
            edit(
                "camera/srt",
                srt,
                Stays,
                &[
                    ("configmap/srt-camera", "srt://192.0.2.1:9\""),
                    ("configmap/srt-camera", "\"latencyMs\":333"),
                    ("configmap/srt-camera", "\"streamId\":\"edited\""),
                ],
            ),
            edit(
                "camera/usb",
                usb,
                Stays,
                &[
                    ("configmap/usb-camera", "\"width\":320,\"height\":180,\"framesPerSecond\":7"),
                    ("configmap/usb-camera", "\"inputFormat\""),
                ],
            ),
            edit(
                "camera/front",
                times,
                Stays,
                &[
                    ("configmap/front-camera", "\"stallTimeoutMs\":21000"),
                    ("configmap/front-camera", "\"startTimeoutMs\":22000"),
                    ("configmap/front-camera", "\"initialDelayMs\":2000,\"maxDelayMs\":23000,\"maxAttempts\":99"),
                    ("configmap/front-camera", "\"ringMs\":11000,\"ringBytes\":25165824"),
                ],
            ),
        ],
        vec![
            edit(
                "camera/front",
                json!({"source": {"rtsp": {"transport": "UDP", "engine": "FFmpeg"}}}),
                Stays,
                &[
                    ("configmap/front-camera", "\"transport\":\"UDP\""),
                    ("configmap/front-camera", "\"engine\":\"FFmpeg\""),
                ],
            ),
            edit(
                "camera/web",
                json!({"source": {"http": {"credentialsSecretRef": credentials}}}),
                Replaces(&["web-camera"]),
                &[("configmap/web-camera", "\"credentials\"")],
            ),
            edit(
                "camera/list",
                json!({"source": {"hls": {"credentialsSecretRef": credentials}}}),
                Replaces(&["list-camera"]),
                &[("configmap/list-camera", "\"credentials\"")],
            ),
            edit(
                "camera/flash",
                json!({"source": {"rtmp": {"url": null, "urlSecretRef": url}}}),
                Replaces(&["flash-camera"]),
                &[("configmap/flash-camera", "\"key\":\"url\"")],
            ),
            edit(
                "camera/srt",
                json!({"source": {"srt": {"passphraseSecretRef": {"name": "cam", "key": "password"}}}}),
                Replaces(&["srt-camera"]),
                &[("configmap/srt-camera", "\"passphrase\"")],
            ),
            edit(
                "camera/usb",
                json!({"source": test}),
                Replaces(&["usb-camera"]),
                &[
                    (
                        "configmap/usb-camera",
                        "\"width\":320,\"height\":180,\"framesPerSecond\":7,\"keyFrameIntervalMs\":3000",
                    ),
                    ("configmap/usb-camera", "\"audio\":false,\"text\":\"edited\""),
                ],
            ),
        ],
        vec![
            // How the next pod follows is no reason for a next pod.
            edit(
                "camera/front",
                json!({"source": {"rtsp": {"singleSession": true, "transport": "TCP", "engine": null}}}),
                Stays,
                &[("deployment/front-camera", "\"type\":\"Recreate\"")],
            ),
            edit(
                "camera/web",
                json!({"source": {"http": {"url": null, "urlSecretRef": url}}}),
                Replaces(&["web-camera"]),
                &[("deployment/web-camera", "cam/url")],
            ),
            edit(
                "camera/list",
                json!({"source": {"hls": {"url": null, "urlSecretRef": url}}}),
                Replaces(&["list-camera"]),
                &[("deployment/list-camera", "cam/url")],
            ),
            edit(
                "camera/srt",
                json!({"source": {"srt": {"url": null, "urlSecretRef": url}}}),
                Replaces(&["srt-camera"]),
                &[("deployment/srt-camera", "cam/url")],
            ),
            edit(
                "camera/usb",
                json!({"source": {"test": null, "v4l2": {"device": "/dev/video7"}}}),
                Replaces(&["usb-camera"]),
                &[("configmap/usb-camera", "/dev/video7")],
            ),
        ],
        vec![edit(
            "camera/front",
            json!({"source": {"rtsp": {"singleSession": false, "credentialsSecretRef": credentials}}}),
            Replaces(&["front-camera"]),
            &[("deployment/front-camera", "cam/password")],
        )],
        vec![edit(
            "camera/front",
            json!({"source": {"rtsp": {"url": null, "credentialsSecretRef": null, "urlSecretRef": url}}}),
            Replaces(&["front-camera"]),
            &[("deployment/front-camera", "cam/url")],
        )],
    ]
}

/// What a plan says of the edit of `video`.
const ENCODED: &str = "\"video\":{\"codec\":\"H264\",\"framesPerSecond\":7,\"preset\":\"Fast\",\"keyFrameIntervalMs\":1000,\
    \"threads\":2,\"encoder\":\"Software\",\"renditions\":[{\"width\":160,\"height\":120,\"bitRate\":100000,\"crf\":33}]}";

/// Edits of streams, recordings and archives.
pub fn outputs(at: &Addresses) -> Vec<Vec<Edit>> {
    use Then::{Ends, Refused, Replaces, Stays};
    let hls = json!({"output": {"hls": {"segmentDuration": "3s", "playlistSegments": 7, "lowLatency": true,
        "partDuration": "600ms"}}, "audio": {"codec": "None"},
        "fallback": {"after": "3s", "text": "edited"}});
    let push = json!({"output": {"push": {"reconnect": {"initialDelay": "300ms", "maxDelay": "3s", "maxAttempts": 88},
        "youtube": {"videoId": "jfKfPfyJRdk"}}}, "audio": {"codec": "AAC", "bitRate": "96k"}, "video": video()});
    let archive = json!({"minFree": "2Mi", "reclaimPolicy": "Delete", "claim": {"size": "2Gi"},
        "retention": {"schedule": "7 4 * * *", "timeZone": "Europe/Madrid", "orphans": "40d"}});
    let recording = json!({"continuous": {"segmentDuration": "11s"}, "retention": {"maxAge": "41d", "maxSize": "3Gi"},
        "audio": {"codec": "None"}, "adopt": true, "video": video()});
    let side = json!({"cameraRef": {"name": "side"}});
    let video = json!({"codec": "H264", "width": 160, "height": 120, "framesPerSecond": 7, "bitRate": "100k", "crf": 33,
        "preset": "Fast", "keyFrameInterval": "1s", "threads": 2, "encoder": "Software"});
    let srt = json!({"output": {"push": {"url": "srt://192.0.2.1:9", "streamKeySecretRef": null, "youtube": null,
        "passphraseSecretRef": {"name": "keys", "key": "passphrase"}}}});
    let mut elsewhere = edit("stream/out", json!({"output": {"push": {"url": at.other_push}}}), Stays, &[]);
    elsewhere.seen.push(("configmap/out-stream", format!("\"url\":\"{}\"", at.other_push)));
    vec![
        vec![
            edit(
                "stream/live",
                hls,
                Stays,
                &[
                    (
                        "configmap/front-camera",
                        "\"segmentMs\":3000,\"playlistSegments\":7,\"lowLatency\":true,\"partMs\":600",
                    ),
                    ("configmap/front-camera", "\"audio\":false"),
                    ("configmap/front-camera", "\"afterMs\":3000"),
                    ("configmap/front-camera", "\"text\":\"edited\""),
                ],
            ),
            edit(
                "stream/sizes",
                json!({"output": {"hls": {"renditions": [
                    {"name": "small", "width": 160, "height": 120, "bitRate": "150k", "crf": 31},
                ]}}}),
                Stays,
                &[(
                    "configmap/sizes-stream",
                    "\"renditions\":[{\"name\":\"small\",\"width\":160,\"height\":120,\"bitRate\":150000,\"crf\":31}]",
                )],
            ),
            edit(
                "stream/pictures",
                json!({"output": {"mjpeg": {"framesPerSecond": 3, "quality": 9, "width": 160}}}),
                Stays,
                &[("configmap/pictures-stream", "\"framesPerSecond\":3,\"quality\":29,\"width\":160")],
            ),
            edit(
                "stream/out",
                push,
                Stays,
                &[
                    ("configmap/out-stream", "\"initialDelayMs\":300,\"maxDelayMs\":3000,\"maxAttempts\":88"),
                    ("configmap/out-stream", "\"audio\":\"AAC\",\"audioBitRate\":96000"),
                    ("configmap/out-stream", VIDEO),
                ],
            ),
            edit(
                "archive/default",
                archive,
                Stays,
                &[
                    ("configmap/default-archive", "\"minFreeBytes\":2097152"),
                    ("configmap/default-archive", "\"orphansMs\":3456000000"),
                    ("cronjob/default-retention", "\"schedule\":\"7 4 * * *\""),
                    ("cronjob/default-retention", "\"timeZone\":\"Europe/Madrid\""),
                    ("pvc/default-archive", "\"ownerReferences\""),
                    ("pvc/default-archive", "\"storage\":\"2Gi\""),
                ],
            ),
            edit(
                "recording/rec",
                recording,
                Stays,
                &[
                    ("configmap/default-archive", "\"segmentMs\":11000"),
                    ("configmap/default-archive", "\"audio\":false"),
                    ("configmap/default-archive", "\"maxAgeMs\":3542400000,\"maxBytes\":3221225472"),
                    ("configmap/default-archive", "\"adopt\":true"),
                    ("configmap/default-archive", VIDEO),
                ],
            ),
            edit(
                "recording/shot",
                json!({"clip": {"duration": "2h"}}),
                Stays,
                &[("configmap/default-archive", "\"durationMs\":7200000")],
            ),
        ],
        vec![edit(
            "archive/default",
            json!({"claim": {"storageClassName": "other"}}),
            Refused("make another Archive for another class"),
            &[],
        )],
        vec![edit(
            "archive/default",
            json!({"claim": {"accessModes": ["ReadWriteMany"]}}),
            Refused("make another Archive for other modes"),
            &[],
        )],
        vec![
            edit("stream/live", side.clone(), Stays, &[("configmap/side-camera", "\"name\":\"live\"")]),
            edit("stream/pictures", side.clone(), Stays, &[("configmap/pictures-stream", "side-camera.")]),
            edit("recording/rec", side, Stays, &[("configmap/default-archive", "side-camera.")]),
            elsewhere,
            edit(
                "archive/second",
                json!({"existingClaim": "kept-two"}),
                Replaces(&["second-archive"]),
                &[("deployment/second-archive", "\"claimName\":\"kept-two\"")],
            ),
        ],
        vec![
            edit(
                "stream/out",
                json!({
                    "cameraRef": {"name": "side"}, "output": {"push": {"streamKeySecretRef": {"name": "keys", "key": "second"}}}
                }),
                Replaces(&["out-stream"]),
                &[("deployment/out-stream", "keys/second")],
            ),
            edit(
                "recording/rec",
                json!({"archiveRef": {"name": "second"}}),
                Stays,
                &[("configmap/second-archive", "\"name\":\"rec\"")],
            ),
        ],
        vec![edit(
            "stream/out",
            json!({"fallback": {"image": {"configMapRef": {"name": "slate", "key": "slate.png"}}}}),
            Replaces(&["out-stream"]),
            &[("deployment/out-stream", "slate/slate.png")],
        )],
        vec![
            edit("stream/out", json!({"video": video}), Stays, &[("configmap/out-stream", ENCODED)]),
            edit("recording/rec", json!({"video": video}), Stays, &[("configmap/second-archive", ENCODED)]),
            // What encodes has a pod of its own.
            edit(
                "stream/live",
                json!({"video": {"codec": "H264"}, "output": {"hls": {"renditions": [
                    {"name": "small", "width": 160, "height": 120, "bitRate": "100k", "crf": 33}]}}}),
                Stays,
                &[(
                    "configmap/live-stream",
                    "{\"name\":\"small\",\"width\":160,\"height\":120,\"bitRate\":100000,\"crf\":33}",
                )],
            ),
        ],
        vec![
            edit("stream/out", json!({"video": null}), Stays, &[]),
            edit("recording/rec", json!({"video": null}), Stays, &[]),
            edit(
                "stream/live",
                json!({"video": null, "output": {"hls": {"renditions": null}}}),
                Ends(&["live-stream"]),
                &[("configmap/side-camera", "\"name\":\"live\"")],
            ),
        ],
        vec![
            edit("stream/out", srt, Replaces(&["out-stream"]), &[("deployment/out-stream", "keys/passphrase")]),
            Edit {
                seen: pod_shows("deployment/side-camera"),
                ..edit("camera/side", json!({"pod": pod()}), Replaces(&["side-camera"]), &[])
            },
            Edit {
                seen: pod_shows("deployment/pictures-stream"),
                ..edit("stream/pictures", json!({"pod": pod()}), Replaces(&["pictures-stream"]), &[])
            },
            Edit {
                seen: pod_shows("deployment/default-archive"),
                ..edit("archive/default", json!({"pod": pod()}), Replaces(&["default-archive"]), &[])
            },
        ],
        // One pod of a node has the node's network at a time.
        vec![edit(
            "camera/side",
            json!({"pod": {"hostNetwork": true}}),
            Replaces(&["side-camera"]),
            &[("deployment/side-camera", "\"hostNetwork\":true")],
        )],
        vec![
            edit("camera/side", json!({"pod": null}), Replaces(&["side-camera"]), &[]),
            edit(
                "archive/default",
                json!({"pod": {"hostNetwork": true}}),
                Replaces(&["default-archive"]),
                &[("deployment/default-archive", "\"hostNetwork\":true")],
            ),
        ],
        vec![
            edit("archive/default", json!({"pod": null}), Replaces(&["default-archive"]), &[]),
            edit(
                "stream/pictures",
                json!({"pod": {"hostNetwork": true}, "suspend": true}),
                Ends(&["pictures-stream"]),
                &[("deployment/pictures-stream", "\"hostNetwork\":true")],
            ),
            edit("camera/front", json!({"suspend": true}), Ends(&["front-camera", "sizes-stream"]), &[]),
            edit(
                "recording/shot",
                json!({"clip": {"stop": true}}),
                Stays,
                &[("configmap/default-archive", "\"stop\":true")],
            ),
            edit("recording/rec", json!({"suspend": true}), Stays, &[]),
        ],
    ]
}
