//! From the last picture that a camera sends to the message that somebody gets: by this program, and by a Prometheus that asks every
//! second, with an Alertmanager.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::camera::Camera;
use crate::support::hook::Hook;
use crate::support::judge::{now, taken};
use crate::support::program::Program;
use crate::support::prometheus::{Monitoring, Pace};
use crate::support::{manifest, wait};

const FRAMES_PER_SECOND: u32 = 25;
/// `holdFor` of the route, and `for` of the rule.
pub const HOLD: u64 = 1;
/// What the engine waits for what comes with it (`GATHER` there), and `group_wait` of Alertmanager.
pub const GATHER: u64 = 2;
/// `stallTimeout` of the camera.
pub const STALL: u64 = 2;

/// How a camera goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its connection ends.
    Pulled,
    /// It sends no new picture; sound and connection go on.
    Frozen,
}

/// The times of both.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Of this program.
    pub ours: Vec<Duration>,
    /// Of Prometheus and Alertmanager.
    pub theirs: Vec<Duration>,
}

/// The rule and the receiver that do what the route does.
fn monitoring(program: &Program, hook: &Hook) -> Monitoring {
    let expression = "max by (namespace, name) (camera_operator_unit_state{kind=\"cameras\",state=\"Running\"}) == 0";
    let rule = json!({"alert": "CameraNotRunning", "expr": expression, "for": format!("{HOLD}s")});
    let rules = json!({"groups": [{"name": "cameras", "rules": [rule]}]});
    let webhook = json!({"url": format!("http://127.0.0.1:{}/theirs", hook.port)});
    let receivers = json!({
        "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": format!("{GATHER}s"), "group_interval": format!("{GATHER}s")},
        "receivers": [{"name": "hook", "webhook_configs": [webhook]}],
    });
    let targets = json!([{"targets": [format!("127.0.0.1:{}", program.port)]}]);
    let scrapes = json!([{"job_name": "camera-operator", "static_configs": targets}]);
    Monitoring::start_with(Pace::REAL, &scrapes, &rules, &receivers)
}

/// When a message with this status came, the `number`th of them.
fn came(hook: &Hook, path: &str, status: &str, number: usize) -> Duration {
    let of = |body: Value| body["alerts"][0]["status"] == status;
    let posted = wait(&format!("{path} to be told {status}"), || {
        hook.at(path).into_iter().filter(|posted| of(posted.json())).nth(number)
    });
    Duration::from_nanos(posted.at.as_nanosecond() as u64)
}

/// So many times.
pub fn measure(how: How, times: usize) -> Latency {
    let mut camera = Camera::start(&format!("--fps {FRAMES_PER_SECOND} --audio aac"));
    let hook = Hook::start();
    let route = format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: ops}}\nspec:\n  holdFor: {HOLD}s\n  \
         receivers: [{{name: hook, cooldown: 1s, webhook: {{url: 'http://127.0.0.1:{}/ours'}}}}]\n",
        hook.port
    );
    let mut program = Program::start(&(route + &manifest::camera("cam", &camera.url)));
    let monitoring = monitoring(&program, &hook);
    let mut latency = Latency::default();
    for number in 0..times {
        program.await_object("cameras/cam");
        wait("Prometheus to see that it runs", || {
            let state = "camera_operator_unit_state{kind=\"cameras\",state=\"Running\"} == 1";
            (monitoring.query("ALERTS").is_empty() && monitoring.query(state).len() == 1).then_some(())
        });
        let last = match how {
            How::Pulled => {
                camera.kill();
                now()
            }
            How::Frozen => taken(camera.freeze(), FRAMES_PER_SECOND),
        };
        latency.ours.push(came(&hook, "/ours", "firing", number).saturating_sub(last));
        latency.theirs.push(came(&hook, "/theirs", "firing", number).saturating_sub(last));
        match how {
            How::Pulled => camera.restart(),
            How::Frozen => camera.unfreeze(),
        }
        came(&hook, "/ours", "resolved", number);
        came(&hook, "/theirs", "resolved", number);
    }
    assert!(program.terminate().success());
    latency
}
