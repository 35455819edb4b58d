//! Every field of a spec, edited on a live cluster: whose pods are made anew for it, that all others go on as they are, and
//! where it shows what it says. Edits are made in rounds, each of objects that have nothing to do with one another, so that
//! all of them take minutes and not an hour.
//!
//! A field that a definition has and no edit here is one that nobody has tried: the first test names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use camera_operator::plan::unit::Plan;
use serde_json::{Value, json};

use crate::Test;
use crate::site::{OPERATOR, Site, wait};
use crate::support::cluster::{Cluster, definitions};
use crate::support::target::RtmpServer;
use crate::support::{http, manifest};

pub const TESTS: &[Test] =
    &[("every_field_does_what_it_says_to_its_own_pods", every_field_does_what_it_says_to_its_own_pods)];

/// What one edit of an object does.
struct Edit {
    /// Such as `camera/front`.
    object: &'static str,
    /// What is merged into its spec.
    spec: Value,
    then: Then,
    /// Where it shows: an object, and a text that its JSON holds afterwards (of a ConfigMap: the plan).
    seen: Vec<(&'static str, String)>,
}

/// What becomes of pods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
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
struct Addresses {
    front: String,
    back: String,
    push: String,
    other_push: String,
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
fn cameras(at: &Addresses) -> Vec<Vec<Edit>> {
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
fn outputs(at: &Addresses) -> Vec<Vec<Edit>> {
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

/// The leaves of a merge patch of a spec, as [`fields_of`] names fields.
fn leaves(patch: &Value, path: &str, found: &mut BTreeSet<String>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match patch {
        _ if KUBERNETES_OWN.contains(&path) => {
            found.insert(path.to_owned());
        }
        Value::Object(members) => members.iter().for_each(|(name, value)| leaves(value, &join(name), found)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| leaves(item, &join("[]"), found));
        }
        Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Kubernetes' own shapes, passed on as they are: one edit is as good as another.
const KUBERNETES_OWN: [&str; 1] = ["pod.affinity"];

/// The fields of a schema that hold something themselves.
fn fields_of(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(properties) = schema["properties"].as_object().filter(|_| !KUBERNETES_OWN.contains(&path)) {
        properties.iter().for_each(|(name, schema)| fields_of(schema, &join(name), found));
    } else if schema["items"]["properties"].is_object() {
        fields_of(&schema["items"], &join("[]"), found);
    } else if schema["additionalProperties"].is_object() {
        // A map: whichever name stands in it.
        found.insert(join("*"));
    } else {
        found.insert(path.to_owned());
    }
}

/// Each field of Camera, Stream, Archive and Recording has an edit here, and each edit is of a field.
pub fn every_field_of_a_spec_is_edited() {
    let at = || "rtsp://192.0.2.1/x".to_owned();
    let at = Addresses { front: at(), back: at(), push: at(), other_push: at() };
    let mut edited: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for edit in cameras(&at).into_iter().chain(outputs(&at)).flatten() {
        let (kind, _) = edit.object.split_once('/').unwrap();
        leaves(&edit.spec, "", edited.entry(kind).or_default());
    }
    for file in definitions() {
        let definition: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let kind = definition["spec"]["names"]["singular"].as_str().unwrap();
        let Some(edited) = edited.get(kind) else { continue };
        let mut fields = BTreeSet::new();
        fields_of(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
            "",
            &mut fields,
        );
        // A map's names are the user's.
        let is_of_map =
            |field: &String| fields.iter().any(|map| map.strip_suffix('*').is_some_and(|map| field.starts_with(map)));
        let missing: Vec<_> = fields
            .iter()
            .filter(|field| {
                let map = field.strip_suffix('*');
                !edited.contains(*field) && !map.is_some_and(|map| edited.iter().any(|edited| edited.starts_with(map)))
            })
            .collect();
        assert!(missing.is_empty(), "{kind}: no edit in tests/cluster/fields.rs tries {missing:?}");
        let unknown: Vec<_> = edited.iter().filter(|field| !fields.contains(*field) && !is_of_map(field)).collect();
        assert!(unknown.is_empty(), "{kind} has no fields {unknown:?}");
    }
}

/// A pod as its uid and restarts, by the name of its agent; `None` while some agent has no pod, or several, or does not run
/// its plan yet.
fn settled(site: &Site, token: &str) -> Option<BTreeMap<String, (String, u64)>> {
    let ours = "app.kubernetes.io/managed-by=camera-operator";
    let pods = site.cluster.list(&site.namespace, "pods", ours);
    let mut settled = BTreeMap::new();
    for deployment in site.cluster.list(&site.namespace, "deployments", ours) {
        let name = deployment["metadata"]["name"].as_str()?;
        let labels = &deployment["spec"]["selector"]["matchLabels"];
        let is_of = |pod: &&Value| {
            labels
                .as_object()
                .is_some_and(|labels| labels.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value))
        };
        let mut its = pods.iter().filter(is_of);
        if deployment["spec"]["replicas"] == 0 {
            its.next().is_none().then_some(())?;
            continue;
        }
        let pod = its.next()?;
        its.next().is_none().then_some(())?;
        let conditions = pod["status"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
        let plan = site.get(&format!("configmap/{name}"))?;
        let plan: Plan = serde_json::from_str(plan["data"]["plan.json"].as_str()?).unwrap();
        let url = format!("http://{}:9090/v1/report", pod["status"]["podIP"].as_str()?);
        let report = http::request("GET", &url, &[("authorization", &format!("Bearer {token}"))]).ok()?;
        (report.status == 200 && report.json()["planHash"] == plan.hash().as_str()).then_some(())?;
        let uid = pod["metadata"]["uid"].as_str()?.to_owned();
        settled.insert(name.to_owned(), (uid, pod["status"]["containerStatuses"][0]["restartCount"].as_u64()?));
    }
    Some(settled)
}

/// What an object says of itself, in which a text is looked for.
fn text_of(site: &Site, object: &str) -> Option<String> {
    let value = site.get(object)?;
    Some(match value["data"]["plan.json"].as_str() {
        Some(plan) => plan.to_owned(),
        None => value.to_string(),
    })
}

/// Makes the edits of a round, and looks at what became of all pods.
fn play(site: &Site, token: &str, round: &[Edit]) {
    let shown: Vec<String> = round.iter().map(|edit| format!("{} {}", edit.object, edit.spec)).collect();
    println!("  {}", shown.join("\n  "));
    let before = wait("all agents to run their plans", || settled(site, token));
    for edit in round {
        let patch = json!({"spec": edit.spec}).to_string();
        let arguments = ["patch", edit.object, "--namespace", &site.namespace, "--type=merge", "--patch", &patch];
        match (site.cluster.try_kubectl(&arguments), edit.then) {
            (Err(refused), Then::Refused(words)) => assert!(refused.contains(words), "{words:?} in {refused}"),
            (Err(refused), _) => panic!("{} {patch}: {refused}", edit.object),
            (Ok(_), Then::Refused(_)) => panic!("{} {patch} was taken", edit.object),
            (Ok(_), _) => {}
        }
    }
    for edit in round {
        wait(&format!("{} to be looked at", edit.object), || {
            let object = site.get(edit.object)?;
            let conditions = object["status"]["conditions"].as_array()?;
            let is_now = |condition: &Value| condition["observedGeneration"] == object["metadata"]["generation"];
            conditions.iter().any(is_now).then_some(())
        });
        for (object, text) in &edit.seen {
            let found =
                crate::support::poll(crate::site::PATIENCE, || text_of(site, object).filter(|all| all.contains(text)));
            assert!(found.is_some(), "{}: no {text} in {object}: {:?}", edit.object, text_of(site, object));
        }
    }
    let of = |wanted: fn(Then) -> &'static [&'static str]| -> BTreeSet<&str> {
        round.iter().flat_map(|edit| wanted(edit.then)).copied().collect()
    };
    let replaced = of(|then| if let Then::Replaces(agents) = then { agents } else { &[] });
    let ended = of(|then| if let Then::Ends(agents) = then { agents } else { &[] });
    let after = wait("the pods to be as the edits want them", || {
        let now = settled(site, token)?;
        let are_new = replaced.iter().all(|agent| now.get(*agent).is_some_and(|pod| pod.0 != before[*agent].0));
        (are_new && ended.iter().all(|agent| !now.contains_key(*agent))).then_some(now)
    });
    for (agent, pod) in &before {
        let agent = agent.as_str();
        if !replaced.contains(agent) && !ended.contains(agent) {
            assert_eq!(after.get(agent), Some(pod), "{agent} is none of this: {}", shown.join("; "));
        }
    }
}

fn every_field_does_what_it_says_to_its_own_pods(cluster: &Cluster) {
    let site = Site::new(cluster, "fields");
    // The node's network is more than the strictest standard allows.
    cluster.kubectl(&["label", "namespace", "fields", "--overwrite", "pod-security.kubernetes.io/enforce=privileged"]);
    let (front, mut back) = (site.camera(""), site.camera(""));
    let servers = ["first", "first|second"].map(|keys| RtmpServer::start_at(&cluster.host, keys));
    let at = Addresses {
        front: front.url.clone(),
        back: back.url.clone(),
        push: servers[0].url(),
        other_push: servers[1].url(),
    };
    prepare(&site, &at);
    let audience =
        ["create", "token", "camera-operator", "--namespace", OPERATOR, "--audience=camera-operator.dev/agent"];
    let token = cluster.kubectl(&[&audience[..], &["--duration=2h"]].concat()).trim().to_owned();
    site.await_ready(&["camera/front", "camera/side", "stream/live", "stream/pictures", "stream/out", "recording/rec"]);

    let rounds = cameras(&at);
    play(&site, &token, &rounds[0]);
    wait("the other camera to be connected to", || (back.stats().plays > 0).then_some(()));
    rounds[1..].iter().for_each(|round| play(&site, &token, round));
    for round in outputs(&at) {
        play(&site, &token, &round);
        if round.iter().any(|edit| edit.spec.to_string().contains(&at.other_push)) {
            wait("the push to arrive elsewhere", || (servers[1].bytes() > 0).then_some(()));
        }
    }
    let pods = cluster.list("fields", "pods", "app.kubernetes.io/instance=front,app.kubernetes.io/component=camera");
    assert!(pods.is_empty(), "a suspended camera has no pod: {pods:?}");
    for claim in ["kept-one", "kept-two", "default-archive"] {
        let _ = cluster.try_kubectl(&["delete", "persistentvolume", &format!("fields-{claim}"), "--wait=false"]);
    }
}

/// Makes all that is edited, and what it needs: Secrets, volumes, a class of pods, a device that the node seems to have.
fn prepare(site: &Site, at: &Addresses) {
    let cluster = site.cluster;
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "fields-test"}, "value": 5,
    });
    let grows = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "test-grows"},
        "provisioner": "kubernetes.io/no-provisioner", "allowVolumeExpansion": true,
    });
    site.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [class, grows]}).to_string());
    for node in cluster.list("", "nodes", "") {
        let name = node["metadata"]["name"].as_str().unwrap();
        let device = r#"{"status":{"capacity":{"fields.test/device":"9"},"allocatable":{"fields.test/device":"9"}}}"#;
        cluster.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "--patch", device]);
    }
    site.volume_of("default", "test-grows", "5Gi");
    for claim in ["kept-one", "kept-two"] {
        site.volume_for(claim, "test-local", "1Gi");
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "test-local",
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        site.apply(&claim.to_string());
    }
    let secrets =
        manifest::secret("cam", &[("username", "viewer"), ("password", "a-long-password"), ("url", &at.front)])
            + &manifest::secret(
                "keys",
                &[("first", "first"), ("second", "second"), ("passphrase", "a-long-passphrase")],
            );
    let cameras: String = [
        ("front", format!("rtsp: {{url: \"{}\"}}", at.front)),
        ("side", "test: {width: 320, height: 240, framesPerSecond: 10}".to_owned()),
        ("web", "http: {url: \"http://192.0.2.1/x\"}".to_owned()),
        ("list", "hls: {url: \"http://192.0.2.1/x.m3u8\"}".to_owned()),
        ("flash", "rtmp: {url: \"rtmp://192.0.2.1/live/x\"}".to_owned()),
        ("srt", "srt: {url: \"srt://192.0.2.1:8890\"}".to_owned()),
        ("usb", "v4l2: {device: /dev/video0}".to_owned()),
    ]
    .iter()
    .map(|(name, source)| manifest::camera_from(name, source))
    .collect();
    // Without a device of the node nothing is planned for it.
    let device = "  pod: {deviceResources: [{name: fields.test/device, count: 1}]}\n";
    let key = "streamKeySecretRef: {name: keys, key: first}";
    let streams = manifest::hls("live", "front", "")
        + &manifest::mjpeg("pictures", "front")
        + &manifest::push("out", "front", &at.push, key, "");
    // It encodes, and so has a pod of its own.
    let sizes = manifest::hls("sizes", "front", "{renditions: [{name: tiny, height: 64}]}")
        + "  video: {codec: H264, preset: UltraFast, framesPerSecond: 5}\n";
    let archives = "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {name: default}\n\
         spec: {claim: {size: 1Gi, storageClassName: test-grows}}\n\
         ---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {name: second}\n\
         spec: {existingClaim: kept-one}\n";
    let recordings = manifest::recording("rec", "front") + &manifest::clip("shot", "front", "1h");
    site.apply(&(secrets + &cameras + device + &streams + &sizes + archives + &recordings));
}
