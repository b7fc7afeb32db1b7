//! The client: where, as whom, over which connections. Nothing is sent here, but files and the environment are read.

use std::{io, path::Path, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider,
};
use aws_sdk_s3::{
    Client,
    config::{
        AppName, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use backend::Error;
use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

use crate::options::{Credentials, Endpoint, REGION_DEFAULT, S3Options};

/// A CA bundle of a whole operating system is some hundred KiB.
const CA_BYTES_MAX: u64 = 16 << 20;
/// Idle connections are kept for about as long as servers keep them.
const IDLE: Duration = Duration::from_secs(60);

/// What [`client`] found out on the way.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) region: String,
    /// Of a server that is not Amazon's, as far as options and environment name one.
    pub(crate) endpoint: Option<String>,
}

/// A client for `options`. Its own retries are off (ours do them), and so are the checksums that not every server knows: what is
/// sent is covered by the SHA-256 in its signature, which all servers must check, and what is read has digests of its own.
pub(crate) async fn client(options: &S3Options) -> Result<Connected, Error> {
    let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
    let from_environment = || variables.into_iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let endpoint = options.endpoint.clone().or_else(from_environment).map(|text| Endpoint::parse(&text)).transpose()?;
    let region = region(options).await;

    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region.clone())
        .http_client(http_client(options, endpoint.as_ref())?)
        .disable_clock_skew_correction(true);
    let loader = match &options.credentials {
        Credentials::DefaultChain => loader,
        Credentials::Static { access_key, secret_key, session_token } => {
            let token = session_token.clone();
            loader.credentials_provider(aws_credential_types::Credentials::new(access_key, secret_key, token, None, "options"))
        }
        Credentials::Anonymous => loader.no_credentials(),
    };
    let shared = loader.load().await;

    let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).disable_read_timeout().build();
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style.unwrap_or_else(|| endpoint.as_ref().is_some_and(Endpoint::path_style)));
    config.set_app_name(AppName::new("clip").ok());
    // Not set to none: a profile may have named one.
    if let Some(endpoint) = &endpoint {
        config = config.endpoint_url(endpoint.url());
    }
    if matches!(options.credentials, Credentials::Anonymous) {
        config = config.allow_no_auth();
    }
    let endpoint = endpoint.map(|endpoint| endpoint.url().to_owned());
    Ok(Connected { client: Client::from_conf(config.build()), region: region.to_string(), endpoint })
}

async fn region(options: &S3Options) -> Region {
    let named = options.region.clone().map(Region::new);
    let found =
        RegionProviderChain::first_try(named).or_else(EnvironmentVariableRegionProvider::new()).or_else(ProfileFileRegionProvider::new());
    // Not asked of the instance's metadata: off Amazon's machines that waits for seconds to hear nothing.
    found.region().await.unwrap_or_else(|| Region::from_static(REGION_DEFAULT))
}

/// One set of connections. Their only timeout is that for connecting: how long an answer may take depends on what is sent.
fn http_client(options: &S3Options, endpoint: Option<&Endpoint>) -> Result<SharedHttpClient, Error> {
    // Reading all certificates that the system trusts takes longer than all else here.
    let needs_tls = !endpoint.is_some_and(Endpoint::is_plain) || matches!(options.credentials, Credentials::DefaultChain);
    let mut trust = TrustStore::empty().with_native_roots(needs_tls);
    if let Some(path) = &options.ca_file {
        trust.add_pem_certificate(certificates(path)?);
    }
    let tls_error = |error| Error::Tls { what: "set up TLS".to_owned(), source: Arc::new(error) };
    let tls = TlsContext::builder().with_trust_store(trust).build().map_err(tls_error)?;
    let inside = endpoint.is_some_and(Endpoint::is_loopback);
    // Hidden in the documentation, but what the SDK itself uses: the documented way knows no proxies.
    Ok(Builder::new().build_with_connector_fn(move |settings, _| {
        let mut builder = Connector::builder().pool_idle_timeout(IDLE).enable_tcp_nodelay(true);
        builder.set_connector_settings(settings.cloned());
        builder.set_proxy_config(Some(if inside { ProxyConfig::disabled() } else { ProxyConfig::from_env() }));
        builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    }))
}

/// The PEM of a CA file, checked: the HTTP client would panic over a bad one.
fn certificates(path: &Path) -> Result<Vec<u8>, Error> {
    let io = |source: io::Error| Error::Io { path: path.to_owned(), source: Arc::new(source) };
    let invalid = |reason: String| Error::InvalidOption { option: "CA file", reason: format!("{}: {reason}", path.display()) };
    if std::fs::metadata(path).map_err(io)?.len() > CA_BYTES_MAX {
        return Err(invalid(format!("larger than {CA_BYTES_MAX} bytes")));
    }
    let pem = std::fs::read(path).map_err(io)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("holds no PEM certificate".to_owned()));
    }
    Ok(pem)
}
