//! The hosts file (hosts(5)), read as text: a static program must not load a name service.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More than any machine's hosts file has.
const MAX_FILE: u64 = 1 << 20;

/// The file.
pub const HOSTS: &str = "/etc/hosts";

/// The addresses of a name, in the order in which they are to be tried; none where the name is unknown.
pub fn addresses(name: &str) -> Vec<IpAddr> {
    let mut text = Vec::new();
    // No file, as in an empty image, knows no name.
    let _ = File::open(HOSTS).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
    lookup(&String::from_utf8_lossy(&text), name)
}

fn lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case("localhost") {
        // Whatever the file says, it is this machine (RFC 6761), by both families: a server listens to
        // either. What is tried last is what a refusal is reported with.
        return vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    }
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if let Some(address) = address
            && !found.contains(&address)
            && words.any(|known| known.eq_ignore_ascii_case(name))
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::lookup;

    const HOSTS: &str = "# what Docker writes\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n\
        fe00::0 ip6-localnet # not this: db\n172.17.0.2\tbox Box.example\n10.0.0.1 db\n10.0.0.2  db\n\
        10.0.0.1 db\nnonsense db\n";

    fn found(name: &str) -> Vec<String> {
        let addresses = lookup(HOSTS, name);
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        assert_eq!(found("db"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(found("box.EXAMPLE"), ["172.17.0.2"]);
        assert_eq!(found("box.example."), ["172.17.0.2"]);
        assert_eq!(found("d"), [""; 0]);
        assert_eq!(found("#"), [""; 0]);
        assert_eq!(found("10.0.0.1"), [""; 0]);
    }

    #[test]
    fn localhost_is_here_by_both_families_and_without_a_file() {
        assert_eq!(found("localhost"), ["::1", "127.0.0.1"]);
        assert_eq!(lookup("6.6.6.6 localhost", "LocalHost").len(), 2);
        assert!(lookup("6.6.6.6 localhost", "localhost")[0].is_loopback());
    }
}
