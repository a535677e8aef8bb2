//! What pods are asked with over TLS: read live and by name, with a right that only the user can give, and kept for minutes.
//!
//! The token is in no log and in no message, and leaves this process only in a request over a connection whose certificate the
//! user's authority vouches for.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::api::{KeyReference, MetricsHttps};
use crate::balance::{MetricsReason, MetricsState};
use crate::operator::Namespaced;
use crate::operator::context::jittered;

/// After this time they are read again, so that a right that was taken away is noticed.
const KEPT: Duration = Duration::from_mins(5);
/// The same where they were not to be had, or the pods refused them: somebody may be mending it.
const AGAIN: Duration = Duration::from_secs(15);
/// While the API server does not answer, what was read before goes on for this long.
const OUTAGE: Duration = Duration::from_mins(15);
/// For one read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of certificates, and how many of them.
const CA_BYTES: usize = 64 << 10;
const CERTIFICATES: usize = 100;
/// Bytes of a token.
const TOKEN_BYTES: usize = 16 << 10;

/// What a request over TLS is made with.
pub struct Secured {
    /// Trusts the one authority.
    pub tls: Arc<ClientConfig>,
    /// Whom the certificate must be for; none: the pod's address.
    pub name: Option<ServerName<'static>>,
    /// Sent where there is one.
    pub token: Option<HeaderValue>,
}

type Outcome = Result<Arc<Secured>, MetricsState>;

/// The credentials of one backend.
pub struct Credentials {
    client: Client,
    namespace: String,
    held: Option<Held>,
}

struct Held {
    asked: MetricsHttps,
    outcome: Outcome,
    read: Instant,
    until: Instant,
}

impl Credentials {
    /// Of a backend in this namespace: it can name objects of no other.
    pub fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            held: None,
        }
    }

    /// What the spec names, or why it is not to be had.
    pub async fn get(&mut self, asked: &MetricsHttps) -> Outcome {
        let now = Instant::now();
        let held = self.held.take().filter(|held| held.asked == *asked);
        let held = match held {
            Some(held) if now < held.until => held,
            held => self.renewed(asked, held, now).await,
        };
        let outcome = held.outcome.clone();
        self.held = Some(held);
        outcome
    }

    /// The pods refused what was read: it may have been replaced meanwhile.
    pub fn refused(&mut self) {
        if let Some(held) = &mut self.held {
            held.until = held.until.min(held.read + AGAIN);
        }
    }

    async fn renewed(&self, asked: &MetricsHttps, before: Option<Held>, now: Instant) -> Held {
        let (outcome, read, pause) = match (self.load(asked).await, before) {
            (Ok(secured), _) => (Ok(Arc::new(secured)), now, KEPT),
            (Err(Lack::Passing(_)), Some(before))
                if before.outcome.is_ok() && now.duration_since(before.read) < OUTAGE =>
            {
                (before.outcome, before.read, AGAIN)
            }
            (Err(Lack::Passing(message)), _) => (
                Err(MetricsState::new(MetricsReason::NoCredentials, message)),
                now,
                AGAIN,
            ),
            (Err(Lack::Lasting(state)), _) => (Err(state), now, AGAIN),
        };
        Held {
            asked: asked.clone(),
            outcome,
            read,
            until: now + jittered(pause, &self.namespace),
        }
    }

    async fn load(&self, asked: &MetricsHttps) -> Result<Secured, Lack> {
        const CA: &str = "spec.balance.metrics.https.ca";
        const TOKEN: &str = "spec.balance.metrics.https.bearerToken";
        let ca = match (&asked.ca.config_map, &asked.ca.secret) {
            (Some(key), _) => self.read::<ConfigMap>(key, CA, of_config_map).await?,
            (None, Some(key)) => self.read::<Secret>(key, CA, of_secret).await?,
            (None, None) => {
                return Err(unusable(format!(
                    "{CA} names neither a secret nor a configMap: name one"
                )));
            }
        };
        let tls = tls(&ca).map_err(|what| unusable(format!("what {CA} names {what}")))?;
        let name = asked.server_name.clone().map(ServerName::try_from);
        let name = name.transpose().map_err(|_| {
            unusable("spec.balance.metrics.https.serverName is no name that a certificate can have: correct it".into())
        })?;
        let token = match &asked.bearer_token {
            None => None,
            Some(key) => {
                let token = self.read::<Secret>(key, TOKEN, of_secret).await?;
                Some(
                    bearer(&token)
                        .map_err(|what| unusable(format!("what {TOKEN} names {what}")))?,
                )
            }
        };
        Ok(Secured {
            tls: Arc::new(tls),
            name,
            token,
        })
    }

    /// One key of one object.
    async fn read<K: Namespaced>(
        &self,
        reference: &KeyReference,
        field: &str,
        pick: fn(K, &str) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Lack> {
        let KeyReference { name, key } = reference;
        let kind = K::kind(&());
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let object = tokio::time::timeout(READ_TIMEOUT, api.get_opt(name))
            .await
            .map_err(|_| Lack::Passing(format!("{kind} {name}, which {field} names, could not be read: the API server does not answer")))?
            .map_err(|error| lack(&error, &kind, &K::plural(&()), name, field))?;
        let object = object.ok_or_else(|| {
            unusable(format!(
                "there is no {kind} {name}, which {field} names: create it"
            ))
        })?;
        pick(object, key).ok_or_else(|| {
            unusable(format!(
                "{kind} {name} has no key {key}, which {field} names: add it"
            ))
        })
    }
}

/// Why there are no credentials.
enum Lack {
    /// Until somebody changes something.
    Lasting(MetricsState),
    /// It mends itself.
    Passing(String),
}

fn unusable(message: String) -> Lack {
    Lack::Lasting(MetricsState::new(MetricsReason::NoCredentials, message))
}

fn lack(error: &kube::Error, kind: &str, plural: &str, name: &str, field: &str) -> Lack {
    let kube::Error::Api(status) = error else {
        return Lack::Passing(format!(
            "{kind} {name}, which {field} names, could not be read: the API server cannot be reached"
        ));
    };
    if status.code != 403 {
        let code = status.code;
        return Lack::Passing(format!(
            "{kind} {name}, which {field} names, could not be read: the API server answered with status {code}"
        ));
    }
    let who = user(&status.message).unwrap_or("the operator's ServiceAccount");
    Lack::Lasting(MetricsState::new(
        MetricsReason::Forbidden,
        format!(
            "the operator may not read {kind} {name}, which {field} names: bind a Role of this namespace with the verb get on {plural}, \
             resourceNames [{name}], to {who} (docs/metrics.md has it)"
        ),
    ))
}

/// The API server says whom it refused: `… is forbidden: User "…" cannot get …`.
fn user(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, _) = rest.split_once('"')?;
    (user.len() <= 253).then_some(user)
}

fn of_secret(secret: Secret, key: &str) -> Option<Vec<u8>> {
    secret.data?.remove(key).map(|value| value.0)
}

fn of_config_map(map: ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = map.data.and_then(|mut data| data.remove(key));
    let bytes = map.binary_data.and_then(|mut data| data.remove(key));
    text.map(String::into_bytes).or(bytes.map(|bytes| bytes.0))
}

/// The error ends a sentence.
pub(super) fn tls(authority: &[u8]) -> Result<ClientConfig, String> {
    if authority.len() > CA_BYTES {
        return Err(format!(
            "is over {CA_BYTES} bytes: keep only the authority there"
        ));
    }
    let none = "holds no certificate that can be read: put the authority there in PEM";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate = certificate.map_err(|_| none)?;
        roots.add(certificate).map_err(|_| none)?;
        if roots.len() > CERTIFICATES {
            return Err(format!(
                "holds over {CERTIFICATES} certificates: keep only the authority there"
            ));
        }
    }
    if roots.is_empty() {
        return Err(none.into());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| none)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A session that is taken up again would be one of before the certificate was looked at.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The error ends a sentence.
pub(super) fn bearer(token: &[u8]) -> Result<HeaderValue, &'static str> {
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err("is empty: put the token there");
    }
    if token.len() > TOKEN_BYTES {
        return Err("is too long for a token: put only the token there");
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("has characters that no token has: put only the token there");
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| "has characters that no token has: put only the token there")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_never_printed() {
        let value = bearer(b"s3cret.x-y_z=\n").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer s3cret.x-y_z=");
        assert!(!format!("{value:?}").contains("s3cret"));
        let too_long = vec![b'a'; TOKEN_BYTES + 1];
        for wrong in [
            &b""[..],
            b" \n",
            b"a b",
            b"a\r\nHost: x",
            b"\xff",
            &too_long,
        ] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_authority_is_a_certificate() {
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        for wrong in [
            String::new(),
            "x".into(),
            pem("!"),
            pem("AAAA"),
            "#".repeat(CA_BYTES + 1),
        ] {
            assert!(tls(wrong.as_bytes()).is_err(), "{wrong:.50}");
        }
    }

    #[test]
    fn who_was_refused_is_named() {
        let said = "secrets \"x\" is forbidden: User \"system:serviceaccount:o:e\" cannot get resource \"secrets\"";
        assert_eq!(user(said), Some("system:serviceaccount:o:e"));
        assert_eq!(user("no"), None);
    }
}
