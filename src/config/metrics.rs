//! `[metrics]`: where figures are given to a monitoring system.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// `ADDRESS:PORT` or `unix:/PATH` where OpenMetrics text is given; nowhere where empty.
    pub listen: String,
    /// Allow an address that other machines reach. There is no encryption and no password.
    pub beyond_loopback: bool,
}

impl MetricsConfig {
    /// Adds what is wrong with the values.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut add = |remedy: &str| {
            let (key, value) = (setting!(metrics.listen).to_owned(), self.listen.clone());
            out.push(Problem { key, value, remedy: remedy.to_owned() });
        };
        match self.listen.parse::<ListenAddress>() {
            _ if self.listen.is_empty() => {}
            Err(()) => add("write ADDRESS:PORT, as in 127.0.0.1:9464, or unix:/PATH"),
            Ok(ListenAddress::Tcp(address))
                if !address.ip().is_loopback() && !self.beyond_loopback =>
            {
                add(concat!(
                    "other machines could read it; write 127.0.0.1, or set ",
                    setting!(metrics.beyond_loopback),
                    " = true"
                ));
            }
            Ok(_) => {}
        }
    }
}

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A network address and port.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(()),
            None => text.parse().map(Self::Tcp).map_err(|_| ()),
        }
    }
}
