//! A delivery made ready for a receiver: its texts and its picture. Pure.

use bytes::Bytes;
use jiff::Timestamp;

use super::engine::Delivery;
use super::{template, text};
use crate::api::alert_receiver::Receiver;
use crate::plan::unit::ObjectKey;

/// A still picture of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A JPEG image.
    pub jpeg: Bytes,
    /// When it was captured.
    pub captured: Timestamp,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it tells, and to whom.
    pub delivery: Delivery,
    /// The first line.
    pub subject: String,
    /// The whole text.
    pub body: String,
    /// Where the page is.
    pub page: Option<String>,
    /// The latest picture of the first camera that it is about.
    pub picture: Option<Picture>,
}

impl Message {
    /// The texts of a delivery. A template that is wrong silences nobody: the built-in text is sent then.
    pub fn new(delivery: Delivery, receiver: &Receiver, page: Option<&str>) -> Self {
        let templated = receiver.template.as_ref().and_then(|one| template::render(one, &delivery, page).ok());
        let (subject, body) = templated.unwrap_or_else(|| (text::subject(&delivery), text::body(&delivery, page)));
        Self { delivery, subject, body, page: page.map(str::to_owned), picture: None }
    }

    /// With a picture, and a line that says when it was taken: it may be older than the alert.
    #[must_use]
    pub fn with_picture(mut self, camera: &ObjectKey, picture: Option<Picture>) -> Self {
        if let Some(picture) = &picture {
            self.body += &format!("\nlatest picture of {camera}: {:.0}", picture.captured);
        }
        self.picture = picture;
        self
    }
}

/// The camera whose picture goes with a delivery. Alertmanager may speak of any namespace: pictures come from the route's own, and
/// from others where the route's may see all.
pub fn camera_of(delivery: &Delivery, may_see_all: bool) -> Option<&ObjectKey> {
    let is_seen = |camera: &&ObjectKey| may_see_all || camera.namespace == delivery.route.namespace;
    let standing = delivery.alerts.iter().filter(|told| told.ended.is_none());
    standing.filter_map(|told| told.alert.camera.as_ref()).find(is_seen)
}

/// Whether a receiver can show a picture.
pub const fn shows_pictures(receiver: &Receiver) -> bool {
    receiver.telegram.is_some() || receiver.email.is_some() || receiver.chatwoot.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::engine::Purpose;
    use crate::alert::{Alert, AlertKey, Told};
    use crate::api::alert_route::{AlertName, Severity};
    use crate::plan::unit::{ObjectKind, ObjectRef};

    #[test]
    fn pictures_are_of_cameras_that_the_route_may_see_and_that_are_down() {
        let told = |namespace: &str, ended: Option<Timestamp>| {
            let camera = ObjectKey::new(namespace, "door");
            let object = ObjectRef { kind: ObjectKind::Camera, key: camera.clone() };
            let key = AlertKey::own(object, AlertName::CameraDown);
            let alert = Alert::new(key, "CameraDown", Severity::Critical, "Prometheus", Timestamp::UNIX_EPOCH);
            Told { alert: Alert { camera: Some(camera), ..alert }, ended, affects: Vec::new() }
        };
        let of = |alerts: Vec<Told>, may_see_all: bool| {
            let (route, receiver) = (ObjectKey::new("shop", "ops"), "chat".to_owned());
            let delivery = Delivery { purpose: Purpose::Alerts, route, receiver, key: String::new(), alerts };
            camera_of(&delivery, may_see_all).map(|camera| camera.namespace.clone())
        };
        assert_eq!(of(vec![told("shop", None)], false).as_deref(), Some("shop"));
        assert_eq!(of(vec![told("bank", None)], false), None, "whoever has the token could ask for it");
        assert_eq!(of(vec![told("bank", None)], true).as_deref(), Some("bank"));
        assert_eq!(of(vec![told("bank", None), told("shop", None)], false).as_deref(), Some("shop"));
        assert_eq!(of(vec![told("shop", Some(Timestamp::UNIX_EPOCH))], true), None);
    }
}
