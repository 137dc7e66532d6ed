//! A message broker and two clients of it. What chapters need of those before them is in set-ups; each of the others begins
//! with clients that are connected. The lab is in `cli-integration/attest.toml`.

mod connect;
mod create;
mod exchange;
mod files;
mod lan;
mod limit;
mod restart;

use attest::{Lab, Result};

use crate::lan::lan;

#[attest::setup(manifest = "cli-integration/attest.toml")]
async fn created(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    let [server, client1, client2] = &lan;
    server.wait_for_unit("mosquitto.service").await?;
    client1.wait_for_unit("multi-user.target").await?;
    client2.wait_for_unit("multi-user.target").await?;
    create::alone(&lan).await?;
    create::users(&lan).await?;
    create::known(&lan).await?;
    create::coming_and_going(&lan).await
}

#[attest::setup(after = created)]
async fn connected(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    connect::subscribe(&lan).await?;
    connect::reached(&lan).await
}

#[attest::test(setup = connected)]
async fn exchange(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    exchange::from_one_to_the_other(&lan).await?;
    exchange::once(&lan).await?;
    exchange::wildcards(&lan).await?;
    exchange::retained(&lan).await?;
    exchange::refused(&lan).await?;
    exchange::many_at_once(&lan).await
}

#[attest::test(setup = connected)]
async fn rate_limit(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    limit::few_connections(&lan).await?;
    limit::connected_stay_so(&lan).await?;
    limit::lifted(&lan).await?;
    limit::small_messages(&lan).await
}

#[attest::setup(after = connected)]
async fn restarted(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    restart::goes(&lan).await?;
    restart::comes_again(&lan).await
}

#[attest::test(setup = restarted)]
async fn reconnect(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    restart::come_back(&lan).await?;
    restart::nothing_is_lost(&lan).await?;
    restart::crash(&lan).await
}

#[attest::test(setup = connected)]
async fn files(lab: &Lab) -> Result<()> {
    let lan = lan(lab)?;
    files::from_the_host_to_a_client(&lan, lab.output()).await?;
    files::from_the_host_to_the_server(&lan, lab.output()).await?;
    files::from_a_client_to_the_host(&lan, lab.output()).await
}
