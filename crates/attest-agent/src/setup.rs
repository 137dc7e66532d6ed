//! Telling the machine who it is.

use std::net::IpAddr;
use std::rc::Rc;

use attest_net::Card;
use attest_protocol::chain;
use attest_protocol::message::{Failure, FailureCode, HostEntry, Interface, Response, Setup};

use crate::failure::{failure, os};
use crate::session::Agent;
use crate::system;

pub(crate) fn apply(agent: &Rc<Agent>, setup: Setup) -> Result<Response, Failure> {
    if setup.clock_ns > 0 {
        system::set_clock(setup.clock_ns)?;
    }
    if let Some(entropy) = &setup.entropy {
        system::reseed(entropy)?;
    }
    if !setup.hostname.is_empty() {
        nix::unistd::sethostname(&setup.hostname).map_err(|error| {
            os(
                format!("the host name `{}` cannot be set", setup.hostname),
                &error.into(),
            )
        })?;
    }
    if !setup.hosts.is_empty() {
        std::fs::write("/etc/hosts", hosts(&setup.hosts))
            .map_err(|error| os("/etc/hosts", &error))?;
    }
    interfaces(&setup.interfaces)?;
    if *agent.environment.borrow() != setup.environment {
        agent.environment.replace(setup.environment);
        agent.shells.invalidate();
    }
    Ok(Response::Done)
}

fn hosts(entries: &[HostEntry]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for entry in entries {
        text.push_str(&entry.address);
        for name in &entry.names {
            text.push(' ');
            text.push_str(name);
        }
        text.push('\n');
    }
    text
}

fn interfaces(interfaces: &[Interface]) -> Result<(), Failure> {
    let cards = interfaces.iter().map(card).collect::<Result<Vec<_>, _>>()?;
    attest_net::configure(&cards).map_err(|error| failure(FailureCode::Os, chain(&error)))
}

fn card(interface: &Interface) -> Result<Card, Failure> {
    let address = |text: &String| {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            Some((address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?))
        });
        let wrong = || format!("`{text}` is no address/prefix");
        parsed.ok_or_else(|| failure(FailureCode::Invalid, wrong()))
    };
    let addresses = interface.addresses.iter().map(address);
    Ok(Card {
        mac: interface.mac,
        name: interface.name.clone(),
        mtu: Some(interface.mtu).filter(|mtu| *mtu > 0),
        addresses: addresses.collect::<Result<_, _>>()?,
    })
}
