//! Manifests of the tests. Time-outs are short, so that what is tested comes soon.

/// A camera at an RTSP URL: stalled after 2 s, tried again every 200 ms to 1 s.
pub fn camera(name: &str, url: &str) -> String {
    camera_with(name, url, "")
}

/// The same with more lines of `source.rtsp`, such as `transport: UDP`.
pub fn camera_with(name: &str, url: &str, rtsp: &str) -> String {
    let location = if url.is_empty() { String::new() } else { format!("\n      url: {url}") };
    let rtsp: String = rtsp.lines().map(|line| format!("\n      {line}")).collect();
    camera_from(name, &format!("rtsp:{location}{rtsp}"))
}

/// The same with any source, such as `v4l2: {device: /dev/video0}`.
pub fn camera_from(name: &str, source: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata:\n  name: {name}\nspec:\n  source:\n    {source}\n  \
         stallTimeout: 2s\n  startTimeout: 15s\n  reconnect:\n    initialDelay: 200ms\n    maxDelay: 1s\n"
    )
}

/// The same manifests for a test that counts connections: a camera that a busy machine keeps from sending for seconds is not left.
pub fn patient(manifests: &str) -> String {
    stalled_after(manifests, "30s")
}

/// The same manifests with cameras that are stalled after another time.
pub fn stalled_after(manifests: &str, stall_timeout: &str) -> String {
    manifests.replace("stallTimeout: 2s", &format!("stallTimeout: {stall_timeout}"))
}

/// A Secret with the keys `username` and `password`.
pub fn credentials(name: &str, user: &str, password: &str) -> String {
    secret(name, &[("username", user), ("password", password)])
}

/// A Secret.
pub fn secret(name: &str, keys: &[(&str, &str)]) -> String {
    let keys: String = keys.iter().map(|(key, value)| format!("  {key}: \"{value}\"\n")).collect();
    format!("---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n{keys}")
}

/// A camera's HLS stream, with segments of 1 s unless `hls` says otherwise.
pub fn hls(name: &str, camera: &str, hls: &str) -> String {
    let hls = if hls.is_empty() { "{segmentDuration: 1s, playlistSegments: 6}" } else { hls };
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Stream\nmetadata:\n  name: {name}\nspec:\n  cameraRef:\n    name: {camera}\n  \
         output:\n    hls: {hls}\n"
    )
}

/// A camera's Motion JPEG stream.
pub fn mjpeg(name: &str, camera: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Stream\nmetadata:\n  name: {name}\nspec:\n  cameraRef:\n    name: {camera}\n  \
         output:\n    mjpeg: {{framesPerSecond: 5}}\n"
    )
}

/// A camera's push, tried again every 200 ms to 1 s; `push` is more of `output.push`, and `spec` more lines of `spec`.
pub fn push(name: &str, camera: &str, url: &str, push: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Stream\nmetadata:\n  name: {name}\nspec:\n  cameraRef:\n    name: {camera}\n  \
         output:\n    push:\n      url: {url}\n      reconnect: {{initialDelay: 200ms, maxDelay: 1s}}\n      {push}\n{spec}"
    )
}

/// A recording around the clock, in files of 10 s.
pub fn recording(name: &str, camera: &str) -> String {
    recording_with(name, camera, "")
}

/// The same with more lines of `spec`.
pub fn recording_with(name: &str, camera: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Recording\nmetadata:\n  name: {name}\nspec:\n  cameraRef:\n    name: {camera}\n  \
         continuous:\n    segmentDuration: 10s\n{spec}"
    )
}

/// A clip.
pub fn clip(name: &str, camera: &str, duration: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Recording\nmetadata:\n  name: {name}\nspec:\n  cameraRef:\n    name: {camera}\n  \
         clip:\n    duration: {duration}\n"
    )
}

/// A camera, its stream `<name>-live` and its recording `<name>-rec`.
pub fn all_of(name: &str, url: &str) -> String {
    camera(name, url) + &hls(&format!("{name}-live"), name, "") + &recording(&format!("{name}-rec"), name)
}
