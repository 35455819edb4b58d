//! A cluster's token issuer: a key pair of its own, its public half as a JWK set, and tokens as the API server makes them.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// What tokens say of their issuer.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What agents ask tokens to be for.
pub const AUDIENCE: &str = "camera-operator.dev/agent";

/// base64url without padding (RFC 7515 §2).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0, &0]).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// See the module.
pub struct Issuer {
    pair: EcdsaKeyPair,
}

impl Issuer {
    /// With a fresh key pair.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { pair }
    }

    /// Its JWK set.
    pub fn keys(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": base64url(x), "y": base64url(y)}]})
    }

    /// A token of a ServiceAccount (`namespace:name`) that is good for so many seconds from now (or since, if negative).
    pub fn token(&self, account: &str, seconds: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": format!("system:serviceaccount:{account}"),
            "iat": now,
            "exp": now + seconds,
        });
        let header = json!({"alg": "ES256", "kid": "1"}).to_string();
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(signature.as_ref()))
    }
}
