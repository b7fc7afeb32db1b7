//! Certificates of the TCP listener.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Checks what cannot be seen in the configuration alone.
pub(crate) fn check(config: &config::Worker) -> Result<()> {
    acceptor(config).map(drop)
}

/// What accepts TLS, if the configuration names a certificate.
pub(super) fn acceptor(config: &config::Worker) -> Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let certificates = certificates(cert)?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("read the private key in {} (worker.tlsKey)", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates, key_der)
        .with_context(|| format!("use the certificate in {} with the key in {}", cert.display(), key.display()))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.with_context(|| format!("read the certificates in {} (worker.tlsCert)", path.display()))?;
    if certificates.is_empty() {
        bail!("{} has no certificate (worker.tlsCert)", path.display());
    }
    Ok(certificates)
}
