//! What a server over TLS takes connections with, for tests.

use std::sync::Arc;

use evenkeel_cluster::Served;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// With this certificate.
pub fn acceptor(served: &Served) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(served.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(served.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
