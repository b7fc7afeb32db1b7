//! Being let in: passwords and tokens, one grant per repository.
//!
//! A [`Grant`] is the `Authorization` header for one repository, obtained once however many requests wait for it. A
//! grant that is refused or expires is replaced by a new one, by whoever comes first; the others find it there. What a
//! registry demanded once is remembered for the host, so that its next repository costs no refused request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{
    Client, RequestBuilder, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::sync::OnceCell;

use super::{
    headers::Challenge,
    http::{self, Http},
};
use crate::{
    Credentials, Error, Repository,
    credentials::{Found, Secret, how_to_give},
};

/// What the token protocol says where an answer gives no lifetime, and the least that it allows.
const TOKEN_LIFETIME_DEFAULT: u64 = 60;
/// No token is kept for longer.
const TOKEN_LIFETIME_MAX: u64 = 24 * 3600;
/// A token is renewed so long before its end, or a quarter of its life if that is less.
const TOKEN_MARGIN_MAX: Duration = Duration::from_secs(30);
/// Tokens of registries with very many permissions reach some 100 KiB.
const TOKEN_BYTES_MAX: u64 = 1 << 20;
/// Grants kept at most; beyond it the expired go.
const GRANTS_MAX: usize = 4096;

/// Permission to read one repository.
#[derive(Debug)]
pub(super) struct Grant {
    challenge: Challenge,
    cell: OnceCell<Result<Permission, Error>>,
}

#[derive(Debug, Clone)]
struct Permission {
    header: HeaderValue,
    /// `None` for passwords.
    until: Option<Instant>,
    /// What to say if this is refused.
    note: Option<String>,
}

impl Grant {
    /// What to send as `Authorization`. Nothing before the grant was obtained.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        self.permission().map(|permission| &permission.header)
    }

    fn permission(&self) -> Option<&Permission> {
        self.cell.get()?.as_ref().ok()
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.permission().is_some_and(|permission| permission.until.is_some_and(|until| now >= until))
    }
}

/// Obtains and keeps the grants.
#[derive(Debug)]
pub(super) struct Auth {
    http: Arc<Http>,
    credentials: Credentials,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By host: what it demanded last.
    challenges: HashMap<String, Challenge>,
    grants: HashMap<Repository, Arc<Grant>>,
}

impl Auth {
    pub(super) fn new(http: Arc<Http>, credentials: Credentials) -> Self {
        Self { http, credentials, state: Mutex::default() }
    }

    /// The grant to begin a request with: none as long as the registry has not demanded one.
    pub(super) async fn current(&self, repository: &Repository) -> Result<Option<Arc<Grant>>, Error> {
        let grant = {
            let mut state = self.state();
            match state.grants.get(repository).filter(|grant| !grant.has_expired(Instant::now())) {
                Some(grant) => Some(grant.clone()),
                None => state.challenges.get(repository.host()).cloned().map(|challenge| state.replace(repository, challenge)),
            }
        };
        self.obtain(repository, grant).await
    }

    /// The grant to go on with after `refused` was not enough: a new one, unless another request has renewed it already.
    /// None if nobody ever said what is demanded.
    pub(super) async fn renew(
        &self,
        repository: &Repository,
        refused: Option<&Arc<Grant>>,
        challenge: Option<Challenge>,
    ) -> Result<Option<Arc<Grant>>, Error> {
        let grant = {
            let mut state = self.state();
            let is_new = |grant: &&Arc<Grant>| refused.is_none_or(|refused| !Arc::ptr_eq(grant, refused));
            let renewed = state.grants.get(repository).filter(is_new).filter(|grant| !grant.has_expired(Instant::now()));
            match renewed.cloned() {
                Some(grant) => Some(grant),
                None => challenge.or_else(|| Some(refused?.challenge.clone())).map(|challenge| state.replace(repository, challenge)),
            }
        };
        self.obtain(repository, grant).await
    }

    /// What to add to a denial of `repository` that came in spite of `grant`.
    pub(super) fn hint(repository: &Repository, grant: Option<&Arc<Grant>>) -> String {
        let note = grant.and_then(|grant| grant.permission()).and_then(|permission| permission.note.clone());
        let how = how_to_give(repository.host());
        match note {
            Some(note) => format!("credentials tried: {note}; {how}"),
            None => format!("no credentials were found for {}; {how}", repository.host()),
        }
    }

    async fn obtain(&self, repository: &Repository, grant: Option<Arc<Grant>>) -> Result<Option<Arc<Grant>>, Error> {
        let Some(grant) = grant else { return Ok(None) };
        let permission = grant.cell.get_or_init(|| self.ask(repository, &grant.challenge)).await;
        if let Err(error) = permission {
            // All who waited share the error; whoever comes later tries anew.
            let error = error.clone();
            self.state().remove(repository, &grant);
            return Err(error);
        }
        Ok(Some(grant))
    }

    async fn ask(&self, repository: &Repository, challenge: &Challenge) -> Result<Permission, Error> {
        let found = self.credentials.find(repository.host()).await;
        match challenge {
            Challenge::Basic => self.basic(repository, found),
            Challenge::Bearer { realm, service } => self.fetch_token(repository, realm, service.as_deref(), found).await,
        }
    }

    fn basic(&self, repository: &Repository, found: Found) -> Result<Permission, Error> {
        let denied = |hint: String| Error::Denied { what: repository.to_string(), hint };
        let Some(Secret::Password { username, password }) = found.secret else {
            let note = found.note.map(|note| format!(" ({note})")).unwrap_or_default();
            return Err(denied(format!("it wants a password, and there is none{note}; {}", how_to_give(repository.host()))));
        };
        // A request that is never sent: reqwest writes the header, so that base64 stays its business.
        let request = self.http.inside()?.get("http://localhost").basic_auth(username, Some(password)).build();
        let header = request.ok().and_then(|request| request.headers().get(AUTHORIZATION).cloned());
        let header = header.ok_or_else(|| denied("user name or password cannot be sent".to_owned()))?;
        Ok(Permission { header, until: None, note: found.note })
    }

    async fn fetch_token(&self, repository: &Repository, realm: &str, service: Option<&str>, found: Found) -> Result<Permission, Error> {
        let what = format!("token for {repository} from {}", host_of(realm));
        let begun = Instant::now();
        let url = self.realm_url(repository, realm, &what)?;
        let request = token_request(self.http.client(&url)?, url, repository, service, found.secret.as_ref());
        let response = request.send().await.map_err(|error| http::transport_error(&what, error))?;
        if !response.status().is_success() {
            let hint = || match &found.note {
                Some(note) => format!("credentials tried: {note}; {}", how_to_give(repository.host())),
                None => how_to_give(repository.host()),
            };
            return Err(http::status_error(&what, response, hint).await);
        }
        let body = http::read_bounded(&what, response, TOKEN_BYTES_MAX).await?;
        let (token, lifetime) = parse_token(&body).ok_or_else(|| Error::protocol(&what, "no token in it"))?;
        let header = sensitive(&format!("Bearer {token}")).ok_or_else(|| Error::protocol(&what, "a token that no header can hold"))?;
        tracing::debug!(%repository, lifetime_s = lifetime.as_secs(), "token obtained");
        Ok(Permission { header, until: Some(begun + lifetime), note: found.note })
    }

    /// The realm comes from the answer: it must not lure a password out of an encrypted connection.
    fn realm_url(&self, repository: &Repository, realm: &str, what: &str) -> Result<Url, Error> {
        let url: Url = realm.parse().map_err(|_| Error::protocol(what, "the token server's address is no URL"))?;
        let plain = self.http.scheme(repository.api_host()) == "http";
        if url.scheme() == "https" || (url.scheme() == "http" && (plain || self.http.scheme(url.host_str().unwrap_or_default()) == "http"))
        {
            return Ok(url);
        }
        Err(Error::protocol(what, "the token server is not encrypted, but the registry is; allow plain HTTP if that is meant"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, repository: &Repository, challenge: Challenge) -> Arc<Grant> {
        if self.grants.len() >= GRANTS_MAX {
            let now = Instant::now();
            self.grants.retain(|_, grant| !grant.has_expired(now));
        }
        if self.grants.len() >= GRANTS_MAX {
            // Thousands of live tokens: they can be had again.
            self.grants.clear();
        }
        self.challenges.insert(repository.host().to_owned(), challenge.clone());
        let grant = Arc::new(Grant { challenge, cell: OnceCell::new() });
        self.grants.insert(repository.clone(), grant.clone());
        grant
    }

    fn remove(&mut self, repository: &Repository, grant: &Arc<Grant>) {
        if self.grants.get(repository).is_some_and(|known| Arc::ptr_eq(known, grant)) {
            self.grants.remove(repository);
        }
    }
}

/// A refresh token is posted (OAuth2), all else is asked for with GET, as Docker does.
fn token_request(client: &Client, mut url: Url, repository: &Repository, service: Option<&str>, secret: Option<&Secret>) -> RequestBuilder {
    let scope = format!("repository:{}:pull", repository.name());
    let service = service.map(|service| ("service", service));
    let common = service.into_iter().chain([("scope", scope.as_str())]);
    if let Some(Secret::IdentityToken(token)) = secret {
        let mut form = url.clone();
        let fields = common.chain([("grant_type", "refresh_token"), ("client_id", "clip"), ("refresh_token", token.as_str())]);
        form.query_pairs_mut().clear().extend_pairs(fields);
        let body = form.query().unwrap_or_default().to_owned();
        return client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
    }
    url.query_pairs_mut().extend_pairs(common);
    let request = client.get(url);
    match secret {
        Some(Secret::Password { username, password }) => request.basic_auth(username, Some(password)),
        _ => request,
    }
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

/// The token, and how long to use it.
fn parse_token(body: &[u8]) -> Option<(String, Duration)> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty())?;
    // Floats, because some servers write 300.0. The cast saturates.
    let seconds = answer.expires_in.map(|seconds| seconds as u64).filter(|seconds| *seconds > 0).unwrap_or(TOKEN_LIFETIME_DEFAULT);
    let whole = Duration::from_secs(seconds.min(TOKEN_LIFETIME_MAX));
    Some((token, whole - TOKEN_MARGIN_MAX.min(whole / 4)))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn host_of(url: &str) -> String {
    url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "nowhere".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let check = |body: &str, token: &str, seconds| {
            assert_eq!(parse_token(body.as_bytes()), Some((token.to_owned(), Duration::from_secs(seconds))), "{body}");
        };
        check(r#"{"token": "a"}"#, "a", 45);
        check(r#"{"token": "", "access_token": "b", "expires_in": 300}"#, "b", 270);
        check(r#"{"access_token": "b", "expires_in": 40.0, "issued_at": "x"}"#, "b", 30);
        check(r#"{"token": "a", "expires_in": 1e30}"#, "a", TOKEN_LIFETIME_MAX - 30);
        check(r#"{"token": "a", "expires_in": -5}"#, "a", 45);
        for body in ["", "{}", r#"{"token": 5}"#, "<html>", r#"{"token": ""}"#] {
            assert_eq!(parse_token(body.as_bytes()), None, "{body}");
        }
    }
}
