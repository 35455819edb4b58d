use std::net::SocketAddr;
use std::sync::Arc;

use ::ring::rand::SystemRandom;
use ::ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::gate::{Gate, guard};
use super::*;

/// base64url without padding (RFC 7515 §2).
fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Signer {
    P256(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn p256() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self::P256(Box::new(pair.expect("key")))
    }

    fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("key"))
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": base64url(x), "y": base64url(y)})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64url(pair.public_key().as_ref())})
            }
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let algorithm = if matches!(self, Self::P256(_)) { "ES256" } else { "EdDSA" };
        let header = json!({"alg": algorithm, "kid": id}).to_string();
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = match self {
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).expect("signed").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64url(&signature))
    }
}

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "camera-operator.dev/agent";
const OPERATOR: &str = "system:serviceaccount:camera-operator:camera-operator";
const GATEWAY: &str = "system:serviceaccount:camera-operator:gateway";

fn access(keys: &[Value]) -> Access {
    Access {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        keys: json!({ "keys": keys }),
        control: vec![OPERATOR.into()],
        media: vec![GATEWAY.into()],
        host_network: false,
    }
}

/// The claims of a good token, changed.
fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let now = jsonwebtoken::get_current_timestamp();
    let mut claims =
        json!({"iss": ISSUER, "aud": [AUDIENCE], "sub": OPERATOR, "exp": now + 600, "nbf": now, "iat": now});
    change(&mut claims);
    claims
}

#[test]
fn each_way_in_which_a_token_is_wrong_is_named() {
    let signer = Signer::p256();
    let verifier = Verifier::new(&access(&[signer.jwk("a")])).expect("keys");
    let verify = |change: &dyn Fn(&mut Value)| {
        verifier.verify(Some(&signer.token("a", &claims(|claims| change(claims)))), Area::Control)
    };
    let now = jsonwebtoken::get_current_timestamp();
    assert_eq!(verify(&|_| {}), Ok(()));
    assert_eq!(verify(&|claims| claims["exp"] = json!(now - 30)), Ok(()), "clocks may differ a little");
    assert_eq!(verify(&|claims| claims["exp"] = json!(now - 120)), Err(Refusal::Expired));
    assert_eq!(verify(&|claims| claims["nbf"] = json!(now + 120)), Err(Refusal::Early));
    assert_eq!(verify(&|claims| claims["nbf"] = json!("soon")), Err(Refusal::Incomplete));
    assert_eq!(
        verify(&|claims| claims["aud"] = json!(["https://kubernetes.default.svc"])),
        Err(Refusal::Audience { audience: AUDIENCE.into() })
    );
    assert_eq!(verify(&|claims| claims["iss"] = json!("https://else")), Err(Refusal::Issuer { issuer: ISSUER.into() }));
    for missing in ["exp", "aud", "iss", "sub"] {
        let refused = verify(&|claims| {
            claims.as_object_mut().expect("object").remove(missing);
        });
        assert_eq!(refused, Err(Refusal::Incomplete), "{missing}");
    }
    let subject = "system:serviceaccount:shop:default";
    assert_eq!(verify(&|claims| claims["sub"] = json!(subject)), Err(Refusal::Subject { subject: subject.into() }));
    assert_eq!(verifier.verify(None, Area::Control), Err(Refusal::Missing { audience: AUDIENCE.into() }));
    assert_eq!(verifier.verify(None, Area::Open), Ok(()));
}

#[test]
fn only_the_clusters_own_keys_and_algorithms_count() {
    let (old, new, foreign) = (Signer::p256(), Signer::ed25519(), Signer::p256());
    let unknown = json!({"kty": "lattice", "kid": "z"});
    let verifier = Verifier::new(&access(&[unknown, old.jwk("old"), new.jwk("new")])).expect("keys");
    let good = claims(|_| {});
    let verify = |token: &str| verifier.verify(Some(token), Area::Control);
    assert_eq!(verify(&old.token("old", &good)), Ok(()), "while keys are being rotated both count");
    assert_eq!(verify(&new.token("new", &good)), Ok(()));
    assert_eq!(verify(&foreign.token("old", &good)), Err(Refusal::Foreign));
    assert_eq!(verify(&old.token("gone", &good)), Err(Refusal::Foreign));
    assert_eq!(verify("rubbish"), Err(Refusal::Foreign));
    assert_eq!(verify(&"a".repeat(LONGEST_TOKEN + 1)), Err(Refusal::Foreign));
    let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(good.to_string().as_bytes()));
    assert_eq!(verify(&none), Err(Refusal::Foreign));
    let hmac = format!(
        "{}.{}.{}",
        base64url(br#"{"alg":"HS256","kid":"old"}"#),
        base64url(good.to_string().as_bytes()),
        base64url(&[0; 32])
    );
    assert_eq!(verify(&hmac), Err(Refusal::Foreign));
    let mut changed: Vec<char> = old.token("old", &good).chars().collect();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == 'A' { 'B' } else { 'A' };
    assert!(verify(&changed.into_iter().collect::<String>()).is_err());
    assert!(matches!(Verifier::new(&access(&[])), Err(KeysError::NoKey)));
    assert!(matches!(Verifier::new(&Access { keys: json!("x"), ..access(&[]) }), Err(KeysError::NotASet(_))));
}

/// A key pair was made with OpenSSL, this token signed with it, and the private key thrown away. The signature is right and the
/// time long past, so the second is what must be refused; with one digit of the signature changed it is the first.
#[test]
fn an_rs256_signature_is_verified() {
    let n = concat!(
        "k3ooj1uewD79TuVyb-ddF_14JYmJWyfJZTKnQa9thLo9bmfaoEegW7MelN2fm4SmDyxdePRd9OV_c45GliD6GyiG2XofTeXPogz9k_AG6c93",
        "9zKA3s0HPH-TTh8GwzPXA8NZ8DdVfIsYpu8bYo7m-sr4jX2JkVGCGmBUbKqTI6GvyzIb_Lv3_HGKqgXhyvV5Y5F_YvqzCo5ucF5jMo-wXs65",
        "YGdjrSYBav79U4llE5uIb_9pqQBcnOr3PDBKNbc5Sy5kH-QvcGVA4N5_JNhXlKqwip8Qcsxb4SLgRg0DDa2s7DdOHQSoxa9s4r4bkQkMWwAH",
        "uTQauniPioAIUP0O7Q"
    );
    let message = concat!(
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCIsImF1ZCI6WyJjYW1",
        "lcmEtb3BlcmF0b3IuZGV2L2FnZW50Il0sInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpjYW1lcmEtb3BlcmF0b3I6Y2FtZXJhLW9wZXJ",
        "hdG9yIiwiZXhwIjoxNjAwMDAwMDAwfQ"
    );
    let signature = concat!(
        "bkg5qVyEi7MJDCEG0SjpyuQDtENcqKjx9VH0RTSsxrZFEXKSZtGAvLTh-JKdrSlBlFBb9SL92aGaz0AnloZbMgfiPK77GB9cuz_WhekOJyKZ",
        "zAU6ZWveUvwGvt6RqPD5wIlLQq_8ehB8PymZDR8joJK60VkqNsi_DUFhbyuxvUwzJFEsJCxZwg4iNiY6Xh3a5THhJ1c_e9GqYdn0jgqhTNOL",
        "4YO6ot4KoD3rS5iEXJf0uNu5RhnFEpqoCclLfhogF9QwVSXXMNsQx8W_ZZMpEXraWrJ1CRwt5XwKuWn2kk00XOYs8q_N7eR_sxEXnCCsKdeP",
        "lHmS_gQeBIHmCDTqsw"
    );
    let verifier = Verifier::new(&access(&[json!({"kty": "RSA", "n": n, "e": "AQAB"})])).expect("keys");
    let verify = |signature: &str| verifier.verify(Some(&format!("{message}.{signature}")), Area::Control);
    assert_eq!(verify(signature), Err(Refusal::Expired));
    let first = if signature.starts_with('A') { "B" } else { "A" };
    assert_eq!(verify(&format!("{first}{}", &signature[1..])), Err(Refusal::Foreign));
}

#[test]
fn paths_belong_where_the_table_says() {
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Area::of(path), Area::Open);
    }
    for path in ["/live/shop/door/index.m3u8", "/recordings/shop/door/export.mp4"] {
        assert_eq!(Area::of(path), Area::Media);
    }
    for path in ["/", "/v1/report", "/v1/cameras/shop/door/live.mp4", "/metrics/", "/live", "/api/v1/x", "//live/x"] {
        assert_eq!(Area::of(path), Area::Control, "{path}");
    }
}

#[tokio::test]
async fn the_gate_lets_through_whom_the_plan_allows() {
    let signer = Signer::ed25519();
    let gate = Arc::new(Gate::default());
    let routes = Router::new().fallback(get(|| async { "in" }).options(|| async { "in" }));
    let routes = routes.layer(from_fn_with_state(gate.clone(), guard));
    let ask = async |method: Method, path: &str, from: &str, token: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request.body(Body::empty()).expect("request");
        request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().expect("address")));
        let response = routes.clone().oneshot(request).await.expect("answer");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("body");
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (far, near) = ("192.0.2.1:999", "127.0.0.1:999");
    let (report, media) = ("/v1/report", "/live/shop/door/index.m3u8");
    assert_eq!(ask(Method::GET, report, far, None).await.0, StatusCode::OK, "no rules, as in run");
    gate.close();
    assert_eq!(ask(Method::GET, report, far, None).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(Method::GET, "/healthz", far, None).await.0, StatusCode::OK);
    gate.verify_by(Verifier::new(&access(&[signer.jwk("a")])).expect("keys"));
    let operator = signer.token("a", &claims(|_| {}));
    let gateway = signer.token("a", &claims(|claims| claims["sub"] = json!(GATEWAY)));
    let other = signer.token("a", &claims(|claims| claims["sub"] = json!("system:serviceaccount:shop:default")));
    for (path, from, token, expected) in [
        (report, far, None, StatusCode::UNAUTHORIZED),
        (report, near, None, StatusCode::UNAUTHORIZED),
        (report, far, Some(&operator), StatusCode::OK),
        (report, far, Some(&gateway), StatusCode::FORBIDDEN),
        (media, far, Some(&gateway), StatusCode::OK),
        (media, far, Some(&operator), StatusCode::OK),
        (media, far, Some(&other), StatusCode::FORBIDDEN),
        (media, far, None, StatusCode::UNAUTHORIZED),
        (media, near, None, StatusCode::OK),
        (media, "[::ffff:127.0.0.1]:999", None, StatusCode::OK),
        ("/metrics", far, None, StatusCode::OK),
    ] {
        let (status, body) = ask(Method::GET, path, from, token.map(String::as_str)).await;
        assert_eq!(status, expected, "{path} from {from}: {body}");
        if let Some(token) = token {
            let parts: Vec<&str> = token.split('.').collect();
            assert!(parts.iter().all(|part| !body.contains(part)), "a token is shown: {body}");
        }
    }
    // On its node's network loopback is everybody's on that node.
    let on_node = Access { host_network: true, ..access(&[signer.jwk("a")]) };
    gate.verify_by(Verifier::new(&on_node).expect("keys"));
    for near in [near, "[::ffff:127.0.0.1]:999", "[::1]:999"] {
        assert_eq!(ask(Method::GET, media, near, None).await.0, StatusCode::UNAUTHORIZED, "{near}");
        assert_eq!(ask(Method::GET, media, near, Some(&gateway)).await.0, StatusCode::OK, "{near}");
    }
    gate.verify_by(Verifier::new(&access(&[signer.jwk("a")])).expect("keys"));
    assert_eq!(ask(Method::OPTIONS, media, far, None).await.0, StatusCode::OK, "asked beforehand");
    assert_eq!(ask(Method::OPTIONS, report, far, None).await.0, StatusCode::UNAUTHORIZED);
}
