//! The parsers in Rust and the rules in CEL take the same texts.

use proptest::prelude::*;
use proptest::strategy::Union;
use serde_json::json;

use super::definitions::Definitions;
use super::yaml::documents;
use crate::api::url::Family;
use crate::api::{Duration, Quantity};
use crate::plan::unit::ObjectKind;

/// Whether schema and rules take a camera of this spec.
fn is_taken(spec: &serde_json::Value) -> bool {
    let camera = json!({ "apiVersion": "any", "kind": "Camera", "metadata": { "name": "door" }, "spec": spec });
    let node = documents(&camera.to_string()).remove(0).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(node.json(), camera, "JSON is YAML");
    Definitions::get().check(ObjectKind::Camera, &node).1.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn durations(text in "[0-9]{1,6}(ms|s|m|h|d|)|[1-9][0-9]{0,2}(s|m)|\\PC{0,8}") {
        let spec = json!({ "source": { "test": {} }, "stallTimeout": text });
        let parsed = text.parse::<Duration>().map(|duration| duration.milliseconds());
        prop_assert_eq!(is_taken(&spec), parsed.is_ok_and(|span| (1_000..=600_000).contains(&span)));
    }

    #[test]
    fn quantities(text in "[0-9]{1,10}(k|M|G|T|Ki|Mi|Gi|Ti|m|)|[1-9][0-9]{0,3}(M|Mi)|\\PC{0,8}") {
        let spec = json!({ "source": { "test": {} }, "buffer": { "maxSize": text } });
        let parsed = text.parse::<Quantity>().map(|quantity| quantity.value());
        prop_assert_eq!(is_taken(&spec), parsed.is_ok_and(|size| (1 << 20..=4 << 30).contains(&size)));
    }

    #[test]
    fn urls(text in url()) {
        let spec = json!({ "source": { "rtsp": { "url": text } } });
        prop_assert_eq!(is_taken(&spec), Family::Rtsp.check(&text, false).is_ok(), "{:?}", text);
    }
}

/// URLs of which every part is mostly right, so that each way of being wrong comes up by itself.
fn url() -> impl Strategy<Value = String> {
    let part = |right: &'static str, wrong: &'static str| Union::new_weighted(vec![(9, right), (1, wrong)]);
    let parts = [
        part("rtsps?://", "(RTSP://|http://|rtsp:/|)"),
        part("", "[a-z]{1,3}(:[a-z/]{0,3})?@"),
        part("[a-z0-9.-]{1,8}|\\[::1\\]", "([a-z]:[a-z]|\\[x\\]|)"),
        part("(:[0-9]{1,5})?", ":([0-9]{6}|x|)"),
        part("(/[a-z@]{0,4})?", "#[a-z]{0,2}"),
        part("([?/&](user|q)=a)?", "[?&;_](pwd|Password|pass)=a"),
        part("", "[ '\"\\\\ü\\n`]"),
    ];
    Vec::from(parts).prop_map(|parts| parts.concat())
}
