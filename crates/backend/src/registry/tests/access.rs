//! Being let in: tokens, passwords, redirects, and what is sent to whom.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::{server::*, *};
use crate::{conformance, read_all};

/// What `token_server` demands of a request: the newest token.
struct Tokens {
    issued: AtomicUsize,
    expires_in: u64,
}

impl Tokens {
    fn new(expires_in: u64) -> Arc<Self> {
        Arc::new(Self { issued: AtomicUsize::new(0), expires_in })
    }

    fn issue(&self) -> Reply {
        let number = self.issued.fetch_add(1, SeqCst) + 1;
        // Slow, so that all who ask at once do ask.
        let json = format!(r#"{{"access_token": "token-{number}", "expires_in": {}}}"#, self.expires_in);
        Reply::new(200).body(json).delay(Duration::from_millis(30))
    }

    fn count(&self) -> usize {
        self.issued.load(SeqCst)
    }

    fn revoke(&self) {
        self.issued.fetch_add(100, SeqCst);
    }

    fn lets_in(&self, request: &Request) -> bool {
        request.header("authorization") == Some(&format!("Bearer token-{}", self.count()))
    }

    fn demand(request: &Request, status: u16) -> Reply {
        let realm = format!("http://{}/token", request.header("host").unwrap());
        Reply::new(status).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="s p",scope="other""#))
    }

    /// A registry and its token server in one.
    async fn serve(self: &Arc<Self>, content: Vec<u8>, refusal: u16) -> Server {
        let tokens = self.clone();
        Server::start(move |before, request| match request.path.starts_with("/token") {
            true => tokens.issue(),
            false if tokens.lets_in(request) => Reply::part(request, &content),
            false => Self::demand(request, if before == 0 { 401 } else { refusal }),
        })
        .await
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_and_renewed_when_refused() {
    for refusal in [401, 403] {
        let content = conformance::content(1000);
        let tokens = Tokens::new(300);
        let server = tokens.serve(content.clone(), refusal).await;
        let blob = registry().open(&repository(&server.host), DIGEST, 1000);
        futures_util::future::try_join_all((0..8).map(|_| read_all(&*blob, 0..10, 10))).await.unwrap();
        assert_eq!(tokens.count(), 1, "eight requests share one token");
        let asked = server.asked();
        let token = asked.iter().find(|request| request.path.starts_with("/token")).unwrap();
        assert_eq!(token.path, "/token?service=s+p&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(token.header("authorization"), None);
        tokens.revoke();
        futures_util::future::try_join_all((0..8).map(|_| read_all(&*blob, 0..10, 10))).await.unwrap();
        assert_eq!(tokens.count(), 102, "and one renewal");
        conformance::check(&*blob, &content).await.unwrap();
        assert_eq!(tokens.count(), 102);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let tokens = Tokens::new(1);
    let server = tokens.serve(vec![7; 100], 401).await;
    let blob = registry().blob(&repository(&server.host), DIGEST, 100);
    read_all(&blob, 0..10, 10).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let before = server.asked().len();
    read_all(&blob, 0..10, 10).await.unwrap();
    assert_eq!(tokens.count(), 2);
    assert_eq!(server.asked().len() - before, 2, "token and blob: no refused request between");
}

#[tokio::test]
async fn a_second_repository_pays_no_refused_request() {
    let tokens = Tokens::new(300);
    let server = tokens.serve(vec![b'{'; 100], 401).await;
    let registry = registry();
    registry.manifest(&reference(&server.host)).await.unwrap();
    assert_eq!(server.asked().len(), 3);
    registry.manifest(&format!("{}/other:1", server.host).parse().unwrap()).await.unwrap();
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn who_is_never_let_in_asks_twice_and_gets_a_hint() {
    for status in [401, 403] {
        let server = Server::start(move |_, request| match request.path.starts_with("/token") {
            true => Reply::new(200).body(r#"{"token": "useless"}"#),
            false => Tokens::demand(request, status),
        })
        .await;
        let error = with_login(&server.host, "me", "pass").open(&repository(&server.host), DIGEST, 10).get(0..1).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Denied { .. }) && text.contains("CLIP_REGISTRY_USER_127_0_0_1_"), "{text}");
        assert!(text.contains("credentials tried: those given"), "{text}");
        assert_eq!(server.asked().len(), 3, "blob, token, blob");
    }
}

#[tokio::test]
async fn a_login_is_sent_to_the_token_server_and_its_refusal_is_a_denial() {
    let server = Server::start(|_, request| match request.path.starts_with("/token") {
        true => Reply::new(401),
        false => Tokens::demand(request, 401),
    })
    .await;
    let error = with_login(&server.host, "me", "pass").manifest(&reference(&server.host)).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    let asked = server.asked();
    assert_eq!(asked[1].header("authorization"), Some("Basic bWU6cGFzcw=="));
    assert_eq!((asked[0].header("authorization"), asked.len()), (None, 2));
}

#[tokio::test]
async fn a_token_server_that_fails_for_a_moment_is_asked_again() {
    let failed = AtomicBool::new(false);
    let server = Server::start(move |_, request| match request.path.starts_with("/token") {
        true if !failed.swap(true, SeqCst) => Reply::new(503),
        true => Reply::new(200).body(r#"{"token": "t"}"#),
        false if request.header("authorization") == Some("Bearer t") => Reply::new(200).body("{}"),
        false => Tokens::demand(request, 401),
    })
    .await;
    registry().manifest(&reference(&server.host)).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let server = Server::start(|_, request| match request.path.starts_with("/token") {
        true => Reply::new(200).body(r#"{"access_token": "t"}"#),
        false if request.header("authorization") == Some("Bearer t") => Reply::new(200).body("{}"),
        false => Tokens::demand(request, 401),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!(r#"{{"auths": {{"{}": {{"identitytoken": "refresh/1"}}}}}}"#, server.host);
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let credentials = Credentials::with_environment(move |name| (name == "DOCKER_CONFIG").then(|| path.clone()));
    let registry = Registry::new(RegistryOptions { credentials, ..options() }).unwrap();
    registry.manifest(&reference(&server.host)).await.unwrap();
    let asked = server.asked();
    assert_eq!((asked[1].method.as_str(), asked[1].path.as_str()), ("POST", "/token"));
    assert!(asked[1].body.contains("grant_type=refresh_token") && asked[1].body.contains("refresh_token=refresh%2F1"), "{}", asked[1].body);
}

#[tokio::test]
async fn passwords_where_they_are_demanded() {
    let server = Server::start(|_, request| match request.header("authorization") {
        Some("Basic bWU6cGFzcw==") => Reply::new(200).body("{}"),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    })
    .await;
    with_login(&server.host, "me", "pass").manifest(&reference(&server.host)).await.unwrap();
    let before = server.asked().len();
    let error = registry().manifest(&reference(&server.host)).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { .. }) && error.to_string().contains("docker login"), "{error}");
    assert_eq!(server.asked().len() - before, 1, "without a password there is nothing to try again");
}

/// A registry that wants a password and sends to `storage` for blobs.
async fn redirecting(location: impl Fn(usize) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |before, request| match request.header("authorization") {
        Some(_) => Reply::new(307).header("Location", location(before)),
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    })
    .await
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials_and_remembered() {
    let content = conformance::content(1000);
    let served = content.clone();
    let storage = Server::start(move |_, request| Reply::part(request, &served)).await;
    let location = format!("http://{}/blob?Expires=99999999999", storage.host);
    let server = redirecting(move |_| location.clone()).await;
    let blob = with_login(&server.host, "me", "pass").open(&repository(&server.host), DIGEST, 1000);
    conformance::check(&*blob, &content).await.unwrap();
    assert_eq!(server.asked().len(), 2, "the registry is asked for the way once");
    assert!(storage.asked().len() > 20);
    assert!(storage.paths().iter().all(|(path, authorized)| path == "/blob?Expires=99999999999" && !authorized));
}

#[tokio::test]
async fn a_stale_url_leads_back_to_the_registry_once() {
    for status in [400, 401, 403, 404, 410, 302] {
        let storage = Server::start(move |before, request| match request.path.as_str() {
            "/1" if before > 0 => Reply::new(status),
            _ => Reply::part(request, &[7; 100]),
        })
        .await;
        let host = storage.host.clone();
        let server = redirecting(move |before| format!("http://{host}/{before}")).await;
        let blob = with_login(&server.host, "me", "pass").blob(&repository(&server.host), DIGEST, 100);
        for _ in 0..3 {
            read_all(&blob, 0..10, 10).await.unwrap();
        }
        let paths: Vec<_> = storage.paths().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/1", "/1", "/2", "/2"], "{status}");
    }
}

#[tokio::test]
async fn an_expired_url_is_not_used() {
    let storage = Server::start(|_, request| Reply::part(request, &[7; 100])).await;
    let location = format!("http://{}/blob?Expires=1000", storage.host);
    let server = redirecting(move |_| location.clone()).await;
    let blob = with_login(&server.host, "me", "pass").blob(&repository(&server.host), DIGEST, 100);
    for _ in 0..2 {
        read_all(&blob, 0..10, 10).await.unwrap();
    }
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_redirect_within_the_registry_keeps_credentials_and_loops_end() {
    let server = Server::start(|_, request| match (request.header("authorization"), request.path.as_str()) {
        (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        (_, "/moved") => Reply::part(request, &[7; 100]),
        _ => Reply::new(302).header("Location", "/moved"),
    })
    .await;
    let blob = with_login(&server.host, "me", "pass").blob(&repository(&server.host), DIGEST, 100);
    read_all(&blob, 0..10, 10).await.unwrap();
    let server = Server::start(|_, request| Reply::new(302).header("Location", request.path.clone())).await;
    let error = registry().blob(&repository(&server.host), DIGEST, 100).get(0..1).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn storage_that_refuses_a_fresh_url_costs_no_new_token() {
    let storage = Server::start(|_, _| Reply::new(403)).await;
    let location = format!("http://{}/blob?X-Amz-Signature=secret-part", storage.host);
    let server = redirecting(move |_| location.clone()).await;
    let error = with_login(&server.host, "me", "pass").blob(&repository(&server.host), DIGEST, 100).get(0..1).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }) && !format!("{error:?}").contains("secret-part"), "{error:?}");
    assert_eq!((server.asked().len(), storage.asked().len()), (2, 1));
}

#[tokio::test]
async fn signatures_are_in_no_error() {
    let storage = Server::start(|_, _| Reply::new(200)).await.host.clone();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let location = format!("http://{storage}/blob?X-Amz-Signature=secret-part");
    let server = redirecting(move |_| location.clone()).await;
    let error = with_login(&server.host, "me", "pass").blob(&repository(&server.host), DIGEST, 100).get(0..1).await.unwrap_err();
    assert!(error.is_transient() && !format!("{error:?}").contains("secret-part"), "{error:?}");
}
