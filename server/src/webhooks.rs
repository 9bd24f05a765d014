//! Sends what webhooks are to hear: takes it from the outbox (`store/webhooks.rs`), signs it, and notes what came of it. A
//! delivery may come twice, where the server is killed between sending and noting; its number tells.

use crate::{
    clock,
    store::{
        self, Db,
        webhooks::{self, Outgoing, Tried},
    },
};
use laurel_protocol::{NoAnswer, Timestamp};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use ureq::{
    Agent, Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which addresses a webhook may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the internet.
    Public,
    /// Those of this machine and of private networks as well.
    Private,
}

impl Reach {
    /// Link-local addresses and the like are never reached: clouds hand out credentials there.
    fn admits(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let (never, private) = match address {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                let shared = a == 100 && (64..128).contains(&b);
                (
                    ip.is_link_local()
                        || ip.is_multicast()
                        || ip.is_broadcast()
                        || a == 0
                        || a >= 240
                        || ip.octets() == [100, 100, 100, 200],
                    ip.is_private() || ip.is_loopback() || shared,
                )
            }
            IpAddr::V6(ip) => (
                // Besides a cloud's own, those that stand for any address of version 4.
                ip.is_unicast_link_local()
                    || ip.is_multicast()
                    || ip.is_unspecified()
                    || ip.segments()[..2] == [0x64, 0xff9b]
                    || ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
                ip.is_unique_local() || ip.is_loopback(),
            ),
        };
        !never && (self == Self::Private || !private)
    }
}

/// Sends all that is due, that of each address in its order and addresses side by side: one that does not answer holds nobody
/// else up.
pub async fn send_due(db: &Db, reach: Reach) -> store::Result<()> {
    let mut by_url: BTreeMap<String, Vec<Outgoing>> = BTreeMap::new();
    for outgoing in webhooks::due(db, clock::now()).await? {
        by_url.entry(outgoing.url.clone()).or_default().push(outgoing);
    }
    let sent = by_url.into_values().map(|queue| send_in_turn(db, reach, queue));
    let noted = futures_util::future::join_all(sent).await;
    noted.into_iter().collect()
}

async fn send_in_turn(db: &Db, reach: Reach, queue: Vec<Outgoing>) -> store::Result<()> {
    for outgoing in queue {
        let at = clock::now();
        let copy = outgoing.clone();
        let came = tokio::task::spawn_blocking(move || send(&copy, reach, at)).await;
        let came = came.unwrap_or(Tried::Failed(NoAnswer::Unreachable));
        webhooks::tried(db, &outgoing, &came, clock::now()).await?;
    }
    Ok(())
}

fn send(outgoing: &Outgoing, reach: Reach, at: Timestamp) -> Tried {
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // Another address would not have been looked at.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("laurel")
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::new(), Guard { reach });
    let answer = agent
        .post(&outgoing.url)
        .content_type("application/json")
        .header("Laurel-Delivery", outgoing.id.to_string())
        .header(
            "Laurel-Signature",
            signature(&outgoing.secret, at, &outgoing.body),
        )
        .send(outgoing.body.as_str());
    match answer {
        // Nothing of its body is read: nobody learns through this what a server of the network says.
        Ok(answer) => Tried::Answered(answer.status().as_u16()),
        Err(error) => Tried::Failed(reason(&error)),
    }
}

fn reason(error: &Error) -> NoAnswer {
    match error {
        Error::HostNotFound => NoAnswer::NowhereAllowed,
        Error::Timeout(_) => NoAnswer::TimedOut,
        Error::Tls(_) | Error::Rustls(_) => NoAnswer::Untrusted,
        _ => NoAnswer::Unreachable,
    }
}

/// `t=1700000000000,v1=…`: the time in milliseconds, and HMAC-SHA256 of that time, a dot and the body.
pub fn signature(secret: &str, at: Timestamp, body: &str) -> String {
    let code = hmac(secret.as_bytes(), format!("{}.{body}", at.0).as_bytes());
    format!("t={},v1={}", at.0, store::text::hex(&code))
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// Gives the connection those addresses alone that may be reached, and it takes no others: a name that leads
/// elsewhere a moment later changes nothing.
#[derive(Debug)]
struct Guard {
    reach: Reach,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut admitted = self.empty();
        for address in found.iter().filter(|address| self.reach.admits(address.ip())) {
            admitted.push(*address);
        }
        match admitted.is_empty() {
            true => Err(Error::HostNotFound),
            false => Ok(admitted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        let hex = |key: &[u8], text: &[u8]| store::text::hex(&hmac(key, text));
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            ),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_webhook_reaches_the_internet_and_private_networks_if_told_and_never_what_is_link_local() {
        let admits = |reach: Reach, address: &str| reach.admits(address.parse().unwrap());
        for public in ["93.184.216.34", "2606:2800:220:1::1"] {
            assert!(admits(Reach::Public, public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.4",
            "172.16.9.9",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!admits(Reach::Public, private), "{private}");
            assert!(admits(Reach::Private, private), "{private}");
        }
        for never in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
        ] {
            assert!(!admits(Reach::Private, never), "{never}");
        }
    }
}
