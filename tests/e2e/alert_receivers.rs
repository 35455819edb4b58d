//! Receivers that show the picture: mail to a real mail server by every way, and Chatwoot. Each hears once with the last picture
//! before the plug was pulled, and once when it is over.

use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::chatwoot::{ACCOUNT, Chatwoot, INBOX};
use crate::support::program::Program;
use crate::support::smtp::{Authority, Smtp, Way};
use crate::support::{http, manifest, wait};

const USER: &str = "cameras";
const PASSWORD: &str = "Angelica-rue-9";
const TOKEN: &str = "Hyssop-costmary-2";

fn receiver(name: &str, server: &Smtp, tls: Way, more: &str) -> String {
    let smtp = format!("{{host: localhost, port: {}, tls: {}{more}}}", server.port, tls.name());
    format!(
        "  - {{name: {name}, cooldown: 1s, email: {{smtp: {smtp}, from: 'Cameras <cameras@example.com>', to: [ops@example.com, 'Ünal <unal@example.com>']}}}}\n"
    )
}

fn route(receivers: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata:\n  name: ops\nspec:\n  match: {{alerts: [CameraDown]}}\n  \
         holdFor: 3s\n  pageUrl: https://cameras.example.com\n  receivers:\n{receivers}"
    )
}

fn types(mail: &Value) -> Vec<&str> {
    mail["parts"].as_array().unwrap().iter().map(|part| part["type"].as_str().unwrap()).collect()
}

fn part<'a>(mail: &'a Value, type_: &str) -> &'a Value {
    mail["parts"].as_array().unwrap().iter().find(|part| part["type"] == type_).unwrap()
}

#[test]
fn mail_comes_by_every_way_with_the_picture_in_it() {
    let authority = Authority::new();
    let starttls = Smtp::start(&authority, Way::StartTls, USER, PASSWORD);
    let tls = Smtp::start(&authority, Way::Tls, USER, PASSWORD);
    let plain = Smtp::start(&authority, Way::None, "", "");
    let login = ", credentialsSecretRef: {name: mail}";
    let receivers = receiver("starttls", &starttls, Way::StartTls, login)
        + &receiver("tls", &tls, Way::Tls, login)
        + &receiver("plain", &plain, Way::None, "");
    let mut camera = Camera::start("");
    let manifests =
        manifest::credentials("mail", USER, PASSWORD) + &route(&receivers) + &manifest::camera("cam", &camera.url);
    let trusted = [("SSL_CERT_FILE", authority.path())];
    let trusted: Vec<(&str, &str)> = trusted.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut program = Program::start_with(&manifests, None, &trusted);
    program.await_object("cameras/cam");
    camera.kill();
    for server in [&starttls, &tls, &plain] {
        server.await_mail(1);
    }
    camera.restart();
    for server in [&starttls, &tls, &plain] {
        server.await_mail(2);
    }
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    assert!(program.terminate().success(), "{}", program.log());
    assert!(!program.log().contains(PASSWORD));

    for (server, is_secure) in [(&starttls, true), (&tls, true), (&plain, false)] {
        let mail = server.mail();
        assert_eq!(mail.len(), 2, "{mail:#?}");
        let first = &mail[0];
        assert_eq!(first["defects"].as_array().unwrap().len(), 0, "{first:#}");
        assert_eq!(first["authenticated"], is_secure, "{first:#}");
        assert_eq!(first["from"], "cameras@example.com");
        assert_eq!(first["to"], serde_json::json!(["ops@example.com", "unal@example.com"]));
        let header = |name: &str| first["headers"][name].as_str().unwrap();
        assert_eq!(header("Subject"), "🔴 CameraDown: Camera default/cam");
        assert_eq!(header("Auto-Submitted"), "auto-generated");
        assert!(header("To").contains("Ünal"), "{first:#}");
        assert_eq!(
            types(first),
            ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/jpeg"]
        );
        let (html, image) = (part(first, "text/html"), part(first, "image/jpeg"));
        assert_eq!((image["disposition"].as_str(), image["jpeg"].as_bool()), (Some("inline"), Some(true)), "{image:#}");
        let cid = image["cid"].as_str().unwrap().trim_matches(['<', '>']);
        assert!(html["text"].as_str().unwrap().contains(&format!("src=\"cid:{cid}\"")), "{html:#}");
        let text = part(first, "text/plain")["text"].as_str().unwrap();
        assert!(text.contains("latest picture of default/cam: "), "{text}");
        assert!(text.contains("https://cameras.example.com/#/cameras/default/cam"), "{text}");
        assert_eq!(mail[1]["headers"]["Subject"], "✅ over CameraDown: Camera default/cam");
        assert_ne!(mail[0]["headers"]["Message-ID"], mail[1]["headers"]["Message-ID"]);
    }
}

#[test]
fn what_is_wrong_with_a_mail_server_is_said() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let refuses = Smtp::start(&authority, Way::StartTls, USER, "another");
    let stranger = Smtp::start(&strangers, Way::Tls, "", "");
    let plain = Smtp::start(&authority, Way::None, "", "");
    let login = ", credentialsSecretRef: {name: mail}";
    let receivers = receiver("refuses", &refuses, Way::StartTls, login)
        + &receiver("stranger", &stranger, Way::Tls, "")
        + &receiver("plain", &plain, Way::StartTls, "");
    let manifests = manifest::credentials("mail", USER, PASSWORD) + &route(&receivers);
    let authority = authority.path();
    let mut program = Program::start_with(&manifests, None, &[("SSL_CERT_FILE", &authority)]);
    let url = program.url("/api/v1/namespaces/default/alertroutes/ops/test");
    let answer =
        wait("the route", || http::request("POST", &url, &[]).ok().filter(|answer| answer.status == 200)).json();
    let errors: Vec<&str> =
        answer["receivers"].as_array().unwrap().iter().map(|one| one["error"].as_str().unwrap_or("none")).collect();
    assert!(errors[0].contains("535"), "{errors:?}");
    assert!(errors[1].contains("certificate"), "{errors:?}");
    assert!(errors[2].contains("STARTTLS"), "{errors:?}");
    assert!(errors.iter().all(|error| !error.contains(PASSWORD)), "{errors:?}");
    assert!(refuses.mail().is_empty() && stranger.mail().is_empty() && plain.mail().is_empty());
    assert!(program.terminate().success(), "{}", program.log());
}

#[test]
fn chatwoot_has_one_contact_and_one_conversation_until_somebody_closes_it() {
    let chatwoot = Chatwoot::start(TOKEN);
    let mut camera = Camera::start("");
    let desk = format!(
        "  - {{name: desk, cooldown: 1s, chatwoot: {{baseUrl: '{}', accountId: {ACCOUNT}, inboxId: {INBOX}, tokenSecretRef: {{name: desk, key: token}}}}}}\n",
        chatwoot.url
    );
    let manifests =
        manifest::secret("desk", &[("token", TOKEN)]) + &route(&desk) + &manifest::camera("cam", &camera.url);
    let mut program = Program::start(&manifests);
    program.await_object("cameras/cam");
    camera.kill();
    chatwoot.await_written(1);
    camera.restart();
    let written = chatwoot.await_written(2);
    assert_eq!(written[0].conversation, written[1].conversation);
    assert!(written[0].content.contains("CameraDown: Camera default/cam"), "{written:?}");
    assert_eq!(written[0].attachments, [("image/jpeg".to_owned(), true)]);
    assert!(written[1].content.contains("over") && written[1].attachments.is_empty(), "{written:?}");
    chatwoot.resolve_all();
    let test = http::request("POST", &program.url("/api/v1/namespaces/default/alertroutes/ops/test"), &[]).unwrap();
    assert_eq!(test.json()["ok"], true, "{}", test.text());
    assert_ne!(chatwoot.await_written(3)[2].conversation, written[0].conversation, "what is closed stays closed");
    assert_eq!(chatwoot.refused(), Vec::<String>::new());
    assert!(program.terminate().success(), "{}", program.log());
    assert!(!program.log().contains(TOKEN));
}
