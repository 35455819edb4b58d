//! Clips in a cluster: how many run at once.

use crate::Test;
use crate::media::{agents, archive, recorded};
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::{judge, manifest};

pub const TESTS: &[Test] = &[("the_eleventh_clip_waits_for_its_turn", the_eleventh_clip_waits_for_its_turn)];

fn the_eleventh_clip_waits_for_its_turn(cluster: &Cluster) {
    let site = Site::new(cluster, "clips");
    let volume = site.volume("default");
    let camera = site.camera("");
    site.apply(&manifest::patient(&(archive("default") + &manifest::camera("front", &camera.url))));
    let name = |number: usize| format!("clip-{number:02}");
    let clip = |number: usize, duration: &str| manifest::clip(&name(number), "front", duration);
    site.apply(&(1..=10).map(|number| clip(number, "30m")).collect::<String>());
    let started = |number: usize| {
        let recording = site.get(&format!("recording/{}", name(number)))?;
        recording["status"]["startTime"].as_str().map(str::to_owned)
    };
    for number in 1..=10 {
        wait("the first ten to run", || started(number));
    }
    let before = agents(&site);

    site.apply(&clip(11, "10s"));
    let (_, _, message) = wait("the eleventh to wait with its reason", || {
        site.condition("recording/clip-11", "Ready").filter(|(_, reason, _)| reason == "ClipLimitReached")
    });
    assert!(message.contains("10 clips of namespace clips run already"), "{message}");
    assert_eq!(started(11), None);
    let shown = site.kubectl(&["get", "recordings"]);
    assert!(shown.lines().any(|line| line.starts_with("clip-11 ") && line.contains("ClipLimitReached")), "{shown}");

    // One ends, and the next begins: both without a new pod, and without a word about the other nine.
    site.kubectl(&["patch", "recording", "clip-03", "--type=merge", "--patch", r#"{"spec":{"clip":{"stop":true}}}"#]);
    site.kubectl(&["wait", "recording/clip-03", "--for=condition=Complete", "--timeout=240s"]);
    wait("the eleventh to begin", || started(11));
    site.kubectl(&["wait", "recording/clip-11", "--for=condition=Complete", "--timeout=240s"]);
    assert_eq!(agents(&site), before);
    for number in (1..=10).filter(|number| *number != 3) {
        let (_, reason, _) = site.condition(&format!("recording/{}", name(number)), "Ready").unwrap();
        assert_eq!(reason, "Recording", "{}", name(number));
    }
    for whole in ["clip-03", "clip-11"] {
        let files = recorded(&volume, "clips", whole);
        assert_eq!(files.len(), 1, "{files:?}");
        judge::assert_decodes(&files[0]);
    }
}
