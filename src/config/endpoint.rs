//! Where a check connects to: `host:port`, `http://host:port/path`, and the path of a socket. Names are
//! resolved now, so that a check later asks nobody.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Facts;
use crate::base::nearest;

/// A name with more addresses is tried at the first ones.
const MAX_ADDRESSES: usize = 8;

/// A longer URL is a mistake.
const MAX_URL: usize = 2048;

/// The kernel's bound on a socket's path, its closing NUL not counted (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// What is wrong with an address.
#[derive(Debug)]
pub(super) struct Refused {
    /// Goes on after the key's name.
    pub what: String,
    /// Stands beside the underline.
    pub label: &'static str,
    /// What to do.
    pub help: String,
}

fn refused(what: impl Into<String>, label: &'static str, help: impl Into<String>) -> Refused {
    Refused {
        what: what.into(),
        label,
        help: help.into(),
    }
}

/// A URL that was taken apart.
#[derive(Debug)]
pub(super) struct Url {
    pub authority: Authority,
    pub path: String,
}

/// A host and its port.
#[derive(Debug)]
pub struct Authority {
    /// As it is written: `127.0.0.1:80`, `[::1]`, `redis:6379`.
    pub text: String,
    host: Host,
    port: u16,
}

#[derive(Debug)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Authority {
    /// `host[:port]` from a configuration that was checked.
    pub fn parse(text: &str) -> Option<Authority> {
        host_and_port(text, Some(80)).ok()
    }

    /// The addresses to try, in their order; none where the host is unknown.
    pub fn addresses(&self, facts: &dyn Facts) -> Vec<SocketAddr> {
        let found = match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => facts.host(name),
        };
        let with_port = found.into_iter().take(MAX_ADDRESSES);
        with_port
            .map(|address| SocketAddr::new(address, self.port))
            .collect()
    }

    pub(super) fn unknown_host(&self) -> Refused {
        let host = match &self.host {
            Host::Address(_) => self.text.as_str(),
            Host::Name(name) => name,
        };
        let help = match nearest(host, ["localhost"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "no name server is asked: write an address, such as 127.0.0.1 for this container, or \
                 `localhost`, or a name that /etc/hosts knows"
                    .to_owned()
            }
        };
        let what = format!("names the unknown host `{host}`");
        refused(what, "not in /etc/hosts", help)
    }
}

/// `http://host[:port][/path][?query]`.
pub(super) fn url(text: &str) -> Result<Url, Refused> {
    let (authority, path) = split_url(text)?;
    let path = match path.strip_prefix('?') {
        Some(query) => format!("/?{query}"),
        None if path.is_empty() => "/".to_owned(),
        None => path.to_owned(),
    };
    if path.contains('#') {
        let help = "remove what begins with `#`";
        return Err(refused("has a fragment", "`#…` is never sent", help));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = "write other characters as their bytes: a space is %20";
        let what = "has a character that no URL has";
        return Err(refused(what, "a space, or no ASCII", help));
    }
    if authority.contains('@') {
        let help = "remove what stands before the `@`, or use exec with a program that logs in";
        return Err(refused("has a login", "no login is sent", help));
    }
    Ok(Url {
        authority: host_and_port(authority, Some(80))?,
        path,
    })
}

/// The host with its port, and what follows it.
fn split_url(text: &str) -> Result<(&str, &str), Refused> {
    if text.len() > MAX_URL {
        let what = format!("is longer than {MAX_URL} bytes");
        return Err(refused(what, "too long", "shorten it"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = format!("write http = \"http://{text}\"");
        return Err(refused("has to be a URL", "no http:// in front", help));
    };
    if scheme.eq_ignore_ascii_case("https") {
        let help = format!(
            "check that the port is open, tcp = \"host:port\", or use a program: exec = [\"curl\", \"-fsS\", \"{text}\"]"
        );
        let what = "would need TLS, which this program does not speak";
        return Err(refused(what, "https", help));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        let what = format!("has the unknown scheme `{scheme}`");
        let help = "for another protocol use tcp, unix or exec";
        return Err(refused(what, "expected http://", help));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Ok(rest.split_at(end))
}

/// `host:port`, `[address]:port`; the port may be missing where there is a default one.
pub(super) fn host_and_port(text: &str, default_port: Option<u16>) -> Result<Authority, Refused> {
    if text.contains("://") {
        let help = "write the host and the port alone, such as \"127.0.0.1:6379\"";
        return Err(refused("is no URL", "expected host:port", help));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let help = format!("write [{text}]:PORT");
        return Err(refused("has no brackets", "an IPv6 address", help));
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        let help = format!("write \"127.0.0.1{text}\"");
        return Err(refused("has no host", "no host", help));
    }
    let port = match port {
        Some(port) => port_number(port)?,
        None if default_port.is_none() && host.bytes().all(|byte| byte.is_ascii_digit()) => {
            let help = format!("write \"127.0.0.1:{host}\"");
            return Err(refused("has no host", "a port alone", help));
        }
        None => default_port.ok_or_else(|| {
            let help = format!("write \"{text}:PORT\"");
            refused("has no port", "no port", help)
        })?,
    };
    Ok(Authority {
        text: text.to_owned(),
        host: self::host(host, bracketed.is_some())?,
        port,
    })
}

/// The standard library would take `+80`.
fn port_number(text: &str) -> Result<u16, Refused> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| {
        let help = "a port is a number from 1 to 65535";
        refused(format!("has the port `{text}`"), "no port", help)
    })
}

fn host(text: &str, bracketed: bool) -> Result<Host, Refused> {
    if bracketed {
        let address = text.parse::<Ipv6Addr>().map_err(|_| {
            let help = "in brackets stands an IPv6 address without a zone, such as [::1]";
            refused(format!("has the address `[{text}]`"), "no address", help)
        })?;
        return Ok(Host::Address(address.into()));
    }
    Ok(match text.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(text.to_owned()),
    })
}

/// The path of a stream socket, or an abstract name behind `@`.
pub(super) fn socket_path(text: &str) -> Result<(), Refused> {
    if text.trim_start_matches('@').is_empty() {
        let help = "write the socket's path, such as \"/run/app.sock\"";
        return Err(refused("names no socket", "no path", help));
    }
    if text.len() > MAX_SOCKET_PATH {
        let what = format!("is longer than {MAX_SOCKET_PATH} bytes");
        let help = "no socket can have this path: the kernel's bound";
        return Err(refused(what, "too long", help));
    }
    Ok(())
}
