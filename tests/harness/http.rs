use reqwest::ClientBuilder;

/// What a client of the tests is built with: they talk to this machine, and to no proxy that its environment names.
pub fn http_client() -> ClientBuilder {
    // It is built with TLS, even where that is not used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "beside no_proxy()")]
    reqwest::Client::builder().no_proxy()
}
