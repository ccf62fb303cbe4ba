//! What the parts of a gateway share, and who gets which frame.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use banger_guest_protocol::flow::{Datagram, Echo, FlowError, Header, Kind, Open, addresses};
use rustix::fs::{Mode, OFlags, openat};
use tokio::sync::Semaphore;

use crate::channel::{ChannelError, Incoming};
use crate::config::{CONFIG, Config};
use crate::control::{Answer, Request};
use crate::credit::Budget;
use crate::datagrams::{self, Datagrams};
use crate::dial::Peer;
use crate::dns::{self, Allowance};
use crate::echo;
use crate::flow::{self, FlowState};
use crate::log::{Attempt, Log};
use crate::names::Names;
use crate::outbox::Outbox;
use crate::policy::{ByName, Destination, Name, Policy, Transport};
use crate::proxy::Proxies;
use crate::resolver::Resolver;

/// Where servers' bytes and datagrams are read to: for as long as it takes to queue them.
const SCRATCH_LEN: usize = 64 * 1024;

/// The table of names, in the directory of the VM's network.
const NAMES: &str = "names";

/// Why a gateway cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("could not open {0} in the directory of the VM's network")]
    Open(&'static str, #[source] io::Error),
    #[error("{CONFIG} is not valid")]
    Config(#[source] serde_json::Error),
}

/// A VM's gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) outbox: Outbox,
    pub(crate) flows: RefCell<HashMap<u32, Rc<FlowState>>>,
    pub(crate) budget: Rc<Budget>,
    pub(crate) scratch: RefCell<Vec<u8>>,
    pub(crate) datagrams: Datagrams,
    pub(crate) questions: Arc<Semaphore>,
    pub(crate) echoes: Arc<Semaphore>,
    pub(crate) allowance: Allowance,
    pub(crate) resolver: Resolver,
    pub(crate) names: RefCell<Names>,
    pub(crate) log: RefCell<Log>,
    pub(crate) config: RefCell<Rc<Config>>,
    pub(crate) proxies: RefCell<Rc<Proxies>>,
    /// `host.vm`.
    pub(crate) host_name: Name,
    dir: OwnedFd,
}

impl Gateway {
    /// `dir` is the directory of the VM's network.
    ///
    /// # Errors
    ///
    /// When a file there cannot be used.
    pub(crate) fn open(dir: OwnedFd) -> Result<Self, SetupError> {
        let config = read_config(&dir)?;
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let names = openat(&dir, NAMES, flags, Mode::RUSR | Mode::WUSR);
        let names = names.map_err(io::Error::from).and_then(|file| Names::open(file.into()));
        let log = dir.try_clone().and_then(Log::open);
        Ok(Self {
            outbox: Outbox::default(),
            flows: RefCell::default(),
            budget: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH_LEN]),
            datagrams: Datagrams::default(),
            questions: Arc::new(Semaphore::new(dns::QUESTIONS_MAX)),
            echoes: Arc::new(Semaphore::new(echo::ECHOES_MAX)),
            allowance: Allowance::default(),
            resolver: Resolver::default(),
            names: RefCell::new(names.map_err(|source| SetupError::Open(NAMES, source))?),
            log: RefCell::new(log.map_err(|source| SetupError::Open(crate::log::LOG, source))?),
            proxies: RefCell::new(Rc::new(Proxies::new(&config.proxy))),
            config: RefCell::new(Rc::new(config)),
            host_name: Name::from_user("host.vm").expect("it is a name"),
            dir,
        })
    }

    pub(crate) fn policy(&self) -> PolicyRef {
        PolicyRef(self.config.borrow().clone())
    }

    /// Takes the guest's frames until it is gone.
    pub(crate) async fn serve(self: &Rc<Self>, mut incoming: Incoming) -> ChannelError {
        loop {
            self.outbox.no_flood().await;
            // Frames that wait in our own buffer take no time: others would never have their turn.
            tokio::task::consume_budget().await;
            let outcome = match incoming.next().await {
                Ok((header, body)) => self.frame(header, body).map_err(ChannelError::Frame),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    fn frame(self: &Rc<Self>, header: Header, body: &[u8]) -> Result<(), FlowError> {
        match header.kind {
            Kind::Open => {
                let open = Open::parse(body)?;
                if self.flows.borrow().contains_key(&header.flow) {
                    return Err(FlowError::Flow(header.kind, header.flow));
                }
                flow::begin(self, header.flow, open);
            }
            Kind::Data | Kind::Credit | Kind::End | Kind::Reset => {
                let flow = self.flows.borrow().get(&header.flow).cloned();
                // One that has just ended here may still be spoken of there.
                return flow.map_or(Ok(()), |flow| flow.frame(header, body));
            }
            Kind::Datagram => datagrams::take(self, Datagram::parse(body)?),
            Kind::Echo => echo::take(self, Echo::parse(body)?),
            Kind::Opened | Kind::Refused | Kind::DatagramRefused | Kind::EchoRefused => {
                return Err(FlowError::Flow(header.kind, header.flow));
            }
        }
        Ok(())
    }

    /// Does the policy have nothing against such a connection, as far as that is known without a lookup? It
    /// may stand already, with the address that was `dialled`.
    pub(crate) fn allows(
        &self,
        peer: &Peer,
        port: u16,
        transport: Transport,
        dialled: Option<IpAddr>,
    ) -> bool {
        match peer {
            Peer::Address(addresses::GATEWAY) => true,
            Peer::Address(address) => self.policy().by_address(*address, port, transport).is_ok(),
            Peer::Name(name) => match self.policy().by_name(name, port, transport) {
                Ok(ByName { destination: Destination::Addresses(reach), .. }) => {
                    dialled.is_none_or(|address| reach.permits(address).is_ok())
                }
                Ok(_) => true,
                Err(_) => false,
            },
        }
    }

    /// Answers the daemon.
    pub(crate) fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Reload => match self.reload() {
                Ok(cut) => Answer::Reloaded { cut },
                Err(error) => {
                    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                    Answer::Failed(format!("{error}{}", source.unwrap_or_default()))
                }
            },
            Request::Flows => Answer::Flows(self.attempts()),
        }
    }

    fn attempts(&self) -> Vec<Attempt> {
        let is_dns = |flow: &FlowState| flow.peer == Peer::Address(addresses::GATEWAY);
        let flows = self.flows.borrow();
        let flows = flows.values().filter(|flow| !is_dns(flow)).map(|flow| flow.attempt());
        flows.chain(datagrams::attempts(self)).collect()
    }

    fn reload(&self) -> Result<usize, SetupError> {
        let config = read_config(&self.dir)?;
        *self.proxies.borrow_mut() = Rc::new(Proxies::new(&config.proxy));
        *self.config.borrow_mut() = Rc::new(config);
        let flows = self.flows.borrow();
        let is_refused = |flow: &&Rc<FlowState>| {
            let dialled = flow.attempt.borrow().address;
            !self.allows(&flow.peer, flow.port, Transport::Tcp, dialled)
        };
        let refused: Vec<_> = flows.values().filter(is_refused).collect();
        refused.iter().for_each(|flow| flow.cut());
        Ok(refused.len() + datagrams::cut_refused(self))
    }

    /// Writes down what is under way: this is the end.
    pub(crate) fn finish(&self) {
        let mut log = self.log.borrow_mut();
        self.attempts().into_iter().for_each(|attempt| log.write(attempt));
        log.finish();
    }
}

/// The policy in force, for as long as it takes to ask it.
pub(crate) struct PolicyRef(Rc<Config>);

impl std::ops::Deref for PolicyRef {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0.egress
    }
}

fn read_config(dir: &OwnedFd) -> Result<Config, SetupError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(dir, CONFIG, flags, Mode::empty());
    let file = file.map_err(|error| SetupError::Open(CONFIG, error.into()))?;
    serde_json::from_reader(io::BufReader::new(std::fs::File::from(file))).map_err(SetupError::Config)
}
