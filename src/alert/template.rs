//! Templates in the language of Jinja2. What is wrong with one is found before it is needed: it is rendered with made-up alerts.
//! Pure.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::engine::{Delivery, Purpose};
use super::{Alert, AlertKey, Told, text};
use crate::api::alert_receiver::Template;
use crate::api::alert_route::{AlertName, AlertRoute, Severity};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Steps that rendering may take: far more than any message needs, far less than can be noticed.
const FUEL: u64 = 200_000;
/// Longest text that is rendered, in characters.
const MAX_TEXT: usize = 16_384;

/// What a template knows.
#[derive(Debug, Serialize)]
struct Context<'a> {
    text: &'a str,
    subject: &'a str,
    route: String,
    receiver: &'a str,
    page: Option<&'a str>,
    standing: usize,
    over: usize,
    alerts: Vec<One<'a>>,
}

#[derive(Debug, Serialize)]
struct One<'a> {
    name: &'a str,
    kind: String,
    namespace: &'a str,
    object: &'a str,
    severity: String,
    reason: &'a str,
    code: Option<u16>,
    message: &'a str,
    since: String,
    ended: Option<String>,
    over: bool,
    labels: &'a std::collections::BTreeMap<String, String>,
    affects: Vec<String>,
    link: Option<String>,
}

/// Subject and body of a delivery by a template; what it leaves out is the built-in text.
///
/// # Errors
/// When the template is wrong; the error says where.
pub fn render(template: &Template, delivery: &Delivery, page: Option<&str>) -> Result<(String, String), String> {
    let (subject, text) = (text::subject(delivery), text::body(delivery, page));
    let alerts: Vec<One<'_>> = delivery.alerts.iter().map(|told| one(told, page)).collect();
    let over = alerts.iter().filter(|alert| alert.over).count();
    let context = Context {
        text: &text,
        subject: &subject,
        route: delivery.route.to_string(),
        receiver: &delivery.receiver,
        page,
        standing: alerts.len() - over,
        over,
        alerts,
    };
    let rendered = |name: &str, source: &Option<String>, otherwise: &str| match source {
        None => Ok(otherwise.to_owned()),
        Some(source) => render_one(source, &context).map_err(|error| format!("{name}: {error}")),
    };
    let first_line = rendered("subject", &template.subject, &subject)?;
    let first_line = first_line.split(['\r', '\n']).map(str::trim).find(|line| !line.is_empty()).unwrap_or(&subject);
    Ok((first_line.to_owned(), rendered("body", &template.body, &text)?))
}

fn one<'a>(told: &'a Told, page: Option<&str>) -> One<'a> {
    let alert = &told.alert;
    One {
        name: &alert.name,
        kind: format!("{:?}", alert.key.object.kind),
        namespace: &alert.key.object.key.namespace,
        object: &alert.key.object.key.name,
        severity: format!("{:?}", alert.severity),
        reason: &alert.reason,
        code: alert.code,
        message: &alert.message,
        since: format!("{:.0}", alert.since),
        ended: told.ended.map(|ended| format!("{ended:.0}")),
        over: told.ended.is_some(),
        labels: &alert.labels,
        affects: told.affects.iter().map(text::object).collect(),
        link: text::link(told, page),
    }
}

fn render_one(source: &str, context: &Context<'_>) -> Result<String, String> {
    let mut environment = Environment::new();
    // A misspelt name is an error rather than nothing.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    let text = environment.render_str(source, minijinja::value::Serde(context)).map_err(|error| {
        let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{line}{}{detail}", error.kind())
    })?;
    Ok(text.chars().take(MAX_TEXT).collect())
}

/// What is wrong with the templates of a route: the index of each receiver, and why. They are tried with an alert that stands,
/// one that is over, and both.
pub fn problems(route: &AlertRoute) -> Vec<(usize, String)> {
    let key = crate::plan::objects::key(route);
    let page = route.spec.page_url.as_deref().or(Some("http://localhost:8080"));
    let receivers = route.spec.receivers.iter().enumerate();
    receivers
        .filter_map(|(index, receiver)| {
            let template = receiver.template.as_ref()?;
            let tried = [vec![sample(false)], vec![sample(true)], vec![sample(false), sample(true)]];
            let error = tried.into_iter().find_map(|alerts| {
                let (route, receiver) = (key.clone(), receiver.name.clone());
                let delivery = Delivery { purpose: Purpose::Alerts, route, receiver, key: "0".repeat(32), alerts };
                render(template, &delivery, page).err()
            });
            error.map(|error| (index, error))
        })
        .collect()
}

fn sample(is_over: bool) -> Told {
    let camera = ObjectKey::new("default", "front-door");
    let object = ObjectRef { kind: ObjectKind::Camera, key: camera.clone() };
    let since = jiff::Timestamp::UNIX_EPOCH;
    let key = AlertKey::own(object.clone(), AlertName::CameraDown);
    let mut alert =
        Alert::new(key, "CameraDown", Severity::Critical, "Unreachable", since).saying("It does not answer.");
    (alert.code, alert.camera) = (Some(101), Some(camera));
    Told { alert, ended: is_over.then_some(since), affects: vec![object] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subject: Option<&str>, body: Option<&str>) -> Template {
        Template { subject: subject.map(str::to_owned), body: body.map(str::to_owned) }
    }

    fn delivery() -> Delivery {
        let (route, receiver) = (ObjectKey::new("default", "ops"), "mail".to_owned());
        let alerts = vec![sample(false), sample(true)];
        Delivery { purpose: Purpose::Alerts, route, receiver, key: "0".repeat(32), alerts }
    }

    #[test]
    fn a_template_knows_the_alerts() {
        let template = of(
            Some("{{ standing }} of {{ alerts|length }} at {{ route }}"),
            Some(
                "{% for a in alerts %}{{ a.name }} {{ a.kind }} {{ a.object }} {{ a.code }}{% if a.over %} over {{ a.ended }}{% endif %}; {% endfor %}",
            ),
        );
        let (subject, body) = render(&template, &delivery(), None).unwrap();
        assert_eq!(subject, "1 of 2 at default/ops");
        assert_eq!(
            body,
            "CameraDown Camera front-door 101; CameraDown Camera front-door 101 over 1970-01-01T00:00:00Z; "
        );
        let (subject, body) = render(&of(Some("\n first \nsecond"), None), &delivery(), None).unwrap();
        assert_eq!((subject.as_str(), body), ("first", text::body(&delivery(), None)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, wanted) in [
            ("{{ alerts[0].nmae }}", "undefined"),
            ("{% for a in alerts %}", "line 1"),
            ("{{ alerts|nosuch }}", "filter"),
            ("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "fuel"),
        ] {
            let error = render(&of(None, Some(body)), &delivery(), None).unwrap_err();
            assert!(error.starts_with("body: ") && error.contains(wanted), "{body}: {error}");
        }
    }
}
