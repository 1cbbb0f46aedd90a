//! TLS below the requests.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::crypto::ring;

use crate::error::{Error, Result};
use crate::options::Options;

/// Has a connector speak TLS where the address is one of `https`.
pub(super) fn connector(
    mut http: HttpConnector,
    options: &Options,
) -> Result<HttpsConnector<HttpConnector>> {
    // Named, because rustls has no default in a program that was built with several.
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Invalid(e.to_string()))?
        .with_root_certificates(options.authorities.clone())
        .with_no_client_auth();

    http.enforce_http(false);
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http))
}
