//! Options of the server.

use std::fmt;

use chat_http::{AllowedHost, Guests, Proxies, PublicUrl, Settings};
use clap::{Parser, ValueEnum};

/// Connections at once, where the system has files for so many.
const MAX_CONNECTIONS: usize = 16_384;
/// Files kept for the store and everything else.
const RESERVED_FILES: u64 = 128;

/// A chat server.
#[derive(Debug, Parser)]
#[command(name = "chat-http", version)]
pub(crate) struct Config {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, env = "CHAT_LISTEN", default_value = "127.0.0.1:8000")]
    pub(crate) listen: String,

    /// An SQLite file, or a mongodb:// or mongodb+srv:// URI whose path names the database
    #[arg(
        long,
        env = "CHAT_STORE",
        default_value = "chat.db",
        hide_env_values = true
    )]
    pub(crate) store: StoreAddress,

    /// Rights without an account: everything, reading public rooms, or nothing
    #[arg(long, env = "CHAT_GUESTS", default_value = "allow")]
    guests: GuestRights,

    /// Address at which clients reach the server, if it is not the one it listens on: the scheme
    /// decides on Secure cookies, the path is put before all links and cookies
    #[arg(long, env = "CHAT_PUBLIC_URL")]
    public_url: Option<PublicUrl>,

    /// Hosts that the server answers to besides that of the public URL, such as chat.example or
    /// chat.example:8443, separated by commas
    #[arg(long, env = "CHAT_ALLOWED_HOSTS", value_delimiter = ',')]
    allowed_hosts: Vec<AllowedHost>,

    /// Posts a second for one user, with bursts of four times that; 0 is no limit
    #[arg(long, env = "CHAT_POST_RATE", default_value_t = 50)]
    post_rate: u32,

    /// Proxies whose X-Forwarded-For tells the client's address: addresses or networks such as
    /// 10.0.0.0/8, separated by commas
    #[arg(long, env = "CHAT_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<Proxies>,

    /// Connections from one address at once, a quarter of all if not given; 0 is no limit. Sockets
    /// and event streams without a session have a quarter of these
    #[arg(long, env = "CHAT_CONNECTIONS_PER_ADDRESS")]
    connections_per_address: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GuestRights {
    /// Everything but what needs an account: any name without one may be used.
    Allow,
    /// Reading public rooms, and nothing else.
    Read,
    /// Nothing but logging in and registering.
    Deny,
}

impl From<GuestRights> for Guests {
    fn from(rights: GuestRights) -> Self {
        match rights {
            GuestRights::Allow => Self::Allow,
            GuestRights::Read => Self::Read,
            GuestRights::Deny => Self::Deny,
        }
    }
}

impl Config {
    /// Settings of the application, with as many connections as the system has files for.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            guests: self.guests.into(),
            public_url: self.public_url.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            post_rate: self.post_rate,
            trusted_proxies: self.trusted_proxies.clone(),
            max_connections: max_connections(),
            connections_per_address: self.connections_per_address,
        }
    }
}

fn max_connections() -> usize {
    let files = rlimit::Resource::NOFILE
        .get_soft()
        .unwrap_or(u64::MAX)
        .saturating_sub(RESERVED_FILES);
    usize::try_from(files)
        .unwrap_or(MAX_CONNECTIONS)
        .clamp(16, MAX_CONNECTIONS)
}

/// The address of a store. `Debug` shows no password and no other option of a URI, because a
/// configuration ends up in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreAddress(String);

impl StoreAddress {
    /// The whole address, with its password.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StoreAddress {
    fn from(address: &str) -> Self {
        Self(address.to_owned())
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return self.0.fmt(f);
        };

        // A password that is not escaped may hold any of the characters that separate the parts, so
        // nothing before the last `@` is shown.
        let public = rest.rsplit('@').next().unwrap_or_default();
        let public = if rest.split('?').skip(1).any(|part| part.contains('@')) {
            ""
        } else {
            public.split('?').next().unwrap_or_default()
        };

        format!("{scheme}://…{public}").fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_the_documented_defaults() {
        let config = Config::parse_from(["chat-http"]);
        assert_eq!(
            (config.listen.as_str(), config.store.as_str()),
            ("127.0.0.1:8000", "chat.db")
        );
        assert_eq!(
            (config.settings().guests, config.settings().post_rate),
            (Guests::Allow, 50)
        );
    }

    #[test]
    fn debug_shows_where_the_store_is_and_no_secret() {
        for (address, shown) in [
            ("chat.db", "chat.db"),
            (
                "mongodb://localhost:27017/chat?replicaSet=rs0",
                "mongodb://…localhost:27017/chat",
            ),
            (
                "mongodb://ann:secret@a:1,b:2/chat?w=1",
                "mongodb://…a:1,b:2/chat",
            ),
            (
                "mongodb+srv://ann:secret@db.example",
                "mongodb+srv://…db.example",
            ),
            (
                "mongodb://ann:secret/@secret@db.example/chat",
                "mongodb://…db.example/chat",
            ),
            ("mongodb://ann:secret?secret@db.example/chat", "mongodb://…"),
            (
                "mongodb://db.example/?proxyPassword=secret",
                "mongodb://…db.example/",
            ),
            (
                "mongodb://db.example/?proxyPassword=secret@secret",
                "mongodb://…",
            ),
        ] {
            let config = Config::parse_from(["chat-http", "--store", address]);
            assert_eq!(config.store.as_str(), address);
            let debug = format!("{config:?}");
            assert!(
                debug.contains(&format!("store: {shown:?},")) && !debug.contains("secret"),
                "{debug}"
            );
        }
    }
}
