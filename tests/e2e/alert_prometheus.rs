//! A camera's plug is pulled, and two see it: the program by its own conditions, and a real Prometheus by the chart's rules, whose
//! Alertmanager tells the program. Every receiver hears it once, whichever of the two it hears it by, and hears once when it is over.

use serde_json::json;

use crate::support::audience::{Audience, SIZE};
use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::prometheus::{Monitoring, is_installed};
use crate::support::smtp::Authority;
use crate::support::{http, manifest};

const TOKEN: &str = "Chamomile-anise-5";

/// A route that takes these alerts of our own, and all that Alertmanager sends.
fn route(name: &str, alerts: &str, audience: &Audience) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata:\n  name: {name}\nspec:\n  match: {{alerts: [{alerts}]}}\n  \
         holdFor: 3s\n  alertmanager: {{tokenSecretRef: {{name: alertmanager, key: token}}}}\n  receivers:\n{}",
        audience.receivers()
    )
}

/// What each receiver was told of the camera, in its order. Nothing else may be told.
fn told(audience: &Audience) -> Vec<(&'static str, Vec<&'static str>)> {
    let of = |text: &String| match text.lines().next().unwrap_or_default() {
        "🔴 CameraDown: Camera default/cam" => "down",
        "✅ over CameraDown: Camera default/cam" => "over",
        other => panic!("{other}\n{text}"),
    };
    audience.heard().into_iter().map(|(kind, texts)| (kind, texts.iter().map(of).collect())).collect()
}

fn have_heard(audience: &Audience, count: usize) -> Option<()> {
    let told = told(audience);
    (told.len() == SIZE && told.iter().all(|(_, told)| told.len() >= count)).then_some(())
}

#[test]
fn what_conditions_and_prometheus_see_is_told_once_to_everybody() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let (both, prometheus_only) = (Audience::start("both", &authority), Audience::start("late", &authority));
    let mut camera = Camera::start("");
    let manifests = manifest::secret("alertmanager", &[("token", TOKEN)])
        + &both.secrets()
        + &prometheus_only.secrets()
        + &route("both", "CameraDown, CameraStalled", &both)
        + &route("late", "RetentionFailed", &prometheus_only)
        + &manifest::camera("cam", &camera.url);
    let authority = authority.path();
    let mut program = Program::start_with(&manifests, None, &[("SSL_CERT_FILE", &authority)]);
    program.await_object("cameras/cam");
    let webhooks = ["both", "late"]
        .map(|name| program.url(&format!("/api/v1/namespaces/default/alertroutes/{name}/alertmanager")));
    let targets = json!([{"targets": [format!("127.0.0.1:{}", program.port)]}]);
    let scrapes = json!([{"job_name": "camera-operator", "static_configs": targets}]);
    let monitoring = Monitoring::start(&scrapes, &webhooks, TOKEN);
    let running = "camera_operator:camera_running:max3m{namespace=\"default\",name=\"cam\"} == 1";
    monitoring.wait("Prometheus to see that the camera runs", || (monitoring.query(running).len() == 1).then_some(()));
    assert_eq!(monitoring.firing(), Vec::<String>::new());

    camera.kill();
    monitoring.wait("all to hear by the conditions", || have_heard(&both, 1));
    assert!(have_heard(&prometheus_only, 1).is_none(), "Prometheus waits for minutes");
    monitoring.wait("Prometheus to see it", || (monitoring.firing() == ["CameraDown"]).then_some(()));
    monitoring.wait("all to hear by Prometheus alone", || have_heard(&prometheus_only, 1));
    monitoring.wait("both routes to be told by Alertmanager", || (monitoring.notifications().0 >= 2).then_some(()));

    camera.restart();
    program.await_object("cameras/cam");
    for audience in [&both, &prometheus_only] {
        monitoring.wait("all to hear that it is over", || have_heard(audience, 2));
    }
    monitoring.wait("Prometheus to be at peace", || monitoring.firing().is_empty().then_some(()));
    monitoring.wait("nothing to stand", || {
        let metrics = http::get(&program.url("/metrics")).ok()?.text();
        let of = |name: &str| format!("camera_operator_alerts_standing{{name=\"{name}\",namespace=\"default\"}} 0");
        ["both", "late"].iter().all(|name| metrics.contains(&of(name))).then_some(())
    });
    assert!(program.terminate().success(), "{}", program.log());
    for audience in [&both, &prometheus_only] {
        let once = ["chatwoot", "email", "slack", "telegram", "webhook"].map(|kind| (kind, vec!["down", "over"]));
        assert_eq!(told(audience), once);
        assert_eq!(audience.refused(), Vec::<String>::new());
    }
    assert_eq!(monitoring.notifications().1, 0, "Alertmanager was refused nothing");
    assert!(!program.log().contains(TOKEN));
}
