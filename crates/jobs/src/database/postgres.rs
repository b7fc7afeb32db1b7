//! A queue in PostgreSQL, which several workers share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{Database, Pools};
use crate::{Error, Options};

/// What the names of such databases begin with.
pub(super) const SCHEME: &str = "postgres://";

/// The server counts in milliseconds and 31 bits; who has more patience than this has no timeout in mind.
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The parameters that a URL may have; the driver would only log one that it does not know, with its value.
const PARAMETERS: &str =
    "sslmode sslrootcert sslcert sslkey statement-cache-capacity host hostaddr port dbname user password application_name options";

/// Where a database of PostgreSQL is: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE`, as libpq has it. What it leaves out comes
/// from libpq's variables (`PGPASSWORD`, `PGSSLMODE`, …) and its password file. It is shown without its password.
///
/// TLS is used where the server offers it; `sslmode=verify-full` with `sslrootcert=FILE` (or a certificate that public authorities vouch for)
/// makes sure who the server is. `options[search_path]=SCHEMA` puts the tables elsewhere than into `public`.
#[derive(Clone)]
pub struct PostgresUrl(Box<PgConnectOptions>);

impl FromStr for PostgresUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<PostgresUrl, Error> {
        let invalid = |detail: &str| Error::invalid("PostgreSQL URL", detail);
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(invalid("must begin with postgres://"));
        }
        let (_, query) = text.split_once('?').unwrap_or_default();
        let mut names = query.split('&').map(|parameter| parameter.split('=').next().unwrap_or_default());
        if !names.all(is_parameter) {
            return Err(invalid(&format!("has a parameter that is none of: {PARAMETERS}")));
        }
        // The driver's own words could have a piece of a password in them that was not encoded.
        let options: PgConnectOptions =
            text.parse().map_err(|_| invalid("cannot be read: special characters in it must be percent-encoded"))?;
        if [options.get_host(), options.get_database().unwrap_or_default()].iter().any(|part| part.contains('@')) {
            return Err(invalid("has an '@' in the host or database: special characters in a password must be percent-encoded"));
        }
        Ok(PostgresUrl(Box::new(options)))
    }
}

fn is_parameter(name: &str) -> bool {
    name.is_empty() || name.starts_with("options[") || name.starts_with("options%5B") || PARAMETERS.split(' ').any(|known| known == name)
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, user) = (&self.0, self.0.get_username());
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        write!(f, "{SCHEME}{user}@{host}:{}/{}", options.get_port(), options.get_database().unwrap_or(user))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A database that is connected to when it is first asked.
pub(super) fn open(url: &PostgresUrl, options: &Options) -> Database {
    let patience = options.patience.min(STATEMENT_TIMEOUT_MAX);
    let patience_ms = patience.as_millis().to_string();
    let idle_ms = (2 * patience).as_millis().to_string();
    let connect = (*url.0).clone().disable_statement_logging().options([
        ("statement_timeout", patience_ms.as_str()),
        // A worker whose machine has gone must not keep its locks: the server finds out by these.
        ("idle_in_transaction_session_timeout", &idle_ms),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        // There is an index for everything, in the right order. Statistics that say "empty" of a table that has filled since must not lead to plans
        // that read or sort it whole. The high costs of what is left would bring the compiler in.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_sort", "off"),
        ("jit", "off"),
    ]);
    let connect = match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name("clip"),
    };
    let pool = PgPoolOptions::new()
        .max_connections(options.connections_max.max(1))
        .acquire_timeout(options.patience)
        .acquire_slow_threshold(options.patience)
        .connect_lazy_with(connect);
    Database { name: url.to_string().into(), pools: Pools::Postgres(pool) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let url: PostgresUrl = "postgres://clip:hunter2@db.example:5433/queue?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://clip@db.example:5433/queue");
        let options = Options::new(crate::Place::Postgres(url));
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused_without_its_secrets() {
        let bad = [
            "mysql://clip:hunter2@db.example/queue",
            "postgres://clip:12/hunter2@db.example/queue",
            "postgres://clip:hunter2/3@db.example/queue",
            "postgres://clip:12?hunter2@db.example/queue",
            "postgres://clip@db.example/queue?passwd=hunter2",
            "postgres://clip@db.example/queue?sslmode=hunter2",
        ];
        for text in bad {
            let error = text.parse::<PostgresUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!("postgres://clip@db.example/queue?options[search_path]=x".parse::<PostgresUrl>().is_ok());
    }
}
