//! The page at `/` in a real browser: the camera's tile, and the opened camera playing through hls.js.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::{hls, manifest, wait};

pub fn chromium() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

/// What a person sees who opens the page and then a camera, as `browser.mjs` tells it; `None`, with a line that says so, where
/// there is no browser or no page.
pub fn look(what: &str, program: &Program, camera: &str) -> Option<Value> {
    look_for(what, program, camera, 5)
}

/// The same, for so many seconds, and for longer where the picture has not moved by then as [`assert_moves`] wants it.
pub fn look_for(what: &str, program: &Program, camera: &str, seconds: u32) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let playwright = root.join("web/node_modules/playwright-core");
    let (Some(chromium), true) = (chromium(), playwright.exists()) else {
        eprintln!("SKIPPED: {what}, because Chromium or playwright-core is missing (scripts/install.sh test)");
        return None;
    };
    if !program.get("/").text().contains("<script") {
        eprintln!("SKIPPED: {what}, because this program was built without its page (make web)");
        return None;
    }
    program.await_object(&format!("streams/{camera}-live"));
    wait("three live segments", || {
        hls::fetch(&program.url(&format!("/live/default/{camera}-live/index.m3u8")))
            .filter(|(_, playlist)| playlist.segments.len() >= 3)
    });
    let output = Command::new("node")
        .arg(root.join("tests/support/browser.mjs"))
        .arg(playwright)
        .args([&program.url(""), &format!("default/{camera}")])
        .arg(chromium)
        .arg(seconds.to_string())
        .output()
        .expect("node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The opened camera's picture moved, and the page complained of nothing.
pub fn assert_moves(seen: &Value) {
    let counters: Vec<u64> = seen["counters"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    // Three seconds at 25 pictures a second; a busy machine shows fewer of them, but always later ones.
    assert!(counters.len() >= 25, "{seen}");
    assert!(counters.windows(2).all(|pair| pair[0] <= pair[1]), "{counters:?}");
    assert!(counters.last().unwrap() - counters[0] >= 75, "the picture moves: {counters:?}");
    assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
}

#[test]
fn the_page_shows_the_tile_and_plays_the_camera() {
    let camera = Camera::start("--fps 25 --audio aac");
    let program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    let Some(seen) = look("the page in a browser", &program, "cam") else { return };
    assert_moves(&seen);
}
