//! The configuration of an image: how its author wants it run.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{ConfigFile, RunConfig};
use super::{ImageError, index, wire};
use crate::digest::Digest;

/// Ports beyond these are left out: ranges make a short text long.
const MAX_PORTS: usize = 4096;

/// What of an image's configuration banger uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `NAME=value`, in the image's order. What has no name is left out.
    pub env: Vec<String>,
    /// Empty where the image says nothing.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`; empty where the image says nothing.
    pub user: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// In ascending order. What cannot be read as a port is left out.
    pub exposed_ports: Vec<ExposedPort>,
    pub labels: BTreeMap<String, String>,
}

/// A port that the image's service listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A configuration after its checks.
#[derive(Debug)]
pub(crate) struct CheckedConfig {
    pub(crate) config: ImageConfig,
    pub(crate) diff_ids: Vec<Digest>,
    /// What it says to be made for, if that is not linux/amd64.
    pub(crate) foreign: Option<String>,
}

/// Reads the configuration blob of an image with this many layers.
pub(crate) fn read(bytes: &[u8], layers: usize) -> Result<CheckedConfig, ImageError> {
    let file: ConfigFile = wire::parse("its configuration", bytes)?;
    let foreign = index::foreign(&file.os, &file.architecture, &file.variant);
    let diff_ids = &file.rootfs.diff_ids;
    if diff_ids.len() != layers {
        return Err(ImageError::LayerCount { layers, diff_ids: diff_ids.len() });
    }
    let diff_ids = diff_ids
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|source| ImageError::Digest { what: "its configuration".to_owned(), source })?;
    Ok(CheckedConfig { config: run_config(file.config)?, diff_ids, foreign })
}

fn run_config(run: RunConfig) -> Result<ImageConfig, ImageError> {
    let words: [(&'static str, &[String]); 5] = [
        ("Env", &run.env),
        ("WorkingDir", std::slice::from_ref(&run.working_dir)),
        ("User", std::slice::from_ref(&run.user)),
        ("Entrypoint", &run.entrypoint),
        ("Cmd", &run.cmd),
    ];
    if let Some((field, _)) = words.iter().find(|(_, words)| words.iter().any(|word| word.contains('\0'))) {
        return Err(ImageError::Nul(field));
    }
    let ports: BTreeSet<ExposedPort> =
        run.exposed_ports.keys().flat_map(|text| exposed(text)).take(MAX_PORTS).collect();
    Ok(ImageConfig {
        env: run.env.into_iter().filter(|line| line.find('=').is_some_and(|at| at > 0)).collect(),
        working_dir: run.working_dir,
        user: run.user,
        entrypoint: run.entrypoint,
        cmd: run.cmd,
        exposed_ports: ports.into_iter().collect(),
        labels: run.labels,
    })
}

/// `80`, `80/tcp`, `8000-8010/udp`; nothing for what is none of these.
fn exposed(text: &str) -> impl Iterator<Item = ExposedPort> + use<> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let ports = match (first.parse::<u16>(), last.parse::<u16>(), protocol) {
        (Ok(first), Ok(last), Some(protocol)) if first > 0 => Some((first, last, protocol)),
        _ => None,
    };
    ports
        .into_iter()
        .flat_map(|(first, last, protocol)| (first..=last).map(move |port| ExposedPort { port, protocol }))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
